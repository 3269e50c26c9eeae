/* life.c - calls on_start and on_stop as tasks of a state. */
#include "lua/life.h"

#include <lauxlib.h>

#include "lua/failure.h"
#include "lua/task.h"
#include "util/buf.h"

static const char *const on_stop_name = "on_stop";

static void push_gateway(lua_State *L, const struct tg_lua_host *host)
{
    lua_createtable(L, 0, 2);
    lua_pushinteger(L, host->worker);
    lua_setfield(L, -2, "worker");
    lua_pushinteger(L, (lua_Integer)host->generation);
    lua_setfield(L, -2, "generation");
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
    int top = lua_gettop(L);
    life->on_start = take_function(L, index, "on_start");
    life->on_stop = take_function(L, index, "on_stop");
    life->check = take_function(L, index, "check");
    lua_pushvalue(L, index);
    life->service = life->check == LUA_NOREF ? LUA_NOREF : luaL_ref(L, LUA_REGISTRYINDEX);
    lua_settop(L, top);
}

/* --- Its tasks ------------------------------------------------------------------------- */

/* What does not fit is left out. */
static void add_problem(struct tg_buf *problem, const char *message, const char *traceback)
{
    (void)!tg_buf_addf(problem, "check: %s%s%s", message, traceback ? "; " : "",
                       traceback ? traceback : "");
}

static int push_failure(lua_State *L)
{
    struct tg_lua_life *life = lua_touserdata(L, 1);
    tg_task_push_error(L, life->task);
    const char *traceback = lua_tostring(L, -1);
    if (life->problem) {
        tg_failure_push_text(L, -2);
        add_problem(life->problem, lua_tostring(L, -1), traceback);
        return 0;
    }
    tg_failure_push_text(L, -2);
    tg_log(tg_lua_log(life->lua), TG_LOG_ERROR, "%s: %s%s%s", life->running, lua_tostring(L, -1),
           traceback ? "; " : "", traceback ? traceback : "");
    return 0;
}

static void ended(struct tg_lua_life *life, enum tg_lua_result result)
{
    bool failed = result != TG_LUA_DONE;
    if (failed && tg_lua_enter(life->lua, push_failure, life) == TG_LUA_DONE)
        failed = false;
    if (failed && life->problem)
        (void)!tg_buf_addf(life->problem, "check: not enough memory");
    else if (failed)
        tg_log(tg_lua_log(life->lua), TG_LOG_ERROR, "%s: not enough memory", life->running);
    life->running = NULL;
}

static bool wait_for_detached(struct tg_lua_life *life);

static void on_done(void *owner, enum tg_lua_result result)
{
    struct tg_lua_life *life = owner;
    if (life->problem) {
        ended(life, result);
        life->done(life->arg);
        return;
    }
    bool on_stop = life->stopped && life->running == on_stop_name;
    ended(life, result);
    if (on_stop && wait_for_detached(life))
        return;
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

static int detached_over(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    tg_task_resumed(L, context);
    struct tg_lua *lua = tg_lua_of(L);
    if (tg_task_detached(lua))
        tg_log(tg_lua_log(lua), TG_LOG_WARN, "detached tasks: %u are cancelled, by limits.drain",
               tg_task_detached(lua));
    return 0;
}

static int call_wait(lua_State *L)
{
    const struct tg_lua_life *life = lua_touserdata(L, 1);
    return tg_task_wait_detached(L, life->drain, detached_over);
}

/* Whether it waits now. */
static bool begin(struct tg_lua_life *life, lua_CFunction fn, const char *name)
{
    if (!life->task)
        life->task = tg_task_new(life->lua, on_done, life);
    life->running = name;
    enum tg_lua_result result = TG_LUA_NOMEM;
    if (life->task)
        result = tg_task_start(life->task, fn, life);
    if (result == TG_LUA_WAITING)
        return true;
    if (life->task)
        ended(life, result);
    else if (life->problem)
        (void)!tg_buf_addf(life->problem, "check: not enough memory");
    life->running = NULL;
    return false;
}

static bool wait_for_detached(struct tg_lua_life *life)
{
    return tg_task_detached(life->lua) && begin(life, call_wait, "detached tasks");
}

/* --- check ---------------------------------------------------------------------------------------- */

static int check_returned(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    (void)context;
    if (lua_isboolean(L, 1) && !lua_toboolean(L, 1))
        return luaL_error(L, "%s", lua_isstring(L, 2) ? lua_tostring(L, 2) : "it returned false");
    return 0;
}

static int call_check(lua_State *L)
{
    const struct tg_lua_life *life = lua_touserdata(L, 1);
    lua_settop(L, 0);
    lua_rawgeti(L, LUA_REGISTRYINDEX, life->check);
    push_gateway(L, &life->host);
    lua_rawgeti(L, LUA_REGISTRYINDEX, life->service);
    lua_setfield(L, -2, "service");
    lua_callk(L, 1, 2, 0, check_returned);
    return check_returned(L, LUA_OK, 0);
}

bool tg_lua_life_check(struct tg_lua_life *life, struct tg_buf *problem, void (*done)(void *arg),
                       void *arg)
{
    life->problem = problem;
    life->done = done;
    life->arg = arg;
    return begin(life, call_check, "check");
}

/* --- on_start and on_stop ------------------------------------------------------------------------- */

void tg_lua_life_start(struct tg_lua_life *life)
{
    if (life->on_start != LUA_NOREF && !life->running)
        begin(life, call_hook, "on_start");
}

bool tg_lua_life_stop(struct tg_lua_life *life, uint64_t drain, void (*done)(void *arg), void *arg)
{
    if (life->stopped)
        return false;
    if (life->running) /* on_start has not ended: it is over now */
        tg_task_cancel(life->task);
    life->stopped = true;
    life->done = done;
    life->arg = arg;
    life->drain = drain;
    if (life->on_stop != LUA_NOREF && begin(life, call_hook, on_stop_name))
        return true;
    return wait_for_detached(life);
}

void tg_lua_life_fini(struct tg_lua_life *life)
{
    tg_task_free(life->task);
    life->task = NULL;
}
