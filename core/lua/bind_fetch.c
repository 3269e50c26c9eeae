/* bind_fetch.c - tg.fetch: begins a request to another server and waits for its response's head. */
#include "lua/bind_fetch.h"

#include <string.h>

#include <lauxlib.h>

#include "lua/call.h"
#include "lua/failure.h"
#include "lua/fetch_body.h"
#include "lua/fetch_input.h"
#include "lua/fetch_options.h"
#include "lua/fetch_response.h"
#include "lua/fields.h"
#include "lua/forward.h"
#include "lua/task.h"

/* --- Waiting for the head ---------------------------------------------------------------------- */

/* nil, a message, and an error that may be raised: { message, status, kind, sent }. */
static int push_failure(lua_State *L, struct tg_fetch_body *body)
{
    const struct tg_fetch *fetch = body->fetch;
    enum tg_fetch_failure failure = tg_fetch_failure(fetch);
    if (failure == TG_FETCH_URL)
        return luaL_error(L, "fetch: %s", tg_fetch_message(fetch));
    if (failure == TG_FETCH_BODY)
        return tg_fetch_body_raise(L, body, 3);
    lua_pushnil(L);
    lua_pushstring(L, tg_fetch_message(fetch));
    int status = tg_fetch_failure_status(failure);
    tg_failure_remember(L, -1, status);
    tg_failure_push_status(L, status, lua_tostring(L, -1));
    lua_pushstring(L, tg_fetch_failure_name(failure));
    lua_setfield(L, -2, "kind");
    lua_pushboolean(L, tg_fetch_sent(fetch));
    lua_setfield(L, -2, "sent");
    tg_fetch_body_close(body);
    return 3;
}

static void on_news(void *arg)
{
    struct tg_fetch_body *body = arg;
    struct tg_task *task = body->task;
    body->task = NULL;
    tg_task_wake(task);
}

static void stop_waiting(void *arg)
{
    struct tg_fetch_body *body = arg;
    body->task = NULL;
    tg_fetch_body_close(body);
}

/* Stack: url, options, body. */
static int wait_for_head(lua_State *L);

static int head_resumed(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    tg_task_resumed(L, context);
    return wait_for_head(L);
}

static int wait_for_head(lua_State *L)
{
    struct tg_fetch_body *body = lua_touserdata(L, 3);
    struct tg_slice data;
    if (!body->fetch)
        return luaL_error(L, "the exchange is over");
    if (tg_fetch_status(body->fetch)) {
        tg_fetch_body_answered(body);
        tg_fetch_response_push(L, body, 3);
        return 1;
    }
    if (tg_fetch_peek(body->fetch, &data) == TG_FETCH_FAILED) {
        tg_fetch_body_answered(body);
        return push_failure(L, body);
    }
    struct tg_task_wait wait = {stop_waiting, body};
    body->task = tg_task_check(L);
    tg_fetch_wait(body->fetch, on_news, body);
    return tg_task_wait(L, &wait, head_resumed);
}

/* --- tg.fetch --------------------------------------------------------------------------------- */

static void start(lua_State *L, struct tg_upstream *upstream)
{
    struct tg_fetch_options o;
    tg_fetch_options_read(L, &o);
    struct tg_call *call = o.call ? o.call : tg_call_current(L);
    struct tg_fetch_body *body = tg_fetch_body_new(L, call);
    tg_fetch_input_take(L, &o, body, lua_gettop(L));
    if (o.load) {
        lua_pushvalue(L, o.scratch);
        lua_setiuservalue(L, -2, TG_FETCH_BODY_KEPT);
    }
    if (body->exchange) {
        body->exchange->upstreams++;
        body->awaited = true;
    }
    enum tg_status status = tg_fetch_start(&body->fetch, upstream, &o.request);
    if (status != TG_OK)
        tg_fetch_body_close(body);
    switch (status) {
    case TG_OK:
        body->load = o.load;
        if (o.load)
            o.load->count++;
        return;
    case TG_EINVAL:
        luaL_error(L,
                   "fetch: expected an http or https URL of visible ASCII, and a method that is "
                   "not CONNECT: %s %s",
                   o.request.method, o.request.url);
        return;
    case TG_ELIMIT:
        luaL_error(L, "fetch: too many headers");
        return;
    default:
        luaL_error(L, "not enough memory");
    }
}

/* Stack: url, options, reader of the request's body or nil. */
static int begin(lua_State *L);

static int begin_resumed(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    tg_task_resumed(L, context);
    return begin(L);
}

static int begin(lua_State *L)
{
    if (!tg_fetch_input_is_ready(L))
        return tg_fetch_input_wait(L, begin_resumed);
    tg_task_check(L);
    start(L, tg_lua_upstream(tg_lua_of(L)));
    lua_insert(L, 3);
    lua_settop(L, 3);
    return wait_for_head(L);
}

static int l_fetch(lua_State *L)
{
    if (!tg_lua_upstream(tg_lua_of(L)))
        return luaL_error(L, "fetch: there is no upstream client here");
    lua_settop(L, 2);
    tg_task_check(L);
    tg_fetch_input_push_reader(L, 2);
    return begin(L);
}

/* _remember_failure(message, status) */
static int l_remember_failure(lua_State *L)
{
    luaL_checkstring(L, 1);
    tg_failure_remember(L, 1, (int)luaL_checkinteger(L, 2));
    return 0;
}

void tg_fetch_open(lua_State *L)
{
    lua_pushcfunction(L, l_remember_failure);
    lua_setfield(L, -2, "_remember_failure");
    lua_pushcfunction(L, l_fetch);
    lua_setfield(L, -2, "fetch");
    lua_pushcfunction(L, tg_fetch_load_new);
    lua_setfield(L, -2, "fetch_load");

    tg_fields_open(L);
    tg_forward_open(L);
    tg_fetch_response_open(L);
    tg_fetch_body_open(L);
}
