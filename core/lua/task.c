/* task.c - starts, suspends, wakes and cancels coroutines. */
#include "lua/task.h"

#include <string.h>

#include <event2/event.h>
#include <lauxlib.h>

#include "lua/state_impl.h"
#include "util/mem.h"

enum { CHAIN_MAX = 256 }; /* more levels than Lua lets coroutines resume each other */

struct tg_task {
    struct tg_lua_tasks *tasks;
    lua_State *co;
    int ref;
    tg_task_done_fn done;
    void *owner;

    bool waiting;
    bool ready; /* woken, and on the list */
    bool timed_out;
    bool spoilt; /* the coroutine is not to be used again */
    lua_KContext serial;
    struct tg_task_wait wait;
    struct event *timer; /* made when it is first needed: most tasks wait for no time */
    lua_State **chain;   /* the script's own coroutines that pass the wait on, innermost first */
    size_t chain_len;
    size_t chain_size;

    int failure; /* reference: { value, traceback }; LUA_REFNIL when there was no memory */
    TAILQ_ENTRY(tg_task) link;
};

/* --- Coroutines ------------------------------------------------------------------------------- */

struct making {
    struct tg_coroutine made;
};

static int make_coroutine(lua_State *L)
{
    struct making *making = lua_touserdata(L, 1);
    making->made.co = lua_newthread(L);
    making->made.ref = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

static bool take_coroutine(struct tg_task *task)
{
    struct tg_lua_tasks *tasks = task->tasks;
    struct making making;
    if (tasks->pooled) {
        making.made = tasks->pool[--tasks->pooled];
    } else if (tg_lua_enter(tasks->lua, make_coroutine, &making) != TG_LUA_DONE) {
        return false;
    }
    task->co = making.made.co;
    task->ref = making.made.ref;
    task->spoilt = false;
    return true;
}

static void give_coroutine_back(struct tg_task *task)
{
    struct tg_lua_tasks *tasks = task->tasks;
    if (!task->spoilt && tasks->pooled < TG_POOL_MAX)
        tasks->pool[tasks->pooled++] = (struct tg_coroutine){task->co, task->ref};
    else
        luaL_unref(tg_lua_main(tasks->lua), LUA_REGISTRYINDEX, task->ref);
    task->co = NULL;
}

/* Runs what <close> variables there are, of no task: they may not wait. */
static void close_coroutine(struct tg_task *task, lua_State *co)
{
    struct tg_lua_tasks *tasks = task->tasks;
    struct tg_task *before = tasks->current;
    tasks->current = NULL;
    int status = tg_lua_close_thread(co, tg_lua_main(tasks->lua));
    tasks->current = before;
    if (co == task->co && status != LUA_OK)
        task->spoilt = true;
    lua_settop(co, 0);
}

/* --- Running ---------------------------------------------------------------------------------- */

static int keep_failure(lua_State *L)
{
    struct tg_task *task = lua_touserdata(L, 1);
    lua_createtable(L, 2, 0);
    luaL_traceback(L, task->co, NULL, 0);
    lua_rawseti(L, -2, 2);
    lua_pushvalue(task->co, -1);
    lua_xmove(task->co, L, 1);
    lua_rawseti(L, -2, 1);
    task->failure = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

static void forget_failure(struct tg_task *task)
{
    luaL_unref(tg_lua_main(task->tasks->lua), LUA_REGISTRYINDEX, task->failure);
    task->failure = LUA_NOREF;
}

static enum tg_lua_result fail(struct tg_task *task, int status)
{
    forget_failure(task);
    if (status == LUA_ERRMEM || tg_lua_enter(task->tasks->lua, keep_failure, task) != TG_LUA_DONE)
        task->failure = LUA_REFNIL;
    close_coroutine(task, task->co);
    return status == LUA_ERRMEM ? TG_LUA_NOMEM : TG_LUA_FAILED;
}

static enum tg_lua_result run(struct tg_task *task, int nargs)
{
    struct tg_lua_tasks *tasks = task->tasks;
    int nresults;
    task->chain_len = 0;
    tasks->current = task;
    int status = tg_lua_resume(task->co, tg_lua_main(tasks->lua), nargs, &nresults);
    tasks->current = NULL;
    if (status == LUA_YIELD) {
        lua_pop(task->co, nresults);
        tg_lua_suspended(tasks->lua);
        return TG_LUA_WAITING;
    }
    task->waiting = false;
    if (status != LUA_OK)
        return fail(task, status);
    lua_settop(task->co, 0);
    return TG_LUA_DONE;
}

enum tg_lua_result tg_task_start(struct tg_task *task, lua_CFunction fn, void *arg)
{
    if (task->spoilt) {
        give_coroutine_back(task);
        if (!take_coroutine(task)) {
            task->failure = LUA_REFNIL;
            return TG_LUA_NOMEM;
        }
    }
    lua_pushcfunction(task->co, fn); /* neither of these allocates */
    lua_pushlightuserdata(task->co, arg);
    return run(task, 1);
}

static void go_on(struct tg_task *task)
{
    enum tg_lua_result result = run(task, 0);
    if (result != TG_LUA_WAITING && task->done)
        task->done(task->owner, result); /* last: task may be gone after it */
}

void tg_task_push_error(lua_State *L, struct tg_task *task)
{
    if (task->failure == LUA_REFNIL || task->failure == LUA_NOREF) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, task->tasks->no_memory);
        lua_pushnil(L);
        return;
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, task->failure);
    lua_rawgeti(L, -1, 1);
    lua_rawgeti(L, -2, 2);
    lua_remove(L, -3);
    forget_failure(task);
}

/* --- Life ------------------------------------------------------------------------------------- */

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct tg_task *task = arg;
    task->timed_out = true;
    tg_task_wake(task);
}

struct tg_task *tg_task_new(struct tg_lua *lua, tg_task_done_fn done, void *owner)
{
    struct tg_task *task = tg_calloc(1, sizeof *task);
    if (!task)
        return NULL;
    task->tasks = tg_lua_tasks(lua);
    task->done = done;
    task->owner = owner;
    task->failure = LUA_NOREF;
    if (!take_coroutine(task)) {
        tg_free(task);
        return NULL;
    }
    return task;
}

static void stop_timer(struct tg_task *task)
{
    if (task->timer)
        event_del(task->timer);
}

static void stop_wait(struct tg_task *task)
{
    if (task->ready)
        TAILQ_REMOVE(&task->tasks->ready, task, link);
    else if (task->wait.cancel)
        task->wait.cancel(task->wait.arg);
    task->ready = false;
    task->waiting = false;
    stop_timer(task);
}

void tg_task_cancel(struct tg_task *task)
{
    if (!tg_task_waiting(task))
        return;
    stop_wait(task);
    for (size_t i = 0; i < task->chain_len; i++)
        close_coroutine(task, task->chain[i]);
    task->chain_len = 0;
    close_coroutine(task, task->co);
}

void tg_task_free(struct tg_task *task)
{
    if (!task)
        return;
    tg_task_cancel(task);
    if (task->timer)
        event_free(task->timer);
    forget_failure(task);
    give_coroutine_back(task);
    tg_free(task->chain);
    tg_free(task);
}

bool tg_task_waiting(const struct tg_task *task)
{
    return task->waiting || task->ready;
}

void *tg_task_owner(const struct tg_task *task)
{
    return task->owner;
}

struct tg_lua *tg_task_lua(const struct tg_task *task)
{
    return task->tasks->lua;
}

/* --- Waiting ---------------------------------------------------------------------------------- */

struct tg_task *tg_task_check(lua_State *L)
{
    struct tg_task *task = tg_lua_current(tg_lua_of(L));
    if (!task)
        luaL_error(L, "cannot wait here: no request or task is running");
    if (!lua_isyieldable(L))
        luaL_error(L, "cannot wait here: below a function that cannot be suspended");
    return task;
}

int tg_task_wait(lua_State *L, const struct tg_task_wait *wait, lua_KFunction k)
{
    struct tg_task *task = tg_lua_current(tg_lua_of(L));
    task->wait = *wait;
    task->waiting = true;
    task->serial = ++task->tasks->serial;
    return lua_yieldk(L, 0, task->serial, k);
}

void tg_task_resumed(lua_State *L, lua_KContext context)
{
    const struct tg_task *task = tg_lua_current(tg_lua_of(L));
    if (!task || task->serial != context || task->waiting)
        luaL_error(L, "this coroutine waits in another task");
}

void tg_task_wake(struct tg_task *task)
{
    static const struct timeval at_once = {0, 0};
    struct tg_lua_tasks *tasks = task->tasks;
    if (!task->waiting)
        return;
    task->waiting = false;
    stop_timer(task);
    if (!tasks->current) {
        go_on(task);
        return;
    }
    task->ready = true;
    TAILQ_INSERT_TAIL(&tasks->ready, task, link);
    event_add(&tasks->ready_event, &at_once);
}

enum tg_status tg_task_arm_timer(struct tg_task *task, const struct timeval *tv)
{
    if (!task->timer)
        task->timer = event_new(tg_lua_base(task->tasks->lua), -1, 0, on_timer, task);
    task->timed_out = false;
    if (!task->timer || event_add(task->timer, tv) != 0)
        return TG_ENOMEM;
    return TG_OK;
}

bool tg_task_timed_out(const struct tg_task *task)
{
    return task->timed_out;
}

/* --- Waits below the script's own coroutines --------------------------------------------------- */

static bool add_to_chain(struct tg_task *task, lua_State *co)
{
    if (task->chain_len == task->chain_size) {
        size_t size = task->chain_size ? task->chain_size * 2 : 4;
        lua_State **chain =
            size <= CHAIN_MAX ? tg_realloc(task->chain, size * sizeof *chain) : NULL;
        if (!chain)
            return false;
        task->chain = chain;
        task->chain_size = size;
    }
    task->chain[task->chain_len++] = co;
    return true;
}

bool tg_task_passes(lua_State *L, lua_State *co)
{
    struct tg_task *task = tg_lua_current(tg_lua_of(L));
    if (!task || !task->waiting)
        return false;
    if (add_to_chain(task, co) && lua_isyieldable(L))
        return true;
    stop_wait(task);
    for (size_t i = 0; i < task->chain_len; i++)
        close_coroutine(task, task->chain[i]);
    task->chain_len = 0;
    luaL_error(L, "cannot wait here: below a function that cannot be suspended");
    return false;
}

lua_KContext tg_task_serial(lua_State *L)
{
    return tg_lua_current(tg_lua_of(L))->serial;
}

bool tg_task_is_base(lua_State *L)
{
    const struct tg_task *task = tg_lua_current(tg_lua_of(L));
    return !task || task->co == L;
}

/* --- The tasks of a state --------------------------------------------------------------------- */

/* Those that are there now: what they wake in turn has its turn later. */
static void on_ready(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    static const struct timeval at_once = {0, 0};
    struct tg_lua_tasks *tasks = arg;
    const struct tg_task *last = TAILQ_LAST(&tasks->ready, tg_task_list);
    struct tg_task *task;
    while ((task = TAILQ_FIRST(&tasks->ready)) != NULL) {
        bool at_last = task == last;
        TAILQ_REMOVE(&tasks->ready, task, link);
        task->ready = false;
        go_on(task);
        if (at_last)
            break;
    }
    if (!TAILQ_EMPTY(&tasks->ready))
        event_add(&tasks->ready_event, &at_once);
}

void tg_lua_tasks_init(struct tg_lua_tasks *tasks, struct tg_lua *lua)
{
    tasks->lua = lua;
    tasks->no_memory = LUA_NOREF;
    TAILQ_INIT(&tasks->ready);
    event_assign(&tasks->ready_event, tg_lua_base(lua), -1, 0, on_ready, tasks);
}

void tg_lua_tasks_open(lua_State *L, struct tg_lua_tasks *tasks)
{
    lua_pushliteral(L, "not enough memory");
    tasks->no_memory = luaL_ref(L, LUA_REGISTRYINDEX);
}

void tg_lua_tasks_fini(struct tg_lua_tasks *tasks)
{
    event_del(&tasks->ready_event);
}
