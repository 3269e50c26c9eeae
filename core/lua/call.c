/* call.c - the script's side of exchanges: made with the first Lua stage, let go of at the end. */
#include "lua/call.h"

#include <unistd.h>

#include <lauxlib.h>

#include "lua/failure.h"
#include "lua/interceptor.h"
#include "lua/state.h"

/* A body that goes on by itself needs the task no more. */
enum tg_step tg_call_step(struct tg_call *call, enum tg_lua_result result)
{
    struct tg_source *source = call->source;
    call->source = NULL;
    if (!source)
        return tg_failure_step(call, result);
    if (result != TG_LUA_DONE) {
        source->stop(source);
        return tg_failure_step(call, result);
    }
    tg_exchange_drive(call->exchange, source);
    return TG_STEP_WAIT;
}

static void on_task_done(void *owner, enum tg_lua_result result)
{
    struct tg_call *call = owner;
    struct tg_exchange *x = call->exchange;
    tg_exchange_go_on(x, tg_call_step(call, result));
}

void tg_call_open(lua_State *L)
{
    struct tg_lua_types *types = tg_lua_types(tg_lua_of(L));
    luaL_getmetatable(L, TG_REQUEST_TYPE);
    types->request = luaL_ref(L, LUA_REGISTRYINDEX);
    luaL_getmetatable(L, TG_CONTEXT_TYPE);
    types->context = luaL_ref(L, LUA_REGISTRYINDEX);
}

static void set_type(lua_State *L, int type)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, type);
    lua_setmetatable(L, -2);
}

/* The value at index as a request, or NULL. */
static struct tg_call *test_request(lua_State *L, int index)
{
    if (lua_type(L, index) != LUA_TUSERDATA || !lua_getmetatable(L, index))
        return NULL;
    lua_rawgeti(L, LUA_REGISTRYINDEX, tg_lua_types(tg_lua_of(L))->request);
    bool same = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
    return same ? lua_touserdata(L, index) : NULL;
}

static int make(lua_State *L)
{
    struct tg_exchange *x = lua_touserdata(L, 1);
    const struct tg_lua_types *types = tg_lua_types(tg_lua_of(L));
    struct tg_call *call = lua_newuserdatauv(L, sizeof *call, TG_CALL_VALUES);
    *call = (struct tg_call){.ref = LUA_NOREF};
    set_type(L, types->request);

    call->bare = true;
    call->ref = luaL_ref(L, LUA_REGISTRYINDEX);
    call->exchange = x; /* from here on nothing raises */
    call->out.ref = call->ref;
    call->out.call = call;
    call->out.writer = &x->writer;
    tg_queue_init(&call->senders);
    x->script_data = call;
    return 0;
}

static int unref(lua_State *L)
{
    luaL_unref(L, LUA_REGISTRYINDEX, ((const struct tg_call *)lua_touserdata(L, 1))->ref);
    return 0;
}

struct tg_call *tg_call_of(struct tg_exchange *x)
{
    struct tg_lua *lua = x->script->arg;
    if (x->script_data)
        return x->script_data;
    if (tg_lua_enter(lua, make, x) != TG_LUA_DONE)
        return NULL;
    struct tg_call *call = x->script_data;
    call->task = tg_task_new(lua, on_task_done, call);
    if (call->task) {
        tg_task_open_scope(call->task, &call->scope, call);
        return call;
    }
    x->script_data = NULL;
    call->exchange = NULL;
    call->out.writer = NULL;
    tg_lua_enter(lua, unref, call);
    return NULL;
}

/* --- From Lua --------------------------------------------------------------------------------- */

void tg_call_push_request(lua_State *L, const struct tg_call *call)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, call->ref);
}

/* Stack: the request. */
static void make_context(lua_State *L, struct tg_call *call)
{
    lua_createtable(L, 0, 2);
    lua_pushvalue(L, -2);
    lua_setfield(L, -2, "request");
    set_type(L, tg_lua_types(tg_lua_of(L))->context);
    if (lua_getiuservalue(L, -2, TG_CALL_CONTEXT) != LUA_TNIL)
        lua_setfield(L, -2, "response");
    else
        lua_pop(L, 1);
    lua_setiuservalue(L, -2, TG_CALL_CONTEXT);
    call->bare = false;
}

bool tg_call_wants_context(lua_State *L, int index)
{
    lua_Debug ar;
    if (!lua_isfunction(L, index))
        return true;
    lua_pushvalue(L, index);
    lua_getinfo(L, ">u", &ar);
    return ar.isvararg || ar.nparams > 1;
}

void tg_call_push_context(lua_State *L, struct tg_call *call)
{
    tg_call_push_request(L, call);
    if (call->bare)
        make_context(L, call);
    lua_getiuservalue(L, -1, TG_CALL_CONTEXT);
    lua_remove(L, -2);
}

void tg_call_push_response(lua_State *L, const struct tg_call *call)
{
    tg_call_push_request(L, call);
    lua_getiuservalue(L, -1, TG_CALL_CONTEXT);
    if (!call->bare) {
        lua_getfield(L, -1, "response");
        lua_remove(L, -2);
    }
    lua_remove(L, -2);
}

struct tg_call *tg_call_current(lua_State *L)
{
    return tg_scope_of(L)->user;
}

struct tg_call *tg_request_check(lua_State *L, int index)
{
    struct tg_call *call = test_request(L, index);
    if (!call)
        luaL_typeerror(L, index, TG_REQUEST_TYPE);
    return call;
}

struct tg_call *tg_call_check(lua_State *L, int index)
{
    struct tg_call *call = test_request(L, index);
    if (call)
        return call;
    if (!lua_istable(L, index))
        luaL_typeerror(L, index, TG_CONTEXT_TYPE);
    lua_getfield(L, index, "request");
    call = test_request(L, -1);
    lua_pop(L, 1);
    if (!call) /* the script has put something else there */
        call = tg_call_current(L);
    if (!call)
        luaL_typeerror(L, index, TG_CONTEXT_TYPE);
    return call;
}
