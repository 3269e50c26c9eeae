/* bind_coroutine.c - resume, wrap, yield and close, transparent to waits. */
#include "lua/bind_coroutine.h"

#include <lauxlib.h>

#include "lua/state.h"
#include "lua/state_impl.h"
#include "lua/task.h"

enum { PASSES = -2, FAILS = -1 };

/* Moves nargs values to co and resumes it: how many values it left on L, FAILS with the error on L, or
 * PASSES: a wait goes outwards. */
static int resume(lua_State *L, lua_State *co, int nargs)
{
    int nresults;
    if (tg_lua_waits(co)) { /* for Lua it could be resumed */
        lua_pushliteral(L, "cannot resume non-suspended coroutine");
        return FAILS;
    }
    if (!lua_checkstack(co, nargs)) {
        lua_pushliteral(L, "too many arguments to resume");
        return FAILS;
    }
    lua_xmove(L, co, nargs);
    int status = tg_lua_resume_level(co, L, nargs, &nresults);
    if (status == LUA_YIELD && tg_lua_tasks_of(co)->passing)
        return PASSES;
    if (status != LUA_OK && status != LUA_YIELD) {
        lua_xmove(co, L, 1);
        return FAILS;
    }
    if (!lua_checkstack(L, nresults + 1)) {
        lua_pop(co, nresults);
        lua_pushliteral(L, "too many results to resume");
        return FAILS;
    }
    lua_xmove(co, L, nresults);
    return nresults;
}

/* --- coroutine.resume --------------------------------------------------------------------------- */

static int resume_resumed(lua_State *L, int status, lua_KContext context);

static int resume_ended(lua_State *L, lua_State *co, int n)
{
    if (n == PASSES)
        return lua_yieldk(L, 0, tg_task_pass(co), resume_resumed);
    if (n == FAILS) {
        lua_pushboolean(L, 0);
        lua_insert(L, -2);
        return 2;
    }
    lua_pushboolean(L, 1);
    lua_insert(L, -(n + 1));
    return n + 1;
}

static int resume_resumed(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    tg_task_resumed(L, context);
    lua_State *co = lua_tothread(L, 1);
    return resume_ended(L, co, resume(L, co, 0));
}

int tg_coroutine_resume(lua_State *L)
{
    lua_State *co = lua_tothread(L, 1);
    luaL_argexpected(L, co, 1, "thread");
    return resume_ended(L, co, resume(L, co, lua_gettop(L) - 1));
}

/* --- coroutine.wrap ----------------------------------------------------------------------------- */

static int wrap_resumed(lua_State *L, int status, lua_KContext context);

/* The error is on top: it goes on in L, with its place if it is a text, once co is closed. */
static int raise_on(lua_State *L, lua_State *co)
{
    int status = lua_status(co);
    if (status != LUA_OK && status != LUA_YIELD && !tg_lua_tasks_of(L)->stopping) {
        status = tg_lua_close_level(co, L);
        if (status != LUA_OK)
            lua_xmove(co, L, 1); /* a closer's error takes the place of the first */
    }
    if (status != LUA_ERRMEM && lua_type(L, -1) == LUA_TSTRING) {
        luaL_where(L, 1);
        lua_insert(L, -2);
        lua_concat(L, 2);
    }
    return lua_error(L);
}

static int wrap_ended(lua_State *L, lua_State *co, int n)
{
    if (n == PASSES)
        return lua_yieldk(L, 0, tg_task_pass(co), wrap_resumed);
    return n == FAILS ? raise_on(L, co) : n;
}

static int wrap_resumed(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    lua_State *co = lua_tothread(L, lua_upvalueindex(1));
    tg_task_resumed(L, context);
    return wrap_ended(L, co, resume(L, co, 0));
}

static int call_wrapped(lua_State *L)
{
    lua_State *co = lua_tothread(L, lua_upvalueindex(1));
    return wrap_ended(L, co, resume(L, co, lua_gettop(L)));
}

static int l_wrap(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_State *co = lua_newthread(L);
    lua_pushvalue(L, 1);
    lua_xmove(L, co, 1);
    lua_pushcclosure(L, call_wrapped, 1);
    return 1;
}

/* --- coroutine.yield ---------------------------------------------------------------------------- */

/* Without a place, as Lua's own. */
static int outside(lua_State *L)
{
    lua_pushliteral(L, "attempt to yield from outside a coroutine");
    return lua_error(L);
}

static int l_yield(lua_State *L)
{
    if (tg_lua_tasks_of(L)->base == L)
        return outside(L);
    return lua_yield(L, lua_gettop(L));
}

/* --- coroutine.close ---------------------------------------------------------------------------- */

static const char *status_of(lua_State *L, lua_State *co)
{
    lua_Debug ar;
    if (co == L)
        return "running";
    if (tg_lua_waits(co))
        return "waiting";
    if (lua_status(co) == LUA_OK && lua_getstack(co, 0, &ar))
        return "normal";
    return NULL; /* suspended or dead */
}

static int l_close(lua_State *L)
{
    lua_State *co = lua_tothread(L, 1);
    luaL_argexpected(L, co, 1, "thread");
    const char *status = status_of(L, co);
    if (status)
        return luaL_error(L, "cannot close a %s coroutine", status);
    if (tg_lua_close_level(co, L) == LUA_OK) {
        lua_pushboolean(L, 1);
        return 1;
    }
    lua_pushboolean(L, 0);
    lua_xmove(co, L, 1);
    return 2;
}

void tg_coroutine_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"resume", tg_coroutine_resume},
        {"wrap", l_wrap},
        {"yield", l_yield},
        {"close", l_close},
        {NULL, NULL},
    };
    lua_getglobal(L, "coroutine");
    luaL_setfuncs(L, functions, 0);
    lua_pop(L, 1);
}
