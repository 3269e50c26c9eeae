/* task_impl.h - what task.c and task_tree.c share. */
#ifndef TG_LUA_TASK_IMPL_H
#define TG_LUA_TASK_IMPL_H

#include "lua/state_impl.h"
#include "lua/task.h"

enum tg_task_state {
    TG_TASK_IDLE,
    TG_TASK_RUNNING, /* or being cancelled */
    TG_TASK_WAITING,
    TG_TASK_READY, /* woken, or not begun, and on the list */
};

struct tg_task {
    struct tg_lua_tasks *tasks;
    struct tg_coroutine thread; /* none (co is NULL) after a failure, until it is needed */
    tg_task_done_fn done;
    void *owner;

    unsigned char state; /* enum tg_task_state */
    bool arming;         /* between tg_task_check() and tg_task_wait(): a wake is not to be lost */
    bool woken;          /* while arming */
    bool timed_out;
    bool spawned;
    bool sticking; /* the wait that it is about to begin makes it stuck */
    bool stuck;
    bool owns_scope;
    bool doomed;       /* it is to be cancelled where it would wait, or where it is ready */
    int begin;         /* values on its coroutine that it begins with; 0 when it has begun */
    bool stopped;      /* by tg_lua_stop(), where it has failed */
    bool preempted;    /* since its last run */
    uint64_t computed; /* nanoseconds since it has waited last, the runs before this one */
    lua_KContext serial;
    struct tg_task_wait wait;
    struct tg_queue *queue;    /* that it waits in; NULL: in none */
    TAILQ_ENTRY(tg_task) link; /* in queue, or among those that are ready */
    uint64_t round;
    struct tg_deadline *timer; /* made when it is first needed: most tasks wait for no time */
    lua_State **chain; /* the script's own coroutines that pass the wait on, innermost first */
    unsigned chain_len;
    unsigned chain_size;
    int failure; /* reference: { value, traceback }; LUA_REFNIL when there was no memory */
    int cause;   /* reference: the same, of a task that was joined */

    struct tg_scope *scope;
    struct tg_task *parent;   /* NULL: none, or the state */
    struct tg_task *children; /* the last that was spawned first */
    struct tg_task *sibling;  /* the next of parent's children */
    struct tg_task **back;    /* where the pointer to it is; NULL: nowhere */
};

/* Ends a wait whose task is not to go on by it: on the way to be cancelled. */
void tg_task_disarm(struct tg_task *task);

/* Puts it on the list of those that the loop goes on with. */
void tg_task_make_ready(struct tg_task *task);

/* Runs <close> variables, the innermost coroutine's first, and gives up the coroutine. */
void tg_task_close(struct tg_task *task);

/* Of task.c's for task_tree.c: gives back what task is, whatever it was. */
void tg_task_destroy(struct tg_task *task);

/* Cancels what task has spawned; one that runs just now moves up, and ends when it next waits. */
void tg_task_cancel_children(struct tg_task *task);

/* One more of the scope's tasks waits or has ended: whether that was the last that could go on. */
void tg_scope_check(struct tg_scope *scope, const struct tg_lua_tasks *tasks);

/* A spawned task has come to its end by itself: what it has spawned moves up. */
void tg_task_leave(struct tg_task *task);

#endif
