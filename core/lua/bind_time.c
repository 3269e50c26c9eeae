/* bind_time.c - waits that need nothing but time or a callback, clocks, and the log. */
#include "lua/bind_time.h"

#include <math.h>
#include <time.h>

#include <lauxlib.h>

#include "io/deadline.h"
#include "lua/task.h"
#include "util/clock.h"
#include "util/log.h"

#define WAIT_TYPE "tidegate.Wait"

static const double seconds_max =
    1e9; /* some 30 years: more overflows nothing, and means for ever */

struct timeval tg_check_duration(lua_State *L, int index)
{
    double seconds = luaL_checknumber(L, index);
    luaL_argcheck(L, seconds >= 0, index, "expected seconds of zero or more");
    if (seconds > seconds_max)
        seconds = seconds_max;
    double whole = floor(seconds);
    return (struct timeval){(time_t)whole, (suseconds_t)((seconds - whole) * 1e6)};
}

/* --- tg.sleep ----------------------------------------------------------------------------------- */

static int slept(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    tg_task_resumed(L, context);
    return 0;
}

static int l_sleep(lua_State *L)
{
    struct tg_task_wait wait = {NULL, NULL};
    struct timeval tv = tg_check_duration(L, 1);
    if (!tv.tv_sec && !tv.tv_usec)
        return tg_task_yield(L, slept);
    if (tg_task_arm_timer(tg_task_check(L), &tv) != TG_OK)
        return luaL_error(L, "not enough memory");
    return tg_task_wait(L, &wait, slept);
}

/* --- tg.wait ------------------------------------------------------------------------------------ */

/* Its user value is the list of what resume was given. */
struct waiting {
    struct tg_task *task; /* NULL until it is suspended */
    bool used;            /* resume was called */
    bool over;            /* and would come too late */
    int count;            /* of values */
};

/* Runs on every way out of tg.wait. */
static int waiting_close(lua_State *L)
{
    struct waiting *w = luaL_checkudata(L, 1, WAIT_TYPE);
    w->over = true;
    return 0;
}

static int l_resume(lua_State *L)
{
    struct waiting *w = lua_touserdata(L, lua_upvalueindex(1));
    int count = lua_gettop(L);
    if (w->used || w->over) {
        lua_pushboolean(L, 0);
        return 1;
    }
    lua_createtable(L, count, 0);
    lua_insert(L, 1);
    for (int i = count; i >= 1; i--)
        lua_rawseti(L, 1, i);
    lua_setiuservalue(L, lua_upvalueindex(1), 1);
    w->count = count;
    w->used = true;
    if (w->task)
        tg_task_wake(w->task);
    lua_pushboolean(L, 1);
    return 1;
}

/* Stack: function, timeout, waiting. */
static int wait_over(lua_State *L)
{
    const struct waiting *w = lua_touserdata(L, 3);
    if (!w->used) {
        lua_pushnil(L);
        lua_pushliteral(L, "timeout");
        return 2;
    }
    luaL_checkstack(L, w->count + 1, "too many values for a wait");
    lua_getiuservalue(L, 3, 1);
    int values = lua_gettop(L);
    for (int i = 1; i <= w->count; i++)
        lua_rawgeti(L, values, i);
    return w->count;
}

static int wait_resumed(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    tg_task_resumed(L, context);
    return wait_over(L);
}

static int wait_armed(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    (void)context;
    struct waiting *w = lua_touserdata(L, 3);
    struct tg_task_wait wait = {NULL, NULL}; /* closing w is all that is to be done */
    if (w->used)
        return wait_over(L);
    struct tg_task *task = tg_task_check(L);
    if (!lua_isnil(L, 2)) {
        struct timeval tv = tg_check_duration(L, 2);
        if (tg_task_arm_timer(task, &tv) != TG_OK)
            return luaL_error(L, "not enough memory");
    }
    w->task = task;
    return tg_task_wait(L, &wait, wait_resumed);
}

static int l_wait(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TFUNCTION);
    tg_task_check(L);
    lua_settop(L, 2);
    if (!lua_isnil(L, 2))
        tg_check_duration(L, 2);
    struct waiting *w = lua_newuserdatauv(L, sizeof *w, 1);
    *w = (struct waiting){NULL, false, false, 0};
    luaL_setmetatable(L, WAIT_TYPE);
    lua_toclose(L, 3);
    lua_pushvalue(L, 1);
    lua_pushvalue(L, 3);
    lua_pushcclosure(L, l_resume, 1);
    lua_callk(L, 1, 0, 0, wait_armed);
    return wait_armed(L, LUA_OK, 0);
}

/* --- Clocks and the log ------------------------------------------------------------------------- */

/* By how many seconds a test's clock is ahead. */
static double ahead(lua_State *L)
{
    const struct tg_deadlines *deadlines = tg_task_deadlines(tg_lua_of(L));
    if (!deadlines->held)
        return 0;
    return (double)tg_deadlines_now(deadlines) / 1e6 - (double)tg_clock_ns() / 1e9;
}

static int l_now(lua_State *L)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    lua_pushnumber(L, (double)now.tv_sec + (double)now.tv_nsec / 1e9 + ahead(L));
    return 1;
}

static int l_monotonic(lua_State *L)
{
    const struct tg_deadlines *deadlines = tg_task_deadlines(tg_lua_of(L));
    if (deadlines->held)
        lua_pushnumber(L, (double)tg_deadlines_now(deadlines) / 1e6);
    else
        lua_pushnumber(L, (double)tg_clock_ns() / 1e9);
    return 1;
}

static int l_log(lua_State *L)
{
    luaL_Buffer line;
    int count = lua_gettop(L);
    enum tg_level level = (enum tg_level)lua_tointeger(L, lua_upvalueindex(1));
    const struct tg_log *log = tg_lua_log(tg_lua_of(L));
    if (!log || level < log->least)
        return 0;
    luaL_buffinit(L, &line);
    for (int i = 1; i <= count; i++) {
        if (i > 1)
            luaL_addchar(&line, ' ');
        luaL_tolstring(L, i, NULL);
        luaL_addvalue(&line);
    }
    luaL_pushresult(&line);
    tg_log(log, level, "%s", lua_tostring(L, -1));
    return 0;
}

static void open_log(lua_State *L)
{
    static const struct {
        const char *name;
        enum tg_level level;
    } levels[] = {{"debug", TG_LOG_DEBUG},
                  {"info", TG_LOG_INFO},
                  {"warn", TG_LOG_WARN},
                  {"error", TG_LOG_ERROR}};
    lua_newtable(L);
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
        lua_pushinteger(L, levels[i].level);
        lua_pushcclosure(L, l_log, 1);
        lua_setfield(L, -2, levels[i].name);
    }
    lua_setfield(L, -2, "log");
}

void tg_time_open(lua_State *L)
{
    static const luaL_Reg functions[] = {{"sleep", l_sleep},
                                         {"wait", l_wait},
                                         {"now", l_now},
                                         {"monotonic", l_monotonic},
                                         {NULL, NULL}};
    luaL_newmetatable(L, WAIT_TYPE);
    lua_pushcfunction(L, waiting_close);
    lua_setfield(L, -2, "__close");
    lua_pop(L, 1);
    luaL_setfuncs(L, functions, 0);
    open_log(L);
}
