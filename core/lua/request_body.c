/* request_body.c - request.body:read(), :chunks(), :all(), and itself as a body. */
#include "lua/request_body.h"

#include <lauxlib.h>

#include "lua/bind_writer.h"
#include "lua/body_kind.h"
#include "lua/call.h"
#include "lua/failure.h"
#include "lua/read_all.h"

/* The userdata holds nothing; its user value is the request. */
struct tg_call *tg_request_body_call(lua_State *L, int index)
{
    luaL_checkudata(L, index, TG_REQUEST_BODY_TYPE);
    lua_getiuservalue(L, index, 1);
    struct tg_call *call = lua_touserdata(L, -1);
    lua_pop(L, 1);
    if (!call->exchange)
        luaL_error(L, "the exchange is over");
    return call;
}

static struct tg_call *check(lua_State *L)
{
    return tg_request_body_call(L, 1);
}

void tg_request_body_check_unread(lua_State *L, const struct tg_call *call)
{
    if (call->body_over)
        luaL_error(L, "the request's body was read to its end before, and is not kept");
}

static void on_body(void *arg)
{
    struct tg_call *call = arg;
    struct tg_task *task = call->reader;
    call->reader = NULL;
    tg_task_wake(task);
}

static void stop_waiting(void *arg)
{
    struct tg_call *call = arg;
    call->reader = NULL;
    tg_conn_body_wait(call->exchange->conn, NULL, NULL);
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
    struct tg_call *call = check(L);
    struct tg_conn *conn = call->exchange->conn;
    struct tg_slice data;
    if (call->streamed)
        return luaL_error(L, "the request's body is being sent to another server");
    switch (tg_conn_body_peek(conn, &data)) {
    case TG_BODY_DATA:
        lua_pushlstring(L, data.p, data.len);
        tg_conn_body_consume(conn, data.len);
        call->body_begun = true;
        return 1;
    case TG_BODY_END:
        call->body_over = call->body_begun;
        lua_pushnil(L);
        return 1;
    case TG_BODY_BROKEN:
        return tg_failure_raise_status(L, 400, "the request's body is badly framed");
    case TG_BODY_TOO_LARGE:
        return tg_failure_raise_status(L, 413,
                                       "the request's body is larger than limits.body_bytes");
    case TG_BODY_WAIT:
        break;
    }
    if (call != tg_call_current(L))
        return luaL_error(
            L, "only the exchange's own tasks can wait for the request's body: this one is "
               "detached, or another's");
    if (call->reader)
        return luaL_error(L, "another task waits for the request's body already");
    struct tg_task_wait wait = {stop_waiting, call};
    call->reader = tg_task_check(L);
    tg_conn_body_wait(conn, on_body, call);
    return tg_task_wait(L, &wait, read_resumed);
}

int tg_request_body_read(lua_State *L)
{
    lua_settop(L, 1);
    return read_on(L);
}

/* for chunk in request.body:chunks() do */
static int l_chunks(lua_State *L)
{
    check(L);
    lua_pushcfunction(L, tg_request_body_read);
    lua_pushvalue(L, 1);
    return 2;
}

/* all([most]) */
static int l_all(lua_State *L)
{
    const struct tg_call *call = check(L);
    tg_request_body_check_unread(L, call);
    uint64_t limit = call->exchange->engine->limits->body_buffer;
    lua_Integer most = luaL_optinteger(L, 2, -1);
    return tg_read_all(L, tg_request_body_read, most < 0 ? limit : (uint64_t)most,
                       "the request's body");
}

/* --- Sent back as a body ---------------------------------------------------------------------- */

static const struct tg_out *out_at(lua_State *L)
{
    return lua_touserdata(L, 1);
}

/* Stack: out, body, a chunk or nil. */
static int echo_on(lua_State *L, int status, lua_KContext context);

static int echo_written(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    tg_task_resumed(L, context);
    tg_out_check(L, out_at(L)->writer->failed);
    return echo_on(L, LUA_OK, 0);
}

static int echo_on(lua_State *L, int status, lua_KContext context)
{
    struct tg_writer *w = out_at(L)->writer;
    bool has_result = status == LUA_YIELD || context;
    for (;;) {
        if (has_result) {
            size_t len;
            const char *data = lua_tolstring(L, 3, &len);
            if (!data)
                return 0;
            tg_out_check(L, tg_writer_write(w, data, len));
        }
        lua_settop(L, 2);
        if (w->must_wait)
            return tg_out_wait(L, w, echo_written);
        lua_pushcfunction(L, tg_request_body_read);
        lua_pushvalue(L, 2);
        lua_callk(L, 1, 1, 1, echo_on);
        has_result = true;
    }
}

static int echo(lua_State *L)
{
    tg_request_body_check_unread(L, tg_request_body_call(L, 2));
    return echo_on(L, LUA_OK, 0);
}

/* --- The type --------------------------------------------------------------------------------- */

void tg_request_body_push(lua_State *L, const struct tg_call *call)
{
    lua_newuserdatauv(L, 0, 1);
    tg_call_push_request(L, call);
    lua_setiuservalue(L, -2, 1);
    luaL_setmetatable(L, TG_REQUEST_BODY_TYPE);
}

void tg_request_body_open(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"read", tg_request_body_read}, {"chunks", l_chunks}, {"all", l_all}, {NULL, NULL}};
    static const struct tg_body_kind kind = {.write = echo};
    luaL_newmetatable(L, TG_REQUEST_BODY_TYPE);
    tg_body_kind_set(L, &kind);
    luaL_newlib(L, methods);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
}
