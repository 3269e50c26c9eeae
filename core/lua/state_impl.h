/* state_impl.h - what state.c, task.c and bind_coroutine.c share. */
#ifndef TG_LUA_STATE_IMPL_H
#define TG_LUA_STATE_IMPL_H

#include <stdatomic.h>
#include <sys/queue.h>

#include <event2/event_struct.h>

#include "io/deadline.h"
#include "lua/state.h"
#include "lua/task.h"

enum { TG_POOL_MAX = 256 }; /* finished coroutines that are kept */

/* What a coroutine's extra space points to: one of two, so that it also says whether the coroutine
 * waits. */
struct tg_lua_link {
    struct tg_lua *lua;
    struct tg_lua_tasks *tasks;
    bool waits;
};

/* A coroutine that runs, on the stack of whoever resumed it. */
struct tg_lua_level {
    lua_State *co;
    lua_State *from;
    const struct tg_lua_level *up;
    bool closing; /* runs its <close> variables only, and cannot be suspended */
};

struct tg_slices;

struct tg_coroutine {
    lua_State *co;
    int ref;
};

/* The tasks of one state. */
struct tg_lua_tasks {
    struct tg_lua *lua;
    struct tg_task *current;
    lua_State *base;                   /* what current runs on */
    bool stopping;                     /* what runs now was stopped (tg_lua_stop) */
    bool passing;                      /* current has begun a wait that is on its way outwards */
    const struct tg_lua_level *levels; /* innermost first */
    unsigned entered;                  /* ways into Lua that are no resume */
    unsigned closing;    /* coroutines that were cancelled run their <close> variables */
    lua_KContext serial; /* of the last wait */
    int no_memory;       /* reference: a message that needs no memory to be pushed */
    struct tg_coroutine pool[TG_POOL_MAX];
    size_t pooled;
    struct tg_queue ready; /* woken while Lua ran */
    uint64_t round;        /* of those that become ready now */
    struct event ready_event;
    struct tg_deadlines deadlines;
    struct tg_scope scope; /* of what was spawned by no exchange */
    struct tg_task *top;   /* of it, and the detached: those below no task */
    uint64_t scopes;       /* made so far */
    unsigned detached;     /* that have not ended */
    struct tg_queue idle;  /* who waits for these */
    void (*on_stuck)(struct tg_scope *scope);
    struct tg_slices *slices; /* of the loop's thread; may be NULL */
    bool held;                /* not on the loop's thread yet */
};

void tg_lua_tasks_init(struct tg_lua_tasks *tasks, struct tg_lua *lua);
void tg_lua_tasks_open(lua_State *L, struct tg_lua_tasks *tasks); /* raises */
void tg_lua_tasks_adopt(struct tg_lua_tasks *tasks);
void tg_lua_tasks_stop(struct tg_lua_tasks *tasks); /* cancels what was spawned */
void tg_lua_tasks_fini(struct tg_lua_tasks *tasks);

struct tg_lua_tasks *tg_lua_tasks(struct tg_lua *lua);
void tg_lua_suspended(const struct tg_lua *lua);

/* From a hook: ends all that runs, by this hook at each instruction of it, so that no pcall helps.  Raises
 * Lua's error of memory, the only one that no message handler hears of: those run inside of the hook,
 * where none stops them.  A task's <close> variables do not run: nothing limits them.  What failed is
 * known by tasks->stopping, until something else is begun, and by why, which is tg_lua_error()'s, with a
 * traceback. */
int tg_lua_stop(lua_State *L, lua_Hook hook, const char *why) __attribute__((noreturn));
/* Where all that runs will be at its next instruction.  In a signal's handler, too, on the thread that
 * runs it: lua_sethook() is made for that. */
void tg_lua_set_hooks(const struct tg_lua_tasks *tasks, lua_Hook hook);

/* For slice.c.  Nanoseconds that the task has computed since it has waited last, the runs before this
 * one; NULL is fine. */
uint64_t tg_task_computed(const struct tg_task *task);
/* Puts the running task at the end of those that are ready; L, which a hook has stopped, must yield
 * now.  False: it cannot be suspended just here. */
bool tg_task_preempt(lua_State *L, uint64_t computed);

static inline const struct tg_lua_link **tg_lua_link(lua_State *L)
{
    return (const struct tg_lua_link **)lua_getextraspace(L);
}

/* Whether co is suspended by a wait, its own or one below it: only its task may resume it. */
static inline bool tg_lua_waits(lua_State *co)
{
    return (*tg_lua_link(co))->waits;
}
void tg_lua_set_waits(lua_State *co, bool waits);

static inline struct tg_lua_tasks *tg_lua_tasks_of(lua_State *L)
{
    return (*tg_lua_link(L))->tasks;
}

/* Resumes co, known as a level meanwhile.  Inline, and tg_lua_resume() a jump: when Lua yields, by
 * longjmp, the processor mispredicts the return from each frame on the way, and iterators are resumed
 * a lot. */
static inline int tg_lua_resume_level(lua_State *co, lua_State *from, int nargs, int *nresults)
{
    struct tg_lua_tasks *tasks = tg_lua_tasks_of(co);
    struct tg_lua_level level = {co, from, tasks->levels, false};
    atomic_signal_fence(memory_order_release); /* slice.c looks at any moment */
    tasks->levels = &level;
    int status = tg_lua_resume(co, from, nargs, nresults);
    tasks->levels = level.up;
    return status;
}

/* For coroutines of the script's own: co, which was resumed, has yielded for a wait that goes on
 * outwards (tasks->passing).  Returns the context for the continuation of its resumer. */
lua_KContext tg_task_pass(lua_State *co);

/* tg_lua_close_thread() inside of a task: slices hold for it, too. */
int tg_lua_close_level(lua_State *co, lua_State *from);

#endif
