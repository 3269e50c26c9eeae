/* script_ops.c - a script's exchanges, as the engine calls them: produce, cancel, close, release. */
#include "lua/script_impl.h"

#include <lauxlib.h>

#include "lua/bind_context.h"
#include "lua/bind_request.h"
#include "lua/bind_task.h"
#include "lua/bind_writer.h"
#include "lua/body.h"
#include "lua/call.h"
#include "lua/driven.h"
#include "lua/explain.h"
#include "lua/failure.h"
#include "lua/fetch_body.h"
#include "lua/file_body.h"

static int call_on_close(lua_State *L)
{
    struct tg_call *call = lua_touserdata(L, 1);
    lua_settop(L, 0);
    tg_call_push_request(L, call);
    lua_getiuservalue(L, 1, TG_CALL_ON_CLOSE);
    lua_rawgeti(L, 2, call->closing);
    lua_pushstring(L, tg_ending_name(call->ending));
    if (call->exchange->error.set) {
        tg_failure_push(L, call);
        lua_call(L, 2, 0);
    } else {
        lua_call(L, 1, 0);
    }
    return 0;
}

/* In the order in which they were set; each is called, whatever the others do. */
static void run_on_close(struct tg_lua *lua, struct tg_call *call, enum tg_ending ending)
{
    lua_Integer count = call->closers;
    call->ending = ending;
    for (call->closing = 1; call->closing <= count; call->closing++)
        if (tg_lua_enter(lua, call_on_close, call) != TG_LUA_DONE)
            tg_log(tg_lua_log(lua), TG_LOG_ERROR, "%s: on_close: %s",
                   tg_exchange_route(call->exchange), tg_lua_error(lua));
}

static void on_cancel(struct tg_exchange *x)
{
    struct tg_call *call = x->script_data;
    if (!call)
        return;
    tg_task_cancel(call->task);
    tg_file_drop(&call->out);
}

/* Not from inside Lua. */
static void let_go(struct tg_exchange *x, struct tg_call *call)
{
    struct tg_lua *lua = x->script->arg;
    tg_driven_stop(call->driven, TG_ECLOSED);
    tg_fetch_bodies_close(call->fetches);
    tg_task_free(call->task);
    tg_lua_interceptors_free(lua, call->enqueued);
    call->task = NULL;
    call->enqueued = NULL;
    call->exchange = NULL;
    call->out.writer = NULL;
    x->script_data = NULL;
    luaL_unref(tg_lua_main(lua), LUA_REGISTRYINDEX, call->ref); /* last: call may be gone */
}

static int drop_body(lua_State *L)
{
    tg_body_drop(L, lua_touserdata(L, 1));
    return 0;
}

static void on_end(struct tg_exchange *x, enum tg_ending ending)
{
    struct tg_call *call = x->script_data;
    if (!call)
        return;
    on_cancel(x);
    tg_fetch_bodies_close(call->fetches);
    if (ending != TG_ENDING_DONE)
        tg_lua_enter(x->script->arg, drop_body, call);
    run_on_close(x->script->arg, call, ending);
    tg_spawned_log(x->script->arg, &call->scope, tg_exchange_route(x));
    let_go(x, call);
}

static bool on_release(struct tg_exchange *x)
{
    struct tg_call *call = x->script_data;
    if (!call)
        return true;
    if (call->closers || call->scope.live || call->scope.failed) {
        tg_task_rest(call->task);
        return false;
    }
    let_go(x, call);
    return true;
}

static int drop_response(lua_State *L)
{
    struct tg_call *call = lua_touserdata(L, 1);
    tg_body_drop(L, call);
    tg_call_push_request(L, call);
    lua_getiuservalue(L, -1, TG_CALL_CONTEXT);
    lua_pushnil(L);
    if (call->bare)
        lua_setiuservalue(L, -3, TG_CALL_CONTEXT);
    else
        lua_setfield(L, -2, "response");
    return 0;
}

static void on_drop_response(struct tg_exchange *x)
{
    struct tg_call *call = x->script_data;
    if (!call)
        return;
    tg_lua_enter(x->script->arg, drop_response, call);
    tg_file_drop(&call->out); /* where a script's table hides it */
}

/* --- Predicates of terminate_when ------------------------------------------------------------- */

/* Stack: list, position, context. */
static int try_predicates(lua_State *L, int status, lua_KContext context)
{
    struct tg_call *call = (struct tg_call *)context;
    bool has_result = status == LUA_YIELD;
    for (;;) {
        if (has_result && lua_toboolean(L, -1)) {
            tg_exchange_terminate(call->exchange);
            return 0;
        }
        lua_settop(L, 3);
        lua_Integer at = lua_tointeger(L, 2) + 1;
        lua_pushinteger(L, at);
        lua_replace(L, 2);
        if (lua_rawgeti(L, 1, at) != LUA_TFUNCTION)
            return 0;
        lua_pushvalue(L, 3);
        lua_callk(L, 1, 1, context, try_predicates);
        has_result = true;
    }
}

static int run_predicates(lua_State *L)
{
    struct tg_call *call = lua_touserdata(L, 1);
    lua_settop(L, 0);
    tg_call_push_request(L, call);
    lua_getiuservalue(L, 1, TG_CALL_PREDICATES);
    lua_replace(L, 1);
    lua_pushinteger(L, 0);
    tg_call_push_context(L, call);
    return try_predicates(L, LUA_OK, (lua_KContext)call);
}

static enum tg_step on_entered(struct tg_exchange *x)
{
    struct tg_call *call = x->script_data;
    return tg_failure_step(call, tg_task_start(call->task, run_predicates, call));
}

static int produce(lua_State *L)
{
    return tg_body_produce(L, lua_touserdata(L, 1));
}

static enum tg_step on_produce(struct tg_exchange *x)
{
    struct tg_call *call = x->script_data;
    return tg_call_step(call, tg_task_start(call->task, produce, call));
}

static bool on_explain(struct tg_exchange *x)
{
    const struct tg_lua_script *script = tg_lua_user(x->script->arg);
    return tg_explain(x, script->o.path);
}

static void on_where(const struct tg_exchange *x, char *text, size_t size)
{
    const struct tg_call *call = x->script_data;
    *text = '\0';
    if (call)
        tg_task_where(call->task, text, size);
}

const struct tg_script_ops tg_lua_script_ops = {
    .produce = on_produce,
    .entered = on_entered,
    .drop_response = on_drop_response,
    .explain = on_explain,
    .cancel = on_cancel,
    .close = on_end,
    .release = on_release,
    .where = on_where,
};
