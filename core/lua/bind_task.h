/* bind_task.h - tg.spawn, tg.detach, and the script's handle on a task. */
#ifndef TG_LUA_BIND_TASK_H
#define TG_LUA_BIND_TASK_H

#include <lua.h>

#include "lua/channel.h"
#include "lua/task.h"

#define TG_TASK_TYPE "tidegate.Task"

struct tg_group;

/* A userdata, which C anchors until the task is over.  Its user value is the result then, or a list of
 * them. */
struct tg_spawned {
    struct tg_task *task;      /* NULL once it is over */
    int ref;                   /* what anchors it */
    int failure;               /* reference: { value, traceback }; LUA_REFNIL: no memory */
    enum tg_lua_result result; /* TG_LUA_WAITING until it is over */
    int count;                 /* of results */
    struct tg_queue joiners;
    const struct tg_spawned *joins; /* what it waits for itself */
    struct tg_spawned *next_failed; /* of its scope's, that nobody has joined */
    struct tg_spawned **back_failed;

    struct tg_claims claims; /* on channels */
    struct tg_group *group;  /* that is told of its end; NULL: none */
    TAILQ_ENTRY(tg_spawned) member;
};

void tg_task_open(lua_State *L); /* adds them to the table on top; once per state */

/* Pops a function and nargs values above it, and pushes a task that is to call it.  Raises. */
struct tg_spawned *tg_spawn(lua_State *L, int nargs);

/* Pushes what the task at index has returned, and says how many that is, or raises what it has raised;
 * it is over. */
int tg_spawned_outcome(lua_State *L, int index);

/* Cancels the task; nothing when it is over. */
void tg_spawned_cancel(struct tg_spawned *spawned);

/* The exchange that is scope's has ended: logs what failed in its tasks and nobody has asked for.  name
 * stands before it, unless it is NULL.  Not from inside Lua. */
void tg_spawned_log(struct tg_lua *lua, struct tg_scope *scope, const char *name);

/* The scope is about to go: none of those that failed in it is among its own any more. */
void tg_spawned_forget(struct tg_scope *scope);

#endif
