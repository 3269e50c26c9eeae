/* slice.h - what a script may compute before others have a turn, and before it is stopped.
 *
 * A signal after each few milliseconds of computing (io/alarm.h) sees whether the same Lua still runs;
 * only then is a hook set, so that what ends in time pays nothing.  Functions in C are not stopped: no
 * hook is called inside them.
 */
#ifndef TG_LUA_SLICE_H
#define TG_LUA_SLICE_H

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <lua.h>

#include "util/limits.h"

struct tg_lua_tasks;

/* One for a loop's thread, common to all its states. */
struct tg_slices {
    struct tg_lua_tasks *volatile running; /* whose Lua runs now; NULL: none does */
    volatile uint64_t runs;                /* counts what C has begun */
    _Atomic uint64_t turn;     /* runs, or 0 while none does, for a look from other threads */
    volatile uint64_t since;   /* the thread's nanoseconds where this run was seen, or went on */
    volatile sig_atomic_t due; /* a hook was set for this run */
    volatile uint64_t seen;    /* the signal's: the last run that it has met */
    uint64_t tick;             /* milliseconds */
    const struct tg_limits *limits; /* read at each tick; NULL: no limits */
};

/* Milliseconds between ticks that serve the limits; 0: none are needed. */
uint64_t tg_slices_tick(const struct tg_limits *limits);

void tg_slices_on_tick(void *arg); /* for tg_alarm_start() */

/* What was begun now is the rest of what a slice's end has interrupted: it counts from here on. */
void tg_slices_go_on(struct tg_slices *slices);

/* Pushes the error of what was stopped. */
void tg_slices_push_overrun(lua_State *L, const struct tg_slices *slices);

/* Around what C runs in Lua. */
static inline struct tg_lua_tasks *tg_slices_begin(struct tg_slices *slices,
                                                   struct tg_lua_tasks *tasks)
{
    if (!slices)
        return NULL;
    struct tg_lua_tasks *before = slices->running;
    uint64_t run = slices->runs + 1;
    slices->runs = run;
    atomic_store_explicit(&slices->turn, run, memory_order_relaxed);
    slices->running = tasks;
    return before;
}

static inline void tg_slices_end(struct tg_slices *slices, struct tg_lua_tasks *before)
{
    if (!slices)
        return;
    slices->running = before;
    if (!before)
        atomic_store_explicit(&slices->turn, 0, memory_order_relaxed);
}

#endif
