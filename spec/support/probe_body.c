/* probe_body.c - opens the writer and the JSON scalars to specs, over a sink that they steer. */
#include <stdlib.h>

#include <lauxlib.h>
#include <lua.h>

#include "body/json.h"
#include "body/writer.h"
#include "util/mem.h"

#define BODY   "probe.Body"
#define GATHER "probe.Gather"

/* One writer and its sink.  The log, a table in the user value, has what the sink was asked for. */
struct body {
    struct tg_writer writer;
    struct tg_response_head head;
    lua_State *L;
    int log; /* reference to the log */
    size_t pending;
    size_t released;
    enum tg_status answer; /* of commit and the sends; TG_OK at first */
    bool full;             /* what is sent stays pending */
    bool live;
    unsigned drains;
    struct wish {
        struct tg_writer_wish wish;
        struct body *body;
    } wishes[4];
    int takes; /* which wish is taken back when another is granted; -1: none */
    void (*drain_fn)(void *arg);
    void *drain_arg;
    size_t low_water;
};

/* --- The sink --------------------------------------------------------------------------------- */

/* Adds the string on top to the log. */
static void note(struct body *b)
{
    lua_State *L = b->L;
    lua_rawgeti(L, LUA_REGISTRYINDEX, b->log);
    lua_insert(L, -2);
    lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
    lua_pop(L, 1);
}

static enum tg_status sink_commit(void *sink, const struct tg_response_head *head)
{
    struct body *b = sink;
    if (b->answer < 0)
        return b->answer;
    if (head->length == TG_LENGTH_UNKNOWN)
        lua_pushfstring(b->L, "commit %d", head->status);
    else
        lua_pushfstring(b->L, "commit %d %I", head->status, (lua_Integer)head->length);
    note(b);
    return TG_OK;
}

static enum tg_status sink_send(void *sink, const struct iovec *runs, int n, unsigned flags)
{
    struct body *b = sink;
    luaL_Buffer text;
    if (b->answer < 0)
        return b->answer;
    luaL_buffinit(b->L, &text);
    luaL_addstring(&text, flags & TG_SEND_LAST ? "last " : "send ");
    for (int i = 0; i < n; i++) {
        if (i)
            luaL_addchar(&text, '|');
        luaL_addlstring(&text, runs[i].iov_base, runs[i].iov_len);
        b->pending += b->full ? runs[i].iov_len : 0;
    }
    luaL_pushresult(&text);
    note(b);
    return TG_OK;
}

static enum tg_status sink_send_lent(void *sink, const void *data, size_t len, unsigned flags,
                                     tg_release_fn release, void *arg)
{
    struct body *b = sink;
    (void)flags;
    if (b->answer >= 0) {
        lua_pushfstring(b->L, "lent %d", (int)len);
        note(b);
        b->pending += b->full ? len : 0;
    }
    release(data, len, arg);
    return b->answer;
}

/* NOLINTNEXTLINE(readability-function-size): the parameters are the interface's */
static enum tg_status sink_send_file(void *sink, int fd, off_t offset, uint64_t len, unsigned flags,
                                     void (*on_sent)(void *arg, enum tg_status status), void *arg)
{
    struct body *b = sink;
    (void)flags;
    (void)on_sent;
    (void)arg;
    if (b->answer < 0)
        return b->answer;
    lua_pushfstring(b->L, "file %d %I %I", fd, (lua_Integer)offset, (lua_Integer)len);
    note(b);
    return b->full ? TG_AGAIN : TG_OK;
}

static void sink_stop_file(void *sink)
{
    struct body *b = sink;
    lua_pushliteral(b->L, "stop");
    note(b);
}

static size_t sink_pending(void *sink)
{
    return ((const struct body *)sink)->pending;
}

static void sink_on_drain(void *sink, size_t low_water, void (*fn)(void *arg), void *arg)
{
    struct body *b = sink;
    b->low_water = low_water;
    b->drain_fn = fn;
    b->drain_arg = arg;
}

static const struct tg_sink_ops ops = {
    .commit = sink_commit,
    .send = sink_send,
    .send_lent = sink_send_lent,
    .send_file = sink_send_file,
    .stop_file = sink_stop_file,
    .pending = sink_pending,
    .on_drain = sink_on_drain,
};

/* --- The writer ------------------------------------------------------------------------------- */

static struct body *body_at(lua_State *L)
{
    struct body *b = luaL_checkudata(L, 1, BODY);
    b->L = L;
    return b;
}

static int push_status(lua_State *L, enum tg_status status)
{
    static const char *const names[] = {"limit",  "invalid", "io",   "memory",
                                        "closed", "ok",      "again"};
    lua_pushstring(L, names[status - TG_ELIMIT]);
    return 1;
}

static enum tg_status status_at(lua_State *L, int index)
{
    static const char *const names[] = {"ok", "closed", "memory", "io", NULL};
    return (enum tg_status) - luaL_checkoption(L, index, NULL, names);
}

static int gather_gc(lua_State *L)
{
    tg_gather_fini(luaL_checkudata(L, 1, GATHER));
    return 0;
}

/* gather(size) */
static int p_gather(lua_State *L)
{
    size_t size = (size_t)luaL_checkinteger(L, 1);
    struct tg_gather *gather = lua_newuserdatauv(L, sizeof *gather, 0);
    *gather = (struct tg_gather){0};
    luaL_setmetatable(L, GATHER);
    if (tg_gather_init(gather, size) < 0)
        lua_pushnil(L);
    return 1;
}

/* flush_all(gather): what is done when whoever produces is about to wait */
static int p_flush_all(lua_State *L)
{
    tg_gather_flush(luaL_checkudata(L, 1, GATHER));
    return 0;
}

static lua_Integer option(lua_State *L, const char *name, lua_Integer otherwise)
{
    lua_getfield(L, 2, name);
    lua_Integer value = luaL_optinteger(L, -1, otherwise);
    lua_pop(L, 1);
    return value;
}

/* new(gather, { high_water=, low_water=, length=, begin=false }) */
static int p_new(lua_State *L)
{
    struct tg_gather *gather = luaL_checkudata(L, 1, GATHER);
    lua_settop(L, 2);
    if (lua_isnil(L, 2)) {
        lua_newtable(L);
        lua_replace(L, 2);
    }
    struct body *b = lua_newuserdatauv(L, sizeof *b, 2);
    *b = (struct body){.live = true};
    b->L = L;
    lua_newtable(L);
    lua_pushvalue(L, -1);
    b->log = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_setiuservalue(L, -2, 1);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 2);
    struct tg_writer_options options = {
        .ops = &ops,
        .sink = b,
        .gather = gather,
        .high_water = (size_t)option(L, "high_water", 1 << 20),
        .low_water = (size_t)option(L, "low_water", 1000),
    };
    tg_writer_init(&b->writer, &options);
    luaL_setmetatable(L, BODY);
    b->head.status = 200;
    b->head.length = (uint64_t)option(L, "length", -1); /* -1 is TG_LENGTH_UNKNOWN */
    lua_getfield(L, 2, "begin");
    if (lua_isnil(L, -1))
        tg_writer_begin(&b->writer, &b->head);
    lua_pop(L, 1);
    return 1;
}

static int b_fini(lua_State *L)
{
    struct body *b = body_at(L);
    if (b->live)
        tg_writer_fini(&b->writer);
    b->live = false;
    luaL_unref(L, LUA_REGISTRYINDEX, b->log);
    b->log = LUA_NOREF;
    return 0;
}

static int b_write(lua_State *L)
{
    struct body *b = body_at(L);
    size_t len;
    const char *data = luaL_checklstring(L, 2, &len);
    return push_status(L, tg_writer_write(&b->writer, data, len));
}

static void on_release(const void *data, size_t len, void *arg)
{
    (void)data;
    ((struct body *)arg)->released += len;
}

static int b_lend(lua_State *L)
{
    struct body *b = body_at(L);
    size_t len;
    const char *data = luaL_checklstring(L, 2, &len);
    return push_status(L, tg_writer_write_lent(&b->writer, data, len, on_release, b));
}

/* Prints text into room for `room` bytes (its length, if not given); "none" when there is none. */
static int b_print(lua_State *L)
{
    struct body *b = body_at(L);
    size_t len;
    const char *text = luaL_checklstring(L, 2, &len);
    char *room = tg_writer_room(&b->writer, (size_t)luaL_optinteger(L, 3, (lua_Integer)len));
    if (!room) {
        lua_pushliteral(L, "none");
        push_status(L, b->writer.failed);
        return 2;
    }
    memcpy(room, text, len);
    tg_writer_advance(&b->writer, len);
    return push_status(L, TG_OK);
}

static int b_flush(lua_State *L)
{
    return push_status(L, tg_writer_flush(&body_at(L)->writer));
}

static int b_end(lua_State *L)
{
    return push_status(L, tg_writer_end(&body_at(L)->writer));
}

static int b_end_bodyless(lua_State *L)
{
    return push_status(L, tg_writer_end_bodyless(&body_at(L)->writer));
}

/* send_file(fd, offset, len) */
static int b_send_file(lua_State *L)
{
    struct body *b = body_at(L);
    return push_status(L, tg_writer_send_file(&b->writer, (int)luaL_checkinteger(L, 2),
                                              (off_t)luaL_checkinteger(L, 3),
                                              (uint64_t)luaL_checkinteger(L, 4), NULL, NULL));
}

static int b_stop_file(lua_State *L)
{
    tg_writer_stop_file(&body_at(L)->writer);
    return 0;
}

/* put(text): puts as much of it as fits into the space that the writer gives -> the space's size, how
 * much was put there; or nil and why */
static int b_put(lua_State *L)
{
    struct body *b = body_at(L);
    size_t len;
    size_t size = 0;
    const char *text = luaL_checklstring(L, 2, &len);
    char *space = tg_writer_space(&b->writer, &size);
    if (!space) {
        lua_pushnil(L);
        return 1 + push_status(L, b->writer.failed);
    }
    len = len < size ? len : size;
    memcpy(space, text, len);
    tg_writer_advance(&b->writer, len);
    lua_pushinteger(L, (lua_Integer)size);
    lua_pushinteger(L, (lua_Integer)len);
    return 2;
}

static void on_drained(void *arg)
{
    ((struct body *)arg)->drains++;
}

/* Wishes for a call when the sink has drained; with false, takes the wish back. */
static int b_on_drain(lua_State *L)
{
    struct body *b = body_at(L);
    bool wish = lua_isnone(L, 2) || lua_toboolean(L, 2);
    tg_writer_on_drain(&b->writer, wish ? on_drained : NULL, b);
    return 0;
}

static void on_wish(void *arg, bool gone)
{
    struct wish *wish = arg;
    struct body *b = wish->body;
    lua_pushfstring(b->L, "wish %d%s", (int)(wish - b->wishes), gone ? " gone" : "");
    note(b);
    if (b->takes >= 0)
        tg_writer_unwish(&b->wishes[b->takes].wish);
}

/* wish(n[, takes]): the nth wish of four; when it is granted it takes back that other one. */
static int b_wish(lua_State *L)
{
    struct body *b = body_at(L);
    struct wish *wish = &b->wishes[luaL_checkinteger(L, 2) % 4];
    b->takes = (int)luaL_optinteger(L, 3, -1);
    wish->body = b;
    tg_writer_wish(&b->writer, &wish->wish, on_wish, wish);
    return 0;
}

static int b_unwish(lua_State *L)
{
    struct body *b = body_at(L);
    tg_writer_unwish(&b->wishes[luaL_checkinteger(L, 2) % 4].wish);
    return 0;
}

/* The writer goes, while its sink is there. */
static int b_go(lua_State *L)
{
    struct body *b = body_at(L);
    tg_writer_fini(&b->writer);
    return 0;
}

/* The sink drains: true when somebody had wished to know. */
static int b_drain(lua_State *L)
{
    struct body *b = body_at(L);
    void (*fn)(void *) = b->drain_fn;
    b->pending = 0;
    b->drain_fn = NULL;
    if (fn)
        fn(b->drain_arg);
    lua_pushboolean(L, fn != NULL);
    return 1;
}

/* What is sent from now on stays pending. */
static int b_fill(lua_State *L)
{
    body_at(L)->full = true;
    return 0;
}

/* What the sink says to commits and sends from now on. */
static int b_answer(lua_State *L)
{
    struct body *b = body_at(L);
    b->answer = status_at(L, 2);
    return 0;
}

/* The head's length changes after the writer has begun. */
static int b_declare(lua_State *L)
{
    struct body *b = body_at(L);
    b->head.length = (uint64_t)luaL_checkinteger(L, 2);
    return 0;
}

static int b_log(lua_State *L)
{
    lua_getiuservalue(L, 1, 1);
    return 1;
}

static int b_state(lua_State *L)
{
    const struct body *b = body_at(L);
    const struct tg_gather *gather = b->writer.o.gather;
    lua_createtable(L, 0, 9);
    lua_pushinteger(L, (lua_Integer)b->writer.bytes);
    lua_setfield(L, -2, "bytes");
    lua_pushinteger(L, (lua_Integer)(gather->owner == &b->writer ? gather->len : 0));
    lua_setfield(L, -2, "gathered");
    lua_pushboolean(L, gather->owner == &b->writer);
    lua_setfield(L, -2, "owner");
    lua_pushinteger(L, (lua_Integer)b->writer.aside_len);
    lua_setfield(L, -2, "aside");
    lua_pushboolean(L, b->writer.must_wait);
    lua_setfield(L, -2, "must_wait");
    lua_pushboolean(L, b->writer.committed);
    lua_setfield(L, -2, "committed");
    lua_pushboolean(L, b->writer.held);
    lua_setfield(L, -2, "held");
    lua_pushinteger(L, (lua_Integer)b->drains);
    lua_setfield(L, -2, "drains");
    lua_pushinteger(L, (lua_Integer)b->low_water);
    lua_setfield(L, -2, "low_water");
    lua_pushinteger(L, (lua_Integer)b->released);
    lua_setfield(L, -2, "released");
    return 1;
}

/* Watches that live on the C stack of one call: the order in which they are let go of is n. */
static int b_watch(lua_State *L)
{
    struct body *b = body_at(L);
    struct tg_writer_watch watches[3];
    for (int i = 0; i < 3; i++)
        tg_writer_watch(&b->writer, &watches[i]);
    int n = (int)luaL_checkinteger(L, 2);
    tg_writer_unwatch(&watches[n]);
    tg_writer_unwatch(&watches[n]);
    bool others = watches[(n + 1) % 3].w == &b->writer && watches[(n + 2) % 3].w == &b->writer;
    b_fini(L);
    bool gone = !watches[0].w && !watches[1].w && !watches[2].w;
    lua_pushboolean(L, others && gone && !b->writer.watches);
    return 1;
}

/* write_many(n, text): n writes in C, for measuring. */
static int b_write_many(lua_State *L)
{
    struct body *b = body_at(L);
    lua_Integer n = luaL_checkinteger(L, 2);
    size_t len;
    const char *data = luaL_checklstring(L, 3, &len);
    for (lua_Integer i = 0; i < n; i++)
        tg_writer_write(&b->writer, data, len);
    return 0;
}

/* --- JSON ------------------------------------------------------------------------------------- */

static int b_json_string(lua_State *L)
{
    struct body *b = body_at(L);
    size_t len;
    const char *s = luaL_checklstring(L, 2, &len);
    return push_status(L, tg_json_string(&b->writer, s, len));
}

static int b_json_number(lua_State *L)
{
    struct body *b = body_at(L);
    if (lua_isinteger(L, 2))
        return push_status(L, tg_json_integer(&b->writer, lua_tointeger(L, 2)));
    return push_status(L, tg_json_number(&b->writer, luaL_checknumber(L, 2)));
}

static int p_format(lua_State *L)
{
    char text[TG_NUMBER_MAX];
    size_t len = lua_isinteger(L, 1) ? tg_format_integer(text, lua_tointeger(L, 1))
                                     : tg_format_number(text, luaL_checknumber(L, 1));
    lua_pushlstring(L, text, len);
    return 1;
}

/* Where the C library looks for locales first. */
static int p_locale_path(lua_State *L)
{
    lua_pushboolean(L, setenv("LOCPATH", luaL_checkstring(L, 1), 1) == 0);
    return 1;
}

/* fail_at(n): the nth allocation from now fails; 0: none. */
static int p_fail_at(lua_State *L)
{
    tg_mem_fail_at((unsigned)luaL_checkinteger(L, 1));
    return 0;
}

static void make_classes(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"write", b_write},
        {"lend", b_lend},
        {"print", b_print},
        {"flush", b_flush},
        {"finish", b_end},
        {"finish_bodyless", b_end_bodyless},
        {"send_file", b_send_file},
        {"stop_file", b_stop_file},
        {"put", b_put},
        {"on_drain", b_on_drain},
        {"wish", b_wish},
        {"unwish", b_unwish},
        {"go", b_go},
        {"drain", b_drain},
        {"fill", b_fill},
        {"answer", b_answer},
        {"declare", b_declare},
        {"log", b_log},
        {"state", b_state},
        {"watch", b_watch},
        {"write_many", b_write_many},
        {"json_string", b_json_string},
        {"json_number", b_json_number},
        {"free", b_fini},
        {"__gc", b_fini},
        {NULL, NULL},
    };
    luaL_newmetatable(L, BODY);
    luaL_setfuncs(L, methods, 0);
    lua_pushvalue(L, -1);
    lua_setfield(L, -2, "__index");
    luaL_newmetatable(L, GATHER);
    lua_pushcfunction(L, gather_gc);
    lua_setfield(L, -2, "__gc");
    lua_pop(L, 2);
}

__attribute__((visibility("default"))) int luaopen_probe_body(lua_State *L);
int luaopen_probe_body(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"gather", p_gather}, {"flush_all", p_flush_all}, {"new", p_new},
        {"format", p_format}, {"fail_at", p_fail_at},     {"locale_path", p_locale_path},
        {NULL, NULL}};
    make_classes(L);
    luaL_newlib(L, functions);
    return 1;
}
