/* bind_clock.c - holds every timer of a trial's loop, and moves them on when nothing else goes on.
 *
 * What an advance sets off has ended, as far as it goes, before the next timer is due: an event of the
 * lowest priority runs only in a turn of the loop that has nothing else to do.
 */
#include "lua/bind_clock.h"

#include <event2/event.h>
#include <event2/event_struct.h>
#include <lauxlib.h>

#include "engine/stream.h"
#include "http/memory.h"
#include "io/deadline.h"
#include "lua/bind_time.h"
#include "lua/host.h"
#include "lua/task.h"
#include "topic/post.h"
#include "upstream/client.h"
#include "util/store.h"

#define CLOCK_TYPE "tidegate.test.Clock"

enum { HEAPS = 5 };

/* A userdata; the one that holds the time is anchored in the registry, under its type's name with a dot. */
struct clock {
    struct tg_deadlines *heaps[HEAPS];
    struct tg_stores *stores; /* whose times to live it holds, too; NULL: others have them */
    bool held;
    bool runs; /* by itself, from timer to timer */
    uint64_t time;
    uint64_t target;
    struct tg_task *waiter; /* that advances */
    struct event idle;
    struct event later; /* real time: looks again */
};

static const char *const current_key = CLOCK_TYPE ".current";

/* --- Moving on ------------------------------------------------------------------------------------ */

static bool next_due(const struct clock *c, uint64_t *due)
{
    bool found = false;
    for (size_t i = 0; i < HEAPS; i++) {
        uint64_t at;
        if (!tg_deadlines_next(c->heaps[i], &at) || (found && at >= *due))
            continue;
        *due = at;
        found = true;
    }
    return found;
}

static void set_time(struct clock *c, uint64_t time)
{
    c->time = time;
    for (size_t i = 0; i < HEAPS; i++)
        tg_deadlines_advance(c->heaps[i], time);
}

/* By a timer of no time, as event_active() would have it called again in this turn. */
static void look_when_idle(struct clock *c)
{
    static const struct timeval at_once = {0, 0};
    event_add(&c->idle, &at_once);
}

static void on_idle(evutil_socket_t fd, short what, void *arg)
{
    static const struct timeval soon = {0, 5000};
    (void)fd;
    (void)what;
    struct clock *c = arg;
    uint64_t due = 0;
    bool some = next_due(c, &due);
    if (some && (c->runs || due <= c->target)) {
        if (due > c->time)
            set_time(c, due);
        look_when_idle(c);
        return;
    }
    if (c->runs) { /* something from outside has to come */
        event_add(&c->later, &soon);
        return;
    }
    set_time(c, c->target);
    struct tg_task *task = c->waiter;
    c->waiter = NULL;
    if (task)
        tg_task_wake(task);
}

static void on_later(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    look_when_idle(arg);
}

/* --- Methods -------------------------------------------------------------------------------------- */

static void stop(struct clock *c)
{
    if (!c->held)
        return;
    c->held = false;
    event_del(&c->idle);
    event_del(&c->later);
    if (c->stores)
        tg_stores_set_clock(c->stores, NULL, NULL);
    for (size_t i = 0; i < HEAPS; i++)
        tg_deadlines_let_go(c->heaps[i]);
}

static struct clock *clock_at(lua_State *L)
{
    struct clock *c = luaL_checkudata(L, 1, CLOCK_TYPE);
    if (!c->held)
        luaL_error(L, "the clock was stopped, or another has taken its place");
    return c;
}

static void cancel(void *arg)
{
    struct clock *c = arg;
    c->waiter = NULL;
    event_del(&c->idle);
}

static int advanced(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    tg_task_resumed(L, context);
    return 0;
}

static int l_advance(lua_State *L)
{
    struct clock *c = clock_at(L);
    struct timeval by = tg_check_duration(L, 2);
    struct tg_task_wait wait = {cancel, c};
    if (c->waiter || c->runs)
        return luaL_error(L,
                          c->runs ? "the clock runs by itself" : "another task advances the clock");
    struct tg_task *task = tg_task_check(L);
    c->target = c->time + (uint64_t)by.tv_sec * 1000000U + (uint64_t)by.tv_usec;
    c->waiter = task;
    look_when_idle(c);
    return tg_task_wait(L, &wait, advanced);
}

static int l_run(lua_State *L)
{
    struct clock *c = clock_at(L);
    if (c->waiter)
        return luaL_error(L, "another task advances the clock");
    c->runs = true;
    look_when_idle(c);
    return 0;
}

static int l_now(lua_State *L)
{
    lua_pushnumber(L, (double)clock_at(L)->time / 1e6);
    return 1;
}

static int l_stop(lua_State *L)
{
    struct clock *c = luaL_checkudata(L, 1, CLOCK_TYPE);
    if (c->waiter)
        return luaL_error(L, "another task advances the clock");
    stop(c);
    return 0;
}

/* The state is closed: its loop's timers go before the loop does. */
static int clock_gc(lua_State *L)
{
    struct clock *c = lua_touserdata(L, 1);
    if (c->held) {
        event_del(&c->idle);
        event_del(&c->later);
        if (c->stores)
            tg_stores_set_clock(c->stores, NULL, NULL);
    }
    c->held = false;
    return 0;
}

/* --- tg.test.clock -------------------------------------------------------------------------------- */

static void stop_current(lua_State *L)
{
    if (lua_getfield(L, LUA_REGISTRYINDEX, current_key) == LUA_TUSERDATA) {
        struct clock *before = lua_touserdata(L, -1);
        if (before->waiter)
            luaL_error(L, "tg.test.clock: another task advances the clock");
        stop(before);
    }
    lua_pop(L, 1);
}

static uint64_t milliseconds(void *arg)
{
    const struct clock *c = arg;
    return c->time / 1000;
}

static void hold(struct clock *c)
{
    for (size_t i = 0; i < HEAPS; i++) {
        uint64_t now = tg_deadlines_now(c->heaps[i]);
        c->time = now > c->time ? now : c->time;
    }
    for (size_t i = 0; i < HEAPS; i++)
        tg_deadlines_hold(c->heaps[i], c->time);
    if (c->stores)
        tg_stores_set_clock(c->stores, milliseconds, c);
    c->target = c->time;
    c->held = true;
}

static int l_clock(lua_State *L)
{
    const struct tg_lua_host *host = tg_lua_host(L);
    struct tg_lua *lua = tg_lua_of(L);
    struct event_base *base = tg_lua_base(lua);
    if (!host || !host->trial)
        return luaL_error(
            L, "tg.test.clock: a gateway that serves has the time that there is; it is for "
               "`tidegate test` and for a service's check");
    stop_current(L);
    struct clock *c = lua_newuserdatauv(L, sizeof *c, 0);
    *c = (struct clock){.heaps = {tg_task_deadlines(lua), host->memories->deadlines,
                                  &host->streams->deadlines, tg_post_deadlines(host->post),
                                  tg_upstream_deadlines(tg_lua_upstream(lua))}};
    c->stores = host->alone ? host->stores : NULL;
    event_assign(&c->idle, base, -1, 0, on_idle, c);
    event_assign(&c->later, base, -1, 0, on_later, c);
    if (event_priority_set(&c->idle, event_base_get_npriorities(base) - 1) != 0)
        return luaL_error(L, "tg.test.clock: the loop has no priorities");
    luaL_setmetatable(L, CLOCK_TYPE);
    lua_pushvalue(L, -1);
    lua_setfield(L, LUA_REGISTRYINDEX, current_key);
    hold(c);
    return 1;
}

void tg_clock_open(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"advance", l_advance}, {"run", l_run}, {"now", l_now}, {"stop", l_stop}, {NULL, NULL}};
    luaL_newmetatable(L, CLOCK_TYPE);
    lua_pushcfunction(L, clock_gc);
    lua_setfield(L, -2, "__gc");
    lua_pushcfunction(L, l_stop);
    lua_setfield(L, -2, "__close");
    luaL_newlib(L, methods);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
    lua_pushcfunction(L, l_clock);
    lua_setfield(L, -2, "_test_clock");
}
