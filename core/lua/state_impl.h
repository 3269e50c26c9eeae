/* state_impl.h - what state.c and task.c share. */
#ifndef TG_LUA_STATE_IMPL_H
#define TG_LUA_STATE_IMPL_H

#include <sys/queue.h>

#include <event2/event_struct.h>

#include "lua/state.h"

enum { TG_POOL_MAX = 256 }; /* finished coroutines that are kept */

struct tg_coroutine {
    lua_State *co;
    int ref;
};

/* The tasks of one state. */
struct tg_lua_tasks {
    struct tg_lua *lua;
    struct tg_task *current;
    lua_KContext serial; /* of the last wait */
    int no_memory;       /* reference: a message that needs no memory to be pushed */
    struct tg_coroutine pool[TG_POOL_MAX];
    size_t pooled;
    TAILQ_HEAD(tg_task_list, tg_task) ready; /* woken while Lua ran */
    struct event ready_event;
};

void tg_lua_tasks_init(struct tg_lua_tasks *tasks, struct tg_lua *lua);
void tg_lua_tasks_open(lua_State *L, struct tg_lua_tasks *tasks); /* raises */
void tg_lua_tasks_fini(struct tg_lua_tasks *tasks);

struct tg_lua_tasks *tg_lua_tasks(struct tg_lua *lua);
void tg_lua_suspended(const struct tg_lua *lua);

/* For coroutines of the script's own.  A wait below co, which L has resumed, goes on outwards: true.
 * Raises when L cannot be suspended: the wait is taken back then. */
bool tg_task_passes(lua_State *L, lua_State *co);
/* The context for the continuation of one that passes a wait on. */
lua_KContext tg_task_serial(lua_State *L);
/* Whether L is the coroutine that a task itself runs on. */
bool tg_task_is_base(lua_State *L);

#endif
