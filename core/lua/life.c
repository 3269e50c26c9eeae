/* life.c - calls on_start and on_stop as tasks of a state. */
#include "lua/life.h"

#include <lauxlib.h>

#include "lua/task.h"

static void push_gateway(lua_State *L, const struct tg_lua_host *host)
{
    lua_createtable(L, 0, 2);
    lua_pushinteger(L, host->worker);
    lua_setfield(L, -2, "worker");
    lua_pushinteger(L, (lua_Integer)host->generation);
    lua_setfield(L, -2, "generation");
}

/* --- check -------------------------------------------------------------------------------------- */

static void call_check(lua_State *L, const struct tg_lua_life *life, int index)
{
    lua_pushliteral(L, "check");
    if (lua_rawget(L, index) != LUA_TFUNCTION) {
        lua_pop(L, 1);
        return;
    }
    push_gateway(L, &life->host);
    lua_call(L, 1, 2);
    if (lua_isboolean(L, -2) && !lua_toboolean(L, -2))
        luaL_error(L, "check: %s", lua_isstring(L, -1) ? lua_tostring(L, -1) : "it returned false");
    lua_pop(L, 2);
}

static int take_function(lua_State *L, int index, const char *name)
{
    lua_pushstring(L, name);
    if (lua_rawget(L, index) == LUA_TFUNCTION)
        return luaL_ref(L, LUA_REGISTRYINDEX);
    lua_pop(L, 1);
    return LUA_NOREF;
}

void tg_lua_life_load(lua_State *L, struct tg_lua_life *life, int index)
{
    life->on_start = take_function(L, index, "on_start");
    life->on_stop = take_function(L, index, "on_stop");
    call_check(L, life, index);
}

/* --- on_start and on_stop ------------------------------------------------------------------------- */

static int push_failure(lua_State *L)
{
    struct tg_lua_life *life = lua_touserdata(L, 1);
    tg_task_push_error(L, life->task);
    const char *traceback = lua_tostring(L, -1);
    tg_log(tg_lua_log(life->lua), TG_LOG_ERROR, "%s: %s%s%s", life->running,
           luaL_tolstring(L, -2, NULL), traceback ? "; " : "", traceback ? traceback : "");
    return 0;
}

static void ended(struct tg_lua_life *life, enum tg_lua_result result)
{
    if (result != TG_LUA_DONE && tg_lua_enter(life->lua, push_failure, life) != TG_LUA_DONE)
        tg_log(tg_lua_log(life->lua), TG_LOG_ERROR, "%s: not enough memory", life->running);
    life->running = NULL;
}

static void on_done(void *owner, enum tg_lua_result result)
{
    struct tg_lua_life *life = owner;
    ended(life, result);
    if (life->done)
        life->done(life->arg);
}

static int ignore(lua_State *L, int status, lua_KContext context)
{
    (void)L;
    (void)status;
    (void)context;
    return 0;
}

static int call_hook(lua_State *L)
{
    const struct tg_lua_life *life = lua_touserdata(L, 1);
    lua_settop(L, 0);
    lua_rawgeti(L, LUA_REGISTRYINDEX, life->stopped ? life->on_stop : life->on_start);
    push_gateway(L, &life->host);
    lua_callk(L, 1, 0, 0, ignore);
    return 0;
}

/* Whether it waits now. */
static bool begin(struct tg_lua_life *life, const char *name)
{
    if (!life->task)
        life->task = tg_task_new(life->lua, on_done, life);
    life->running = name;
    enum tg_lua_result result = TG_LUA_NOMEM;
    if (life->task)
        result = tg_task_start(life->task, call_hook, life);
    if (result == TG_LUA_WAITING)
        return true;
    if (life->task)
        ended(life, result);
    life->running = NULL;
    return false;
}

void tg_lua_life_start(struct tg_lua_life *life)
{
    if (life->on_start != LUA_NOREF && !life->running)
        begin(life, "on_start");
}

bool tg_lua_life_stop(struct tg_lua_life *life, void (*done)(void *arg), void *arg)
{
    if (life->on_stop == LUA_NOREF || life->stopped)
        return false;
    if (life->running) /* on_start has not ended: it is over now */
        tg_task_cancel(life->task);
    life->stopped = true;
    life->done = done;
    life->arg = arg;
    return begin(life, "on_stop");
}

void tg_lua_life_fini(struct tg_lua_life *life)
{
    tg_task_free(life->task);
    life->task = NULL;
}
