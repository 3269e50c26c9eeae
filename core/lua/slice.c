/* slice.c - the signal's part, and the hook's. */
#include "lua/slice.h"

#include <lauxlib.h>

#include "lua/failure.h"
#include "lua/state_impl.h"
#include "lua/task.h"

enum { COARSE_TICK = 50 }; /* milliseconds, where only limits.script counts */

uint64_t tg_slices_tick(const struct tg_limits *limits)
{
    if (limits->slice)
        return limits->slice;
    if (!limits->script)
        return 0;
    return limits->script / 4 < COARSE_TICK ? limits->script / 4 + 1 : COARSE_TICK;
}

static void on_slice(lua_State *L, lua_Debug *ar);

/* On the thread that runs Lua, anywhere in it: lua_sethook() is made for that. */
static void set_hooks(const struct tg_lua_tasks *tasks, lua_Hook hook)
{
    for (const struct tg_lua_level *level = tasks->levels; level; level = level->up)
        lua_sethook(level->co, hook, LUA_MASKCOUNT, 1);
    if (tasks->entered)
        lua_sethook(tg_lua_main(tasks->lua), hook, LUA_MASKCOUNT, 1);
}

void tg_slices_on_tick(void *arg)
{
    struct tg_slices *slices = arg;
    struct tg_lua_tasks *tasks = slices->running;
    if (!tasks || slices->runs != slices->seen) {
        slices->seen = slices->runs;
        return;
    }
    slices->ticks = slices->ticks + 1;
    slices->due = 1;
    set_hooks(tasks, on_slice);
}

/* Again at each instruction, in each coroutine on the way out: a pcall does not help. */
static void on_overrun(lua_State *L, lua_Debug *ar)
{
    (void)ar;
    const struct tg_slices *slices = tg_lua_tasks_of(L)->slices;
    uint64_t ms = slices->limits->script;
    lua_sethook(L, on_overrun, LUA_MASKCOUNT, 1);
    tg_failure_raise_status(L, 503,
                            "computed for more than %d.%03d s without a wait (limits.script)",
                            (int)(ms / 1000), (int)(ms % 1000));
}

static void on_slice(lua_State *L, lua_Debug *ar)
{
    struct tg_lua_tasks *tasks = tg_lua_tasks_of(L);
    struct tg_slices *slices = tasks->slices;
    lua_sethook(L, NULL, 0, 0);
    if (!slices->due || slices->running != tasks)
        return; /* it was set in a run before this one */
    uint64_t computed = (uint64_t)slices->ticks * slices->tick + tg_task_computed(tasks->current);
    if (slices->limits->script && computed >= slices->limits->script) {
        set_hooks(tasks, on_overrun);
        tg_task_overrun(tasks->current);
        on_overrun(L, ar);
    }
    if (!slices->limits->slice || !tg_task_preempt(L, computed))
        return; /* the next tick sets the hook again */
    slices->due = 0;
    lua_yield(L, 0);
}
