/* state.h - one Lua state and the only ways into it.
 *
 * Lua raises errors by longjmp, out of memory included, so no C code outside core/lua calls lua_*,
 * and what is inside runs below tg_lua_enter() or in a task (task.h).
 */
#ifndef TG_LUA_STATE_H
#define TG_LUA_STATE_H

#include <stdbool.h>
#include <stddef.h>

#include <lua.h>

#include "util/log.h"

struct event_base;
struct tg_lua;
struct tg_lua_host;
struct tg_slices;
struct tg_task;
struct tg_upstream;

enum tg_lua_result {
    TG_LUA_DONE,
    TG_LUA_WAITING, /* suspended; it goes on when what it waits for happens */
    TG_LUA_FAILED,
    TG_LUA_NOMEM,
    TG_LUA_CANCELLED, /* of a task that was spawned */
};

struct tg_lua_options {
    size_t memory_max;              /* bytes; 0 for no limit */
    struct event_base *base;        /* borrowed; the loop that its tasks wait on */
    bool held;                      /* nothing runs on the loop before tg_lua_adopt() */
    const struct tg_log *log;       /* borrowed */
    struct tg_upstream *upstream;   /* borrowed; may be NULL */
    const struct tg_lua_host *host; /* borrowed; NULL where there is no gateway */
    struct tg_slices *slices;       /* borrowed, its loop's; NULL: it may compute for ever */
    void (*suspended)(void *arg);   /* called whenever a task has begun to wait; may be NULL */
    void *arg;
};

/* With the standard libraries, coroutine's as tasks need them, and package.preload filled from what
 * is embedded.  NULL when out of memory. */
struct tg_lua *tg_lua_new(const struct tg_lua_options *options);

/* Cancels what its scripts have spawned; its other tasks have been freed before.  Not from a task's
 * done.  NULL is fine. */
void tg_lua_free(struct tg_lua *lua);

/* Whether a function of Lua's is called at this level or outside of it.  What was raised elsewhere has no
 * traceback worth a line: what is wrong with a file that does not load, or with what a script returned. */
bool tg_lua_is_in_script(lua_State *L, int level);

/* Runs fn(L) in protected mode with arg as its one light userdata.  Not from inside Lua. */
enum tg_lua_result tg_lua_enter(struct tg_lua *lua, lua_CFunction fn, void *arg);

/* The last failure's message, never NULL; good until the next entry.  With a traceback when the
 * failure came from tg_lua_enter() and there was memory for one. */
const char *tg_lua_error(const struct tg_lua *lua);

size_t tg_lua_memory(const struct tg_lua *lua);             /* bytes in use */
void tg_lua_set_memory_max(struct tg_lua *lua, size_t max); /* 0: no limit */

/* For a state that was made held, perhaps on another thread than its loop's: it belongs to this one,
 * the loop's, from now on, and what its tasks have begun runs. */
void tg_lua_adopt(struct tg_lua *lua);
bool tg_lua_is_held(struct tg_lua *lua);

struct tg_lua *tg_lua_of(lua_State *L);
lua_State *tg_lua_main(struct tg_lua *lua); /* for references that outlive a task */
const struct tg_log *tg_lua_log(const struct tg_lua *lua);
struct event_base *tg_lua_base(const struct tg_lua *lua);
struct tg_upstream *tg_lua_upstream(const struct tg_lua *lua); /* NULL: there is none */

const struct tg_lua_host *tg_lua_host(lua_State *L); /* as in the options */

/* References to the metatables that every request needs: found without a search by name. */
struct tg_lua_types {
    int request;
    int context;
};
struct tg_lua_types *tg_lua_types(struct tg_lua *lua);

/* A slot per state for what the layer above wants to find again from a lua_State. */
void tg_lua_set_user(struct tg_lua *lua, void *user);
void *tg_lua_user(const struct tg_lua *lua);

/* The task that is running now, or NULL. */
struct tg_task *tg_lua_current(const struct tg_lua *lua);

/* The one place that resumes.  Returns LUA_OK, LUA_YIELD or an error's status, as lua_resume(). For
 * task.c and bind_coroutine.c. */
int tg_lua_resume(lua_State *co, lua_State *from, int nargs, int *nresults);

/* lua_resetthread() by whatever name this Lua has it (5.4.4 to 5.4.6 differ): runs co's <close>
 * variables.  Raises nothing: the status of an error, which is on top of co then.  Before 5.4.7 it
 * leaves behind the message handler of an xpcall that co was in: co is not to be used again. */
int tg_lua_close_thread(lua_State *co, lua_State *from);

#endif
