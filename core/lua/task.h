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
#include <sys/time.h>

#include <lua.h>

#include "lua/state.h"
#include "util/status.h"

/* Called from the loop when a task that had been waiting has come to its end. It may free the task,
 * or start it again. */
typedef void (*tg_task_done_fn)(void *owner, enum tg_lua_result result);

/* owner is borrowed; done may be NULL.  NULL when out of memory. */
struct tg_task *tg_task_new(struct tg_lua *lua, tg_task_done_fn done, void *owner);

/* Cancels first, if it waits.  NULL is fine.  Not from inside the task itself. */
void tg_task_free(struct tg_task *task);

/* Runs fn(L), with arg as its one light userdata, on the task's coroutine.  TG_LUA_WAITING: done will
 * be called; otherwise it will not.  Not from inside Lua, and not while it waits. */
enum tg_lua_result tg_task_start(struct tg_task *task, lua_CFunction fn, void *arg);

/* Ends a wait without its result: the wait's cancel is called, the coroutines closed, the innermost
 * first (their <close> variables run and may not wait), and done is not called.  The task may be
 * started again.  Does nothing when it does not wait. */
void tg_task_cancel(struct tg_task *task);

/* Gives its coroutine back until it is started again: one that will not be for a while.  Not while it
 * runs or waits. */
void tg_task_rest(struct tg_task *task);

bool tg_task_waiting(const struct tg_task *task);
void *tg_task_owner(const struct tg_task *task);
struct tg_lua *tg_task_lua(const struct tg_task *task);

/* After TG_LUA_FAILED or TG_LUA_NOMEM: pushes what was raised, and the traceback as a string (or nil
 * when there was no memory for it), once.  Raises when out of memory. */
void tg_task_push_error(lua_State *L, struct tg_task *task);

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

/* Suspends the caller.  k runs once tg_task_wake() was called, be it before this; it must begin with
 * tg_task_resumed().  Never returns to its caller. */
int tg_task_wait(lua_State *L, const struct tg_task_wait *wait, lua_KFunction k);

/* For k: raises when a coroutine that waits in one task was resumed by another. */
void tg_task_resumed(lua_State *L, lua_KContext context);

/* The wait is over: the task goes on, at once when no Lua is running in this state, else from the
 * loop.  Does nothing for a task that does not wait (any more). */
void tg_task_wake(struct tg_task *task);

/* Wakes the waiting task after tv, unless something else does before.  TG_ENOMEM.
 * tg_task_timed_out() tells k which it was. */
TG_MUST_CHECK enum tg_status tg_task_arm_timer(struct tg_task *task, const struct timeval *tv);
bool tg_task_timed_out(const struct tg_task *task);

#endif
