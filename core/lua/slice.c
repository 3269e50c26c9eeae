/* slice.c - the signal's part, and the hook's. */
#include "lua/slice.h"

#include <stdio.h>

#include "lua/failure.h"
#include "lua/state_impl.h"
#include "lua/task.h"
#include "util/clock.h"

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

/* A run is counted from the first tick that meets it: to know where it began would cost each of them a
 * look at the clock. */
void tg_slices_on_tick(void *arg)
{
    struct tg_slices *slices = arg;
    struct tg_lua_tasks *tasks = slices->running;
    uint64_t now = tg_clock_thread_ns();
    if (!tasks || slices->runs != slices->seen) {
        slices->seen = slices->runs;
        slices->since = now;
        return;
    }
    if (now - slices->since < slices->tick * 1000000U / 2)
        return; /* it has only just gone on */
    slices->due = 1;
    tg_lua_set_hooks(tasks, on_slice);
}

void tg_slices_go_on(struct tg_slices *slices)
{
    slices->since = tg_clock_thread_ns();
    slices->seen = slices->runs;
}

enum { WHY_SIZE = 96 };

static void describe(char why[WHY_SIZE], const struct tg_slices *slices)
{
    uint64_t ms = slices->limits->script;
    snprintf(why, WHY_SIZE, "computed for more than %d.%03d s without a wait (limits.script)",
             (int)(ms / 1000), (int)(ms % 1000));
}

void tg_slices_push_overrun(lua_State *L, const struct tg_slices *slices)
{
    char why[WHY_SIZE];
    describe(why, slices);
    tg_failure_push_status(L, 503, why);
}

static void on_overrun(lua_State *L, lua_Debug *ar)
{
    (void)ar;
    char why[WHY_SIZE];
    describe(why, tg_lua_tasks_of(L)->slices);
    tg_lua_stop(L, on_overrun, why);
}

static void on_slice(lua_State *L, lua_Debug *ar)
{
    struct tg_lua_tasks *tasks = tg_lua_tasks_of(L);
    struct tg_slices *slices = tasks->slices;
    lua_sethook(L, NULL, 0, 0);
    if (!slices->due || slices->running != tasks)
        return; /* it was set in a run before this one */
    uint64_t computed = tg_clock_thread_ns() - slices->since + tg_task_computed(tasks->current);
    if (slices->limits->script && computed >= slices->limits->script * 1000000U)
        on_overrun(L, ar);
    if (!slices->limits->slice || !tg_task_preempt(L, computed))
        return; /* the next tick sets the hook again */
    slices->due = 0;
    lua_yield(L, 0);
}
