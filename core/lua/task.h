/* task.h - coroutines that wait: the scheduler of one Lua state.
 *
 * A task runs one C function at a time on a coroutine of its own.  That function calls into the
 * script with lua_callk() or lua_pcallk(), and anything below may wait: the task is suspended, in
 * whichever of the script's own coroutines it is just then, and the loop goes on.
 */
#ifndef TG_LUA_TASK_H
#define TG_LUA_TASK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/time.h>

#include <lua.h>

#include "lua/state.h"
#include "util/status.h"

/* Called from the loop when a task that had been waiting has come to its end. It may free the task,
 * or start it again. */
typedef void (*tg_task_done_fn)(void *owner, enum tg_lua_result result);

/* owner is borrowed; done may be NULL.  NULL when out of memory. */
struct tg_task *tg_task_new(struct tg_lua *lua, tg_task_done_fn done, void *owner);

/* Cancels first, it and what it has spawned.  NULL is fine.  Not from inside the task itself. */
void tg_task_free(struct tg_task *task);

/* Runs fn(L), with arg as its one light userdata, on the task's coroutine.  TG_LUA_WAITING: done will
 * be called; otherwise it will not.  Not from inside Lua, and not while it waits. */
enum tg_lua_result tg_task_start(struct tg_task *task, lua_CFunction fn, void *arg);

/* Ends a wait without its result: the wait's cancel is called, what the task has spawned is cancelled,
 * its coroutines are closed, the innermost first (their <close> variables run and may not wait), and
 * done is not called.  The task may be started again.  A task that does not wait goes on, without what
 * it had spawned. */
void tg_task_cancel(struct tg_task *task);

/* Gives its coroutine back until it is started again: one that will not be for a while.  Not while it
 * runs or waits. */
void tg_task_rest(struct tg_task *task);

bool tg_task_waiting(const struct tg_task *task);
/* NULL when it is of another kind: ends by another function. */
void *tg_task_owner(const struct tg_task *task, tg_task_done_fn done);
struct tg_lua *tg_task_lua(const struct tg_task *task);

/* Where a task that waits does so in its script ("app.lua:12"), cut to size; "" when it does not wait.
 * Any time, and without memory. */
void tg_task_where(const struct tg_task *task, char *text, size_t size);

/* --- Tasks below tasks ------------------------------------------------------------------------ */

enum {
    TG_TASK_DEPTH_MAX = 100,  /* of tasks that have spawned each other */
    TG_TASK_CLOSING_MAX = 30, /* of cancellations inside each other's <close> variables */
};

struct tg_deadlines;
struct tg_spawned;

/* Tasks that end together: those of an exchange, of a detached task, or of a whole state. */
struct tg_scope {
    void *user;                /* the exchange's call; NULL for the others */
    uint64_t number;           /* another one for each scope of the state; 0: the state's own */
    struct tg_task *main;      /* what all others are below; NULL: nothing */
    unsigned live;             /* how many have been spawned and have not ended */
    unsigned stuck;            /* how many, main included, wait for others of the scope alone */
    unsigned channels;         /* made so far */
    unsigned selects;          /* so far */
    struct tg_spawned *failed; /* for bind_task.c */
};

/* Makes task the first of a scope, which is borrowed for as long as task lives.  user is borrowed. */
void tg_task_open_scope(struct tg_task *task, struct tg_scope *scope, void *user);
struct tg_scope *tg_task_scope(const struct tg_task *task);

/* The scope of the task that runs; the state's own where none does. */
struct tg_scope *tg_scope_of(lua_State *L);

/* Raises where nothing can be spawned; else tg_task_spawn() is to follow before Lua runs again. */
void tg_task_spawn_check(lua_State *L);

/* A task below the one that runs, or below none.  It begins, from the loop, with fn of owner, as a light
 * userdata, and of the nargs values on top of L, which are popped.  done is called, however it ends
 * (TG_LUA_CANCELLED is for these), and frees it.  When its parent ends by itself it moves up; when that is
 * cancelled, so is it.  NULL when out of memory; raises nothing. */
struct tg_task *tg_task_spawn(lua_State *L, int nargs, lua_CFunction fn, tg_task_done_fn done,
                              void *owner);
bool tg_task_spawned(const struct tg_task *task); /* whether it was made so */

/* A spawned task that has not begun becomes the first of a scope of its own, below nothing but the
 * state.  False: it has begun.  Raises when out of memory. */
bool tg_task_detach(lua_State *L, struct tg_task *task);

/* A spawned task that has not begun becomes one of the state's own, below nothing. */
void tg_task_hand_over(struct tg_task *task);

/* How many detached tasks there are in the state. */
unsigned tg_task_detached(struct tg_lua *lua);

/* Waits until the last of them has ended, or for so many milliseconds (0: however long that takes). */
int tg_task_wait_detached(lua_State *L, uint64_t ms, lua_KFunction k);

/* Cancels a spawned task, as soon as may be.  Where it runs, or too many are being cancelled in each
 * other, that is at its next wait, or from the loop. */
void tg_task_cancel_spawned(struct tg_task *task);

/* Whether it runs and is to end at its next wait. */
bool tg_task_doomed(const struct tg_task *task);

/* Keeps the table on top, { value, traceback }, and pops it: if task fails with that value, its
 * traceback is followed by that one. */
void tg_task_set_cause(lua_State *L, struct tg_task *task);

/* After TG_LUA_FAILED or TG_LUA_NOMEM: pushes what was raised, and the traceback as a string (or nil
 * when there was no memory for it), once.  Raises when out of memory. */
void tg_task_push_error(lua_State *L, struct tg_task *task);

/* That the timers of its waits are among. */
struct tg_deadlines *tg_task_deadlines(struct tg_lua *lua);

/* --- For bindings that wait ----------------------------------------------------------------- */

/* A wait that one binding has begun.  Check, arm, then `return tg_task_wait(…)`: nothing allocated
 * may be held across it but what cancel(arg) frees. */
struct tg_task_wait {
    void (*cancel)(void *arg); /* it will not end: disarm.  Not called once woken.  May be NULL */
    void *arg;
};

/* Raises "cannot wait here …" unless the caller, and every coroutine that it runs below, can be
 * suspended.  Call it before anything is armed: from here on a wake is not lost. */
struct tg_task *tg_task_check(lua_State *L);

/* What the wait is for that is about to begin can come from tasks of the same scope alone.  When all of
 * them wait so, on_stuck is called: see tg_task_on_stuck(). */
void tg_task_stick(struct tg_task *task);

/* fn(scope) is called, perhaps inside Lua, whenever every task of a scope is stuck.  It may wake them by
 * tg_task_wake_later(), and nothing else. */
void tg_task_on_stuck(struct tg_lua *lua, void (*fn)(struct tg_scope *scope));

/* Goes through the tasks of a scope that has a main one; NULL begins, and is the end. */
struct tg_task *tg_scope_next(const struct tg_scope *scope, const struct tg_task *task);

/* The arg of what task waits for if that has this cancel; else NULL. */
void *tg_task_waits_by(const struct tg_task *task, void (*cancel)(void *arg));

/* Suspends the caller.  k runs once tg_task_wake() was called, be it before this; it must begin with
 * tg_task_resumed().  Never returns to its caller. */
int tg_task_wait(lua_State *L, const struct tg_task_wait *wait, lua_KFunction k);

/* For k: raises when a coroutine that waits in one task was resumed by another. */
void tg_task_resumed(lua_State *L, lua_KContext context);

/* The wait is over: the task goes on, at once when no Lua is running in this state, else from the
 * loop.  Does nothing for a task that does not wait (any more). */
void tg_task_wake(struct tg_task *task);
void tg_task_wake_later(struct tg_task *task); /* from the loop in any case */

/* Waits as any other: what is ready has its turn first. */
int tg_task_yield(lua_State *L, lua_KFunction k);

/* Tasks that wait for the same thing, the longest first.  Zeroed is not empty: tg_queue_init(). */
TAILQ_HEAD(tg_queue, tg_task);
void tg_queue_init(struct tg_queue *queue);
bool tg_queue_empty(const struct tg_queue *queue);

/* As tg_task_wait(), in the queue: whatever ends the wait takes the task out of it, before wait->cancel
 * is called. */
int tg_queue_wait(lua_State *L, struct tg_queue *queue, const struct tg_task_wait *wait,
                  lua_KFunction k);
void tg_queue_wake(struct tg_queue *queue); /* all, from the loop, in their order */

/* Wakes the waiting task after tv, unless something else does before.  TG_ENOMEM.
 * tg_task_timed_out() tells k which it was. */
TG_MUST_CHECK enum tg_status tg_task_arm_timer(struct tg_task *task, const struct timeval *tv);
bool tg_task_timed_out(const struct tg_task *task);

#endif
