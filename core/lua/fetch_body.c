/* fetch_body.c - body:read(), :chunks(), :all(), :close(), and itself as a body.
 *
 * As the body of a response it is pumped: what comes goes to the client's writer from libcurl's own
 * buffer, and no Lua runs until the end.
 */
#include "lua/fetch_body.h"

#include <string.h>

#include <lauxlib.h>

#include "lua/bind_writer.h"
#include "lua/body_kind.h"
#include "lua/body_reader.h"
#include "lua/call.h"
#include "lua/failure.h"
#include "lua/fetch_input.h"
#include "lua/fetch_response.h"
#include "lua/response.h"
#include "lua/task.h"

/* --- Its life --------------------------------------------------------------------------------- */

static void stop_awaiting(struct tg_fetch_body *body)
{
    if (body->awaited)
        body->exchange->upstreams--;
    body->awaited = false;
}

static void leave_exchange(struct tg_fetch_body *body)
{
    stop_awaiting(body);
    if (!body->exchange)
        return;
    body->exchange = NULL;
    *body->link = body->next;
    if (body->next)
        body->next->link = body->link;
}

void tg_fetch_body_answered(struct tg_fetch_body *body)
{
    if (body->fetch && tg_fetch_status(body->fetch)) {
        tg_fetch_take_head(body->fetch, &body->head);
        body->decoded = tg_fetch_decoded(body->fetch);
        body->length = body->decoded ? TG_FETCH_LENGTH_UNKNOWN : body->head.length;
    }
    stop_awaiting(body);
}

static void wake(void *arg)
{
    struct tg_fetch_body *body = arg;
    struct tg_task *task = body->task;
    body->task = NULL;
    if (task)
        tg_task_wake(task);
}

static void wake_later(struct tg_fetch_body *body)
{
    struct tg_task *task = body->task;
    body->task = NULL;
    if (task)
        tg_task_wake_later(task);
}

void tg_fetch_body_close(struct tg_fetch_body *body)
{
    tg_fetch_input_close(body);
    tg_writer_unwish(&body->wish);
    body->writer = NULL;
    tg_fetch_free(body->fetch);
    body->fetch = NULL;
    if (body->load)
        body->load->count--;
    body->load = NULL;
    leave_exchange(body);
    wake_later(
        body); /* not inside the end of an exchange: a task that is detached would run there */
}

void tg_fetch_bodies_close(struct tg_fetch_body *list)
{
    while (list) {
        struct tg_fetch_body *next = list->next;
        tg_fetch_body_close(list);
        list = next;
    }
}

struct tg_fetch_body *tg_fetch_body_new(lua_State *L, struct tg_call *call)
{
    struct tg_fetch_body *body = lua_newuserdatauv(L, sizeof *body, TG_FETCH_BODY_VALUES);
    *body = (struct tg_fetch_body){.length = TG_FETCH_LENGTH_UNKNOWN};
    luaL_setmetatable(L, TG_FETCH_BODY_TYPE);
    if (!call || !call->exchange)
        return body;
    body->exchange = call->exchange;
    body->next = call->fetches;
    body->link = &call->fetches;
    if (body->next)
        body->next->link = &body->next;
    call->fetches = body;
    return body;
}

int tg_fetch_body_raise(lua_State *L, struct tg_fetch_body *body, int index)
{
    const struct tg_fetch *fetch = body->fetch;
    if (body->input.reader && tg_fetch_failure(fetch) == TG_FETCH_BODY) {
        lua_getiuservalue(L, index, TG_FETCH_BODY_ANCHOR);
        return tg_body_reader_raise(L, lua_gettop(L));
    }
    if (body->input.status == 413)
        return tg_failure_raise_status(L, 413,
                                       "the request's body is larger than limits.body_bytes");
    return tg_failure_raise_status(L, tg_fetch_failure_status(tg_fetch_failure(fetch)),
                                   "upstream: %s", tg_fetch_message(fetch));
}

/* --- Reading ---------------------------------------------------------------------------------- */

static struct tg_fetch_body *check(lua_State *L)
{
    return luaL_checkudata(L, 1, TG_FETCH_BODY_TYPE);
}

/* A reader that is cancelled in the middle leaves nothing that another could make sense of. */
static void stop_reading(void *arg)
{
    struct tg_fetch_body *body = arg;
    body->task = NULL;
    tg_fetch_body_close(body);
}

static void check_free(lua_State *L, const struct tg_fetch_body *body)
{
    if (!body->fetch)
        luaL_error(L, "the body of this response was closed");
    if (body->task)
        luaL_error(L, "another task reads the body of this response");
}

static int read_on(lua_State *L);

static int read_resumed(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    tg_task_resumed(L, context);
    return read_on(L);
}

static int read_on(lua_State *L)
{
    struct tg_fetch_body *body = check(L);
    struct tg_slice data;
    if (body->ended) {
        lua_pushnil(L);
        return 1;
    }
    check_free(L, body);
    switch (tg_fetch_peek(body->fetch, &data)) {
    case TG_FETCH_DATA:
        lua_pushlstring(L, data.p, data.len);
        body->taken += data.len;
        tg_fetch_consume(body->fetch, data.len);
        return 1;
    case TG_FETCH_END:
        body->ended = true;
        tg_fetch_body_close(body);
        lua_pushnil(L);
        return 1;
    case TG_FETCH_FAILED:
        return tg_fetch_body_raise(L, body, 1);
    case TG_FETCH_WAIT:
        break;
    }
    struct tg_task_wait wait = {stop_reading, body};
    body->task = tg_task_check(L);
    tg_fetch_wait(body->fetch, wake, body);
    return tg_task_wait(L, &wait, read_resumed);
}

static int l_read(lua_State *L)
{
    lua_settop(L, 1);
    return read_on(L);
}

/* for chunk in body:chunks() do */
static int l_chunks(lua_State *L)
{
    check(L);
    lua_pushcfunction(L, l_read);
    lua_pushvalue(L, 1);
    return 2;
}

static int l_close(lua_State *L)
{
    tg_fetch_body_close(check(L));
    return 0;
}

static int body_gc(lua_State *L)
{
    struct tg_fetch_body *body = check(L);
    tg_fetch_body_close(body);
    tg_upstream_head_fini(&body->head);
    return 0;
}

/* --- :all() ----------------------------------------------------------------------------------- */

static lua_Integer limit_of_all(lua_State *L)
{
    struct tg_call *call = tg_call_current(L);
    uint64_t limit = call && call->exchange ? call->exchange->engine->limits->body_buffer : 1 << 20;
    return luaL_optinteger(L, 2, limit ? (lua_Integer)limit : LUA_MAXINTEGER);
}

/* Stack: body, limit, list of chunks, their number, bytes so far. */
static int all_go_on(lua_State *L, int status, lua_KContext context)
{
    bool has_result = status == LUA_YIELD || context;
    for (;;) {
        if (has_result) {
            if (lua_isnil(L, -1))
                break;
            lua_Integer count = lua_tointeger(L, 4) + 1;
            lua_Integer bytes = lua_tointeger(L, 5) + (lua_Integer)lua_rawlen(L, -1);
            if (bytes > lua_tointeger(L, 2))
                return tg_failure_raise_status(L, 502,
                                               "upstream: the body is larger than %lld bytes",
                                               (long long)lua_tointeger(L, 2));
            lua_rawseti(L, 3, count);
            lua_pushinteger(L, count);
            lua_replace(L, 4);
            lua_pushinteger(L, bytes);
            lua_replace(L, 5);
        }
        lua_pushcfunction(L, l_read);
        lua_pushvalue(L, 1);
        lua_callk(L, 1, 1, 1, all_go_on);
        has_result = true;
    }
    lua_Integer count = lua_tointeger(L, 4);
    luaL_Buffer buffer;
    luaL_buffinit(L, &buffer);
    for (lua_Integer i = 1; i <= count; i++) {
        lua_rawgeti(L, 3, i);
        luaL_addvalue(&buffer);
    }
    luaL_pushresult(&buffer);
    return 1;
}

static int l_all(lua_State *L)
{
    check(L);
    lua_Integer limit = limit_of_all(L);
    lua_settop(L, 1);
    lua_pushinteger(L, limit);
    lua_newtable(L);
    lua_pushinteger(L, 0);
    lua_pushinteger(L, 0);
    return all_go_on(L, LUA_OK, 0);
}

/* --- Sent on as a body ------------------------------------------------------------------------ */

/* What the server sent by this name, the last of several; NULL when it did not. */
static const char *sent(const struct tg_fetch_body *body, struct tg_slice name)
{
    struct tg_fetch_field field;
    const char *value = NULL;
    size_t n = 0;
    while (tg_fetch_response_field(body, &n, &field))
        if (tg_slice_equal_nocase(field.name, name))
            value = field.value.p;
    return value;
}

static bool has_field(struct tg_slice fields, struct tg_slice name)
{
    const char *at = fields.p;
    const char *end = at + fields.len;
    while (at < end) {
        const char *colon = memchr(at, ':', (size_t)(end - at));
        const char *line_end = memchr(at, '\n', (size_t)(end - at));
        if (!colon || !line_end)
            return false;
        if (tg_slice_equal_nocase((struct tg_slice){at, (size_t)(colon - at)}, name))
            return true;
        at = line_end + 1;
    }
    return false;
}

/* The codings of the bytes go with them, unless the response speaks of codings itself. */
static void add_coding(lua_State *L, struct tg_exchange *x, const struct tg_fetch_body *body)
{
    struct tg_slice name = TG_SLICE("Content-Encoding");
    const char *coding = sent(body, name);
    if (coding && !has_field(tg_buf_slice(&x->fields), name) &&
        tg_exchange_add_field(x, name, (struct tg_slice){coding, strlen(coding)}) != TG_OK)
        luaL_error(L, "cannot set Content-Encoding to %s", coding);
}

static void describe(lua_State *L, struct tg_out *out, int index, struct tg_body_about *about)
{
    const struct tg_fetch_body *body = luaL_checkudata(L, index, TG_FETCH_BODY_TYPE);
    if (body->ended && body->taken)
        luaL_error(L, "the body of this response was read already");
    if (!body->taken)
        about->length = body->length;
    if (!about->said->content_type)
        about->media_type = sent(body, TG_SLICE("content-type"));
    if (body->head.encoded)
        add_coding(L, out->call->exchange, body);
}

/* Inside of another body its coding would be lost. */
static const char *media_type(lua_State *L, const struct tg_out *out, int index)
{
    (void)out;
    const struct tg_fetch_body *body = luaL_checkudata(L, index, TG_FETCH_BODY_TYPE);
    if (body->ended && body->taken)
        luaL_error(L, "the body of this response was read already");
    if (body->head.encoded && !body->decoded)
        luaL_error(L, "the body of this response is coded: see tg.fetch's decode");
    return sent(body, TG_SLICE("content-type"));
}

static void drop(lua_State *L, struct tg_out *out, int index)
{
    (void)out;
    tg_fetch_body_close(luaL_checkudata(L, index, TG_FETCH_BODY_TYPE));
}

static bool pump_take(void *arg, const char *data, size_t len)
{
    struct tg_fetch_body *body = arg;
    struct tg_writer *w = body->writer;
    if (body->written < 0 || w->must_wait) /* in this order: w may be gone after an error */
        return false;
    body->written = tg_writer_write(w, data, len);
    body->taken += len;
    return true;
}

/* Whether nothing more is to be pumped. */
static bool is_pumped(const struct tg_fetch_body *body)
{
    struct tg_slice data;
    enum tg_fetch_state state = tg_fetch_peek(body->fetch, &data);
    return body->written < 0 || state == TG_FETCH_END || state == TG_FETCH_FAILED;
}

static void on_drained(void *arg, bool gone);

/* What has come is on its way to the client before we wait for more. */
static void pump_turn(void *arg)
{
    struct tg_fetch_body *body = arg;
    struct tg_writer *w = body->writer;
    if (!body->task)
        return; /* it was told already, and has not come to it yet */
    if (!is_pumped(body))
        body->written = tg_writer_flush(w);
    if (is_pumped(body)) {
        tg_writer_unwish(&body->wish);
        wake(body); /* last: it may end the exchange */
    } else if (w->must_wait && !body->wish.link) {
        tg_writer_wish(w, &body->wish, on_drained, body);
    }
}

static void on_drained(void *arg, bool gone)
{
    struct tg_fetch_body *body = arg;
    if (gone) {
        body->writer = NULL;
        body->written = TG_ECLOSED;
        wake_later(body);
        return;
    }
    tg_fetch_resume(body->fetch);
    pump_turn(body);
}

static const struct tg_fetch_pipe pump = {pump_take, pump_turn};

/* Stack: out, body. */
static int pump_ended(lua_State *L, struct tg_fetch_body *body)
{
    struct tg_slice data;
    body->writer = NULL;
    if (body->fetch)
        tg_fetch_pipe(body->fetch, NULL, NULL);
    tg_out_check(L, body->written);
    check_free(L, body);
    if (tg_fetch_peek(body->fetch, &data) == TG_FETCH_FAILED)
        return tg_fetch_body_raise(L, body, 2);
    body->ended = true;
    tg_fetch_body_close(body);
    return 0;
}

static int pump_resumed(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    tg_task_resumed(L, context);
    return pump_ended(L, luaL_checkudata(L, 2, TG_FETCH_BODY_TYPE));
}

static int write_body(lua_State *L)
{
    const struct tg_out *out = lua_touserdata(L, 1);
    struct tg_fetch_body *body = luaL_checkudata(L, 2, TG_FETCH_BODY_TYPE);
    if (body->ended)
        return 0;
    check_free(L, body);
    struct tg_task_wait wait = {stop_reading, body};
    struct tg_task *task = tg_task_check(L);
    body->writer = out->writer;
    body->written = TG_OK;
    tg_fetch_pipe(body->fetch, &pump, body);
    if (!out->writer->must_wait)
        tg_fetch_resume(body->fetch);
    if (!is_pumped(body))
        body->written = tg_writer_flush(out->writer);
    if (is_pumped(body))
        return pump_ended(L, body);
    body->task = task;
    if (out->writer->must_wait)
        tg_writer_wish(out->writer, &body->wish, on_drained, body);
    return tg_task_wait(L, &wait, pump_resumed);
}

/* --- How many are under way --------------------------------------------------------------------- */

int tg_fetch_load_new(lua_State *L)
{
    struct tg_fetch_load *load = lua_newuserdatauv(L, sizeof *load, 0);
    load->count = 0;
    luaL_setmetatable(L, TG_FETCH_LOAD_TYPE);
    return 1;
}

static int l_count(lua_State *L)
{
    const struct tg_fetch_load *load = luaL_checkudata(L, 1, TG_FETCH_LOAD_TYPE);
    lua_pushinteger(L, load->count);
    return 1;
}

static void open_load(lua_State *L)
{
    static const luaL_Reg methods[] = {{"count", l_count}, {NULL, NULL}};
    luaL_newmetatable(L, TG_FETCH_LOAD_TYPE);
    luaL_newlib(L, methods);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
}

/* --- The type --------------------------------------------------------------------------------- */

void tg_fetch_body_open(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"read", l_read}, {"chunks", l_chunks}, {"all", l_all}, {"close", l_close}, {NULL, NULL}};
    static const struct tg_body_kind kind = {
        .describe = describe, .media_type = media_type, .write = write_body, .drop = drop};
    open_load(L);
    luaL_newmetatable(L, TG_FETCH_BODY_TYPE);
    tg_body_kind_set(L, &kind);
    lua_pushcfunction(L, body_gc);
    lua_setfield(L, -2, "__gc");
    lua_pushcfunction(L, l_close);
    lua_setfield(L, -2, "__close");
    luaL_newlib(L, methods);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
}
