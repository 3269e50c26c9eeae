/* body.c - bodies by their type: strings, tables, sequences, functions, files, objects that write
 * themselves, and what binds itself as a kind.
 */
#include "lua/body.h"

#include <string.h>

#include <lauxlib.h>

#include "engine/vary.h"
#include "lua/bind_format.h"
#include "lua/bind_sequence.h"
#include "lua/bind_writer.h"
#include "lua/body_kind.h"
#include "lua/call.h"
#include "lua/driven.h"
#include "lua/failure.h"
#include "lua/fetch_response.h"
#include "lua/negotiate.h"
#include "lua/print.h"
#include "lua/response.h"

static const char text_type[] = "text/plain; charset=utf-8";

enum { LEND_FROM = 65536 }; /* bytes of a string from which on it is lent and not copied */

enum body_kind {
    BODY_NONE,
    BODY_STRING,
    BODY_PRINTED, /* a table, a sequence, a generator, a coroutine */
    BODY_FUNCTION,
    BODY_OBJECT, /* with __write_body */
    BODY_KIND,   /* a userdata with a struct tg_body_kind */
    BODY_UNKNOWN,
};

/* Raises: the value at index is no body. */
static int refuse(lua_State *L, int index)
{
    const char *name = luaL_typename(L, index);
    if (luaL_getmetafield(L, index, "__name") == LUA_TSTRING)
        name = lua_tostring(L, -1);
    return luaL_error(L, "a %s cannot be streamed as a body", name);
}

/* --- Types of userdata ------------------------------------------------------------------------ */

static const char kind_key = 'k'; /* its address is the key, in metatables */

void tg_body_kind_set(lua_State *L, const struct tg_body_kind *kind)
{
    lua_pushlightuserdata(L, (void *)(uintptr_t)kind);
    lua_rawsetp(L, -2, &kind_key);
}

const struct tg_body_kind *tg_body_kind_of(lua_State *L, int index)
{
    if (lua_type(L, index) != LUA_TUSERDATA || !lua_getmetatable(L, index))
        return NULL;
    lua_rawgetp(L, -1, &kind_key);
    const struct tg_body_kind *kind = lua_touserdata(L, -1);
    lua_pop(L, 2);
    return kind;
}

static enum body_kind kind_of(lua_State *L, int index)
{
    switch (lua_type(L, index)) {
    case LUA_TNIL:
        return BODY_NONE;
    case LUA_TSTRING:
        return BODY_STRING;
    case LUA_TFUNCTION:
        return BODY_FUNCTION;
    case LUA_TTHREAD:
        return BODY_PRINTED;
    case LUA_TTABLE:
    case LUA_TUSERDATA:
        break;
    default:
        return BODY_UNKNOWN;
    }
    if (luaL_getmetafield(L, index, "__write_body") != LUA_TNIL) {
        lua_pop(L, 1);
        return BODY_OBJECT;
    }
    if (tg_body_kind_of(L, index))
        return BODY_KIND;
    if (lua_istable(L, index) || tg_is_sequence(L, index))
        return BODY_PRINTED;
    return BODY_UNKNOWN;
}

bool tg_body_is_leaf(lua_State *L, int index)
{
    if (!lua_getmetatable(L, index)) /* most tables have none */
        return false;
    lua_pop(L, 1);
    if (tg_json_mark(L, index) != TG_JSON_UNMARKED)
        return false;
    enum body_kind kind = kind_of(L, index);
    return kind == BODY_OBJECT || kind == BODY_KIND || tg_fetch_response_is(L, index);
}

/* --- The head --------------------------------------------------------------------------------- */

static void add_content_type(lua_State *L, struct tg_call *call, const char *type)
{
    struct tg_slice value = {type, strlen(type)};
    if (tg_exchange_add_field(call->exchange, TG_SLICE("Content-Type"), value) != TG_OK)
        luaL_error(L, "cannot set Content-Type to %s", type);
}

/* Whether the script wants what the client does not accept to be refused. */
static bool is_strict(lua_State *L, struct tg_call *call)
{
    if (call->bare)
        return false;
    tg_call_push_context(L, call);
    lua_getfield(L, -1, "strict_accept");
    bool strict = lua_toboolean(L, -1);
    lua_pop(L, 2);
    return strict;
}

/* Of what is printed: the type to be set where the response has none, else NULL. */
static const char *choose_format(lua_State *L, struct tg_out *out,
                                 const struct tg_response_info *info)
{
    struct tg_exchange *x = out->call->exchange;
    if (info->content_type) {
        struct tg_slice type = {info->content_type, info->content_type_len};
        out->format = tg_formats_find(L, type);
        if (!out->format)
            luaL_error(L, "no format prints a table or sequence as %s", info->content_type);
        return NULL;
    }
    out->format = tg_negotiate_format(L, x->conn, is_strict(L, out->call));
    if (!out->format) {
        tg_failure_raise_status(L, 406, "no format that the request accepts prints the body");
        return NULL; /* it does not come here */
    }
    if (tg_exchange_vary(x, TG_SLICE("Accept")) != TG_OK)
        luaL_error(L, "cannot add to Vary");
    return out->format->content_type;
}

static uint64_t describe_kind(lua_State *L, struct tg_call *call, int body,
                              const struct tg_response_info *info, bool part)
{
    struct tg_body_about about = {info, part, TG_LENGTH_UNKNOWN, NULL};
    const struct tg_body_kind *kind = tg_body_kind_of(L, body);
    if (kind->describe)
        kind->describe(L, &call->out, body, &about);
    if (!info->content_type && about.media_type)
        add_content_type(L, call, about.media_type);
    return about.length;
}

static void drop_body(lua_State *L, struct tg_call *call, int body)
{
    const struct tg_body_kind *kind = tg_body_kind_of(L, body);
    if (kind && kind->drop)
        kind->drop(L, &call->out, body);
}

/* What is known of all of it by its body and by its headers. */
static uint64_t length_of(lua_State *L, uint64_t body, uint64_t said)
{
    if (body != TG_LENGTH_UNKNOWN && said != TG_LENGTH_UNKNOWN && said != body)
        luaL_error(L, "the body does not have the length that its Content-Length says");
    return body != TG_LENGTH_UNKNOWN ? body : said;
}

/* Sets Content-Type where the response has none, the format, and the length where it is known.  Where
 * the body is but a part, only the script can know how long all of it will be. */
static void describe(lua_State *L, struct tg_call *call, int body, enum body_kind kind,
                     const struct tg_response_info *info, bool part)
{
    struct tg_exchange *x = call->exchange;
    uint64_t length = TG_LENGTH_UNKNOWN;
    uint64_t said = info->length;
    int status = x->head.status;
    const char *type = NULL;
    bool typed = info->content_type != NULL;
    switch (kind) {
    case BODY_NONE:
        length = tg_exchange_is_head(x) ? info->length : 0;
        break;
    case BODY_STRING:
        length = lua_rawlen(L, body);
        if (!typed)
            add_content_type(L, call, text_type);
        break;
    case BODY_PRINTED:
        type = choose_format(L, &call->out, info);
        if (type)
            add_content_type(L, call, type);
        break;
    case BODY_KIND:
        length = describe_kind(L, call, body, info, part);
        break;
    case BODY_OBJECT:
        if (!typed && luaL_getmetafield(L, body, "__content_type") != LUA_TNIL)
            add_content_type(L, call, luaL_checkstring(L, -1));
        break;
    case BODY_FUNCTION:
        break;
    case BODY_UNKNOWN:
        refuse(L, body);
    }
    if (status != x->head.status)
        said = TG_LENGTH_UNKNOWN;
    x->head.length = part ? said : length_of(L, length, said);
    x->head.fields = tg_buf_slice(&x->fields);
}

const char *tg_body_describe_inner(lua_State *L, struct tg_out *out, int index,
                                   const struct tg_response_info *said)
{
    struct tg_body_about about = {said, true, TG_LENGTH_UNKNOWN, NULL};
    enum body_kind kind = kind_of(L, index);
    const struct tg_body_kind *type = tg_body_kind_of(L, index);
    switch (kind) {
    case BODY_STRING:
        about.media_type = text_type;
        break;
    case BODY_PRINTED:
        about.media_type = choose_format(L, out, said);
        break;
    case BODY_KIND:
        if (type->describe)
            type->describe(L, out, index, &about);
        break;
    case BODY_OBJECT:
        if (luaL_getmetafield(L, index, "__content_type") != LUA_TNIL) {
            about.media_type = luaL_checkstring(L, -1);
            lua_pop(L, 1); /* the metatable keeps it */
        }
        break;
    case BODY_NONE:
    case BODY_FUNCTION:
        break;
    case BODY_UNKNOWN:
        refuse(L, index);
    }
    return about.media_type;
}

const char *tg_body_media_type(lua_State *L, const struct tg_out *out, int index)
{
    const char *type = out->format->media_type.p;
    const struct tg_body_kind *kind = tg_body_kind_of(L, index);
    switch (kind_of(L, index)) {
    case BODY_STRING:
        return text_type;
    case BODY_KIND:
        return kind->media_type ? kind->media_type(L, out, index) : NULL;
    case BODY_OBJECT:
        if (luaL_getmetafield(L, index, "__content_type") == LUA_TNIL)
            return type;
        type = luaL_checkstring(L, -1);
        lua_pop(L, 1); /* the metatable keeps it */
        return type;
    case BODY_PRINTED:
    case BODY_FUNCTION:
        return type;
    case BODY_NONE:
    case BODY_UNKNOWN:
        break;
    }
    return NULL;
}

bool tg_body_is_one(lua_State *L, int index)
{
    return kind_of(L, index) != BODY_UNKNOWN;
}

/* Not of a string that is all of the body: nothing else is printed then. */
static void prepare_format(lua_State *L, struct tg_call *call, const struct tg_response_info *info)
{
    struct tg_slice type = {info->content_type, info->content_type_len};
    call->out.format = info->content_type ? tg_formats_find(L, type) : NULL;
    if (!call->out.format)
        call->out.format = &tg_format_json; /* for out:print() */
}

/* Reads the response at index and readies the writer; pushes its body and gives its kind. */
static enum body_kind begin(lua_State *L, struct tg_call *call, int index, bool part)
{
    struct tg_response_info info;
    struct tg_exchange *x = call->exchange;
    tg_response_take(L, x, index, part, &info);
    lua_getfield(L, index, "body");
    int body = lua_gettop(L);
    if (info.headless || lua_isnil(L, body)) /* else nothing is lost by a key that is misspelled */
        tg_response_check_keys(L, index);
    tg_fetch_response_unwrap(L, body);
    enum body_kind kind = kind_of(L, body);
    call->out.choice = 0;
    if (part || (kind != BODY_STRING && kind != BODY_NONE))
        prepare_format(L, call, &info);
    describe(L, call, body, kind, &info, part);
    lua_settop(L, body);
    if (tg_exchange_begin_body(x) != TG_OK)
        luaL_error(L, "not enough memory");
    return kind;
}

/* --- Each kind, as a function of (out, body) that ends when all is written ----------------------- */

static struct tg_out *out_at(lua_State *L)
{
    return lua_touserdata(L, 1);
}

static int written(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    tg_task_resumed(L, context);
    tg_out_check(L, out_at(L)->writer->failed);
    return 0;
}

static int wait_if_full(lua_State *L, struct tg_writer *w)
{
    return w->must_wait ? tg_out_wait(L, w, written) : 0;
}

struct anchor {
    lua_State *L;
    int ref;
};

static void release_string(const void *data, size_t len, void *arg)
{
    (void)data;
    (void)len;
    struct anchor anchor;
    memcpy(&anchor, arg, sizeof anchor);
    luaL_unref(anchor.L, LUA_REGISTRYINDEX, anchor.ref);
}

/* The string is kept by a userdata that knows its own reference: release is given all it needs. */
static void lend(lua_State *L, struct tg_writer *w, int index)
{
    size_t len;
    const char *data = lua_tolstring(L, index, &len);
    struct anchor *anchor = lua_newuserdatauv(L, sizeof *anchor, 1);
    lua_pushvalue(L, index);
    lua_setiuservalue(L, -2, 1);
    anchor->L = tg_lua_main(tg_lua_of(L));
    anchor->ref = luaL_ref(L, LUA_REGISTRYINDEX);
    tg_out_check(L, tg_writer_write_lent(w, data, len, release_string, anchor));
}

static int write_string(lua_State *L)
{
    struct tg_writer *w = out_at(L)->writer;
    size_t len;
    const char *data = lua_tolstring(L, 2, &len);
    if (len >= LEND_FROM)
        lend(L, w, 2);
    else
        tg_out_check(L, tg_writer_write(w, data, len));
    return wait_if_full(L, w);
}

static int write_printed(lua_State *L)
{
    const struct tg_out *out = out_at(L);
    return tg_print_body(L, out, 2);
}

static int ignore_results(lua_State *L, int status, lua_KContext context)
{
    (void)L;
    (void)status;
    (void)context;
    return 0;
}

static int call_function(lua_State *L)
{
    struct tg_out *out = out_at(L);
    int nargs = tg_call_wants_context(L, 2) ? 2 : 1;
    tg_out_push(L, out);
    if (nargs == 2)
        tg_call_push_context(L, out->call);
    lua_callk(L, nargs, 0, 0, ignore_results);
    return 0;
}

static int write_object(lua_State *L)
{
    luaL_getmetafield(L, 2, "__write_body");
    lua_pushvalue(L, 2);
    tg_out_push(L, out_at(L));
    lua_callk(L, 2, 0, 0, ignore_results);
    return 0;
}

/* --- Bodies that go on by themselves, where a coroutine has to wait for them ----------------------- */

static int driven_over(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    tg_task_resumed(L, context);
    tg_driven_check(L, lua_touserdata(L, 3));
    return 0;
}

static int wait_for_driven(lua_State *L)
{
    struct tg_out *out = out_at(L);
    struct tg_driven *driven = lua_newuserdatauv(L, sizeof *driven, 0);
    tg_driven_prepare(L, driven, out->call);
    struct tg_source *source = tg_body_kind_of(L, 2)->start(L, out, 2);
    return tg_driven_wait(L, driven, source, driven_over);
}

/* --- Whole bodies ----------------------------------------------------------------------------- */

/* Pushes the function that writes the body at index, or nothing when there is nothing to write. */
static bool push_way(lua_State *L, int index, enum body_kind kind)
{
    static const lua_CFunction ways[] = {
        [BODY_STRING] = write_string,    [BODY_PRINTED] = write_printed,
        [BODY_FUNCTION] = call_function, [BODY_OBJECT] = write_object,
        [BODY_UNKNOWN] = NULL,
    };
    lua_CFunction way = ways[kind];
    if (kind == BODY_KIND) {
        const struct tg_body_kind *type = tg_body_kind_of(L, index);
        way = type->start ? wait_for_driven : type->write;
    }
    if (!way)
        return false;
    lua_pushcfunction(L, way);
    return true;
}

bool tg_body_is_printed(lua_State *L, int index)
{
    return kind_of(L, index) == BODY_PRINTED;
}

void tg_body_push_way(lua_State *L, int index)
{
    if (!push_way(L, index, kind_of(L, index)))
        refuse(L, index);
}

static int produced(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    struct tg_call *call = (struct tg_call *)context;
    struct tg_writer *w = &call->exchange->writer;
    bool exceeded = w->failed == TG_ELIMIT;
    enum tg_status ended = tg_writer_end(w);
    if (ended == TG_ELIMIT)
        return luaL_error(L, "the body is %s than its Content-Length says",
                          exceeded ? "longer" : "shorter");
    tg_out_check(L, ended);
    return 0;
}

static bool sends_no_body(const struct tg_exchange *x)
{
    return tg_exchange_is_head(x) || x->head.status == 204 || x->head.status == 304;
}

/* The body at index goes on by itself: the coroutine is free. */
static int start_driven(lua_State *L, struct tg_call *call, int index)
{
    call->source = tg_body_kind_of(L, index)->start(L, &call->out, index);
    tg_out_check(L, tg_writer_flush(call->out.writer));
    return 0;
}

int tg_body_produce(lua_State *L, struct tg_call *call)
{
    struct tg_exchange *x = call->exchange;
    lua_settop(L, 0);
    lua_pushnil(L);
    tg_call_push_response(L, call);
    enum body_kind kind = begin(L, call, 2, false);
    if (sends_no_body(x)) {
        drop_body(L, call, 3);
        tg_out_check(L, tg_writer_end_bodyless(&x->writer));
        return 0;
    }
    if (kind == BODY_KIND && tg_body_kind_of(L, 3)->start)
        return start_driven(L, call, 3);
    if (kind == BODY_STRING && lua_rawlen(L, 3) < LEND_FROM) { /* most bodies, without a frame */
        size_t len;
        const char *data = lua_tolstring(L, 3, &len);
        tg_out_check(L, tg_writer_write(&x->writer, data, len));
        return produced(L, LUA_OK, (lua_KContext)call);
    }
    lua_replace(L, 1); /* the body: nothing else is kept while it is produced */
    lua_settop(L, 1);
    if (!push_way(L, 1, kind))
        return produced(L, LUA_OK, (lua_KContext)call);
    lua_pushlightuserdata(L, &call->out);
    lua_rotate(L, 1, -1);
    lua_callk(L, 2, 0, (lua_KContext)call, produced);
    return produced(L, LUA_OK, (lua_KContext)call);
}

/* Without metamethods: no code of the script's runs here. */
static bool raw_table(lua_State *L, const char *field)
{
    lua_pushstring(L, field);
    return lua_rawget(L, -2) == LUA_TTABLE;
}

void tg_body_drop(lua_State *L, struct tg_call *call)
{
    int top = lua_gettop(L);
    tg_call_push_request(L, call);
    lua_getiuservalue(L, -1, TG_CALL_CONTEXT); /* or the response */
    if (lua_istable(L, -1) && (call->bare || raw_table(L, "response"))) {
        raw_table(L, "body");
        drop_body(L, call, lua_gettop(L));
    }
    lua_settop(L, top);
}

/* --- The low-level calls ---------------------------------------------------------------------- */

static struct tg_call *live(lua_State *L)
{
    struct tg_call *call = tg_call_check(L, 1);
    if (!call->exchange)
        luaL_error(L, "the exchange is over");
    return call;
}

/* As live(), for what waits: only tasks that end before the exchange does may. */
static struct tg_call *own(lua_State *L)
{
    struct tg_call *call = live(L);
    if (call != tg_call_current(L))
        luaL_error(L, "only the exchange's own tasks can write its response: this one is detached, "
                      "or another's");
    return call;
}

static int flushed(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    tg_task_resumed(L, context);
    tg_out_check(L, live(L)->exchange->writer.failed);
    return 0;
}

static int flush(lua_State *L, struct tg_writer *w)
{
    tg_out_check(L, tg_writer_flush(w));
    return w->must_wait ? tg_out_wait(L, w, flushed) : 0;
}

static int part_written(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    (void)context;
    return flush(L, &live(L)->exchange->writer);
}

/* Writes the body at index, of this kind, and flushes. */
static int write_part(lua_State *L, struct tg_call *call, int index, enum body_kind kind)
{
    if (!push_way(L, index, kind))
        return flush(L, &call->exchange->writer);
    lua_pushlightuserdata(L, &call->out);
    lua_pushvalue(L, index);
    lua_callk(L, 2, 0, 0, part_written);
    return part_written(L, LUA_OK, 0);
}

int tg_body_write_response(lua_State *L)
{
    struct tg_call *call = own(L);
    struct tg_exchange *x = call->exchange;
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 2);
    if (x->writer.committed || x->writer.head)
        return luaL_error(L, "the response was sent before");
    enum body_kind kind = begin(L, call, 2, true);
    if (sends_no_body(x)) {
        drop_body(L, call, 3);
        tg_out_check(L, tg_writer_end_bodyless(&x->writer));
        return 0;
    }
    return write_part(L, call, 3, kind);
}

int tg_body_write_response_body(lua_State *L)
{
    struct tg_call *call = own(L);
    struct tg_exchange *x = call->exchange;
    lua_settop(L, 2);
    tg_fetch_response_unwrap(L, 2);
    enum body_kind kind = kind_of(L, 2);
    if (kind == BODY_UNKNOWN)
        return refuse(L, 2);
    if (!x->writer.head && !x->writer.committed) { /* an implicit 200 */
        tg_buf_clear(&x->fields);
        x->head = (struct tg_response_head){.status = 200, .length = TG_LENGTH_UNKNOWN};
        x->head.fields = tg_buf_slice(&x->fields);
        call->out.format = &tg_format_json;
        tg_writer_begin(&x->writer, &x->head);
    }
    if (tg_exchange_is_head(x)) {
        drop_body(L, call, 2);
        tg_out_check(L, tg_writer_end_bodyless(&x->writer));
        return 0;
    }
    if (x->writer.ended)
        return luaL_error(L, "the response has ended: it has no more parts");
    return write_part(L, call, 2, kind);
}

int tg_body_flush(lua_State *L)
{
    struct tg_writer *w = &own(L)->exchange->writer;
    if (!w->head && !w->committed)
        return 0; /* nothing to send yet */
    return flush(L, w);
}

int tg_body_response_sent(lua_State *L)
{
    const struct tg_call *call = tg_call_check(L, 1);
    lua_pushboolean(L, !call->exchange || call->exchange->writer.committed);
    return 1;
}
