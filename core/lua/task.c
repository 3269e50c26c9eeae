/* task.c - starts, suspends, wakes and cancels coroutines. */
#include "lua/task.h"

#include <assert.h>
#include <string.h>

#include <event2/event.h>
#include <lauxlib.h>

#include "lua/slice.h"
#include "lua/task_impl.h"
#include "util/mem.h"

enum { CHAIN_MAX = 256 }; /* more levels than Lua lets coroutines resume each other */

static bool busy(const struct tg_lua_tasks *tasks)
{
    return tasks->levels || tasks->entered;
}

static void drop_timer(struct tg_task *task)
{
    if (task->timer)
        tg_deadline_drop(task->timer);
}

/* --- Coroutines ------------------------------------------------------------------------------- */

static int make_coroutine(lua_State *L)
{
    struct tg_coroutine *made = lua_touserdata(L, 1);
    made->co = lua_newthread(L);
    made->ref = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

static bool take_coroutine(struct tg_task *task)
{
    struct tg_lua_tasks *tasks = task->tasks;
    struct tg_coroutine made;
    if (tasks->pooled)
        made = tasks->pool[--tasks->pooled];
    else if (tg_lua_enter(tasks->lua, make_coroutine, &made) != TG_LUA_DONE)
        return false;
    task->thread = made;
    return true;
}

static void drop_coroutine(struct tg_task *task)
{
    luaL_unref(tg_lua_main(task->tasks->lua), LUA_REGISTRYINDEX, task->thread.ref);
    task->thread = (struct tg_coroutine){NULL, LUA_NOREF};
}

static void give_coroutine_back(struct tg_task *task)
{
    struct tg_lua_tasks *tasks = task->tasks;
    if (!task->thread.co)
        return;
    if (tasks->pooled == TG_POOL_MAX) {
        drop_coroutine(task);
        return;
    }
    tasks->pool[tasks->pooled++] = task->thread;
    task->thread = (struct tg_coroutine){NULL, LUA_NOREF};
}

/* Runs what <close> variables there are, of no task: they may not wait. */
static int close_coroutine(struct tg_lua_tasks *tasks, lua_State *co)
{
    struct tg_task *current = tasks->current;
    const struct tg_lua_level *levels = tasks->levels;
    struct tg_lua_level level = {co, tg_lua_main(tasks->lua), NULL, true};
    struct tg_lua_tasks *running = tg_slices_begin(tasks->slices, tasks);
    tasks->current = NULL;
    tasks->levels = &level;
    tasks->stopping = false;
    tasks->closing++;
    tasks->entered++;
    tg_lua_set_waits(co, false);
    int status = tg_lua_close_thread(co, tg_lua_main(tasks->lua));
    tg_slices_end(tasks->slices, running);
    tasks->entered--;
    tasks->closing--;
    tasks->levels = levels;
    tasks->current = current;
    return status;
}

int tg_lua_close_level(lua_State *co, lua_State *from)
{
    struct tg_lua_tasks *tasks = tg_lua_tasks_of(co);
    struct tg_lua_level level = {co, from, tasks->levels, true};
    atomic_signal_fence(memory_order_release);
    tasks->levels = &level;
    int status = tg_lua_close_thread(co, from);
    tasks->levels = level.up;
    return status;
}

/* --- Running ---------------------------------------------------------------------------------- */

/* Stack: …, value, traceback.  A coroutine.wrap on the way puts its place before a text. */
static void add_cause(lua_State *L, const struct tg_task *task)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, task->cause);
    lua_rawgeti(L, -1, 1);
    bool same = lua_rawequal(L, -1, -4);
    if (!same && lua_type(L, -1) == LUA_TSTRING && lua_type(L, -4) == LUA_TSTRING) {
        size_t inner;
        size_t outer;
        const char *text = lua_tolstring(L, -1, &inner);
        const char *whole = lua_tolstring(L, -4, &outer);
        same = outer >= inner && memcmp(whole + outer - inner, text, inner) == 0;
    }
    lua_rawgeti(L, -2, 2);
    if (same && lua_type(L, -1) == LUA_TSTRING)
        lua_pushfstring(L, "%s\nin the task that was joined:\n%s", lua_tostring(L, -4),
                        lua_tostring(L, -1));
    else
        lua_pushvalue(L, -4);
    lua_replace(L, -5);
    lua_pop(L, 3);
}

static int keep_failure(lua_State *L)
{
    struct tg_task *task = lua_touserdata(L, 1);
    lua_State *co = task->thread.co;
    lua_createtable(L, 2, 0);
    if (task->stopped) {
        tg_slices_push_overrun(L, task->tasks->slices);
    } else if (lua_status(co) == LUA_YIELD) {
        lua_pushliteral(L, "attempt to yield from outside a coroutine");
    } else {
        lua_pushvalue(co, -1); /* closers are given what stays */
        lua_xmove(co, L, 1);
    }
    if (task->cause != LUA_NOREF || tg_lua_is_in_script(co, 0))
        luaL_traceback(L, co, NULL, 0);
    else
        lua_pushnil(L);
    if (task->cause != LUA_NOREF)
        add_cause(L, task);
    lua_rawseti(L, -3, 2);
    lua_rawseti(L, -2, 1);
    task->failure = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

static void forget(struct tg_task *task, int *ref)
{
    luaL_unref(tg_lua_main(task->tasks->lua), LUA_REGISTRYINDEX, *ref);
    *ref = LUA_NOREF;
}

void tg_task_set_cause(lua_State *L, struct tg_task *task)
{
    int cause = luaL_ref(L, LUA_REGISTRYINDEX);
    forget(task, &task->cause);
    task->cause = cause;
}

static enum tg_lua_result fail(struct tg_task *task, int status)
{
    forget(task, &task->failure);
    task->stopped = task->tasks->stopping;
    if (tg_lua_enter(task->tasks->lua, keep_failure, task) != TG_LUA_DONE)
        task->failure = LUA_REFNIL;
    forget(task, &task->cause);
    if (!task->stopped) /* Lua leaves hooks off in what a hook's error has killed: nothing would stop it */
        close_coroutine(task->tasks, task->thread.co);
    drop_coroutine(task); /* at once: what it holds may be all the memory that there is */
    return status == LUA_ERRMEM && !task->stopped ? TG_LUA_NOMEM : TG_LUA_FAILED;
}

static void let_chain_go(struct tg_task *task)
{
    for (unsigned i = 0; i < task->chain_len; i++)
        tg_lua_set_waits(task->chain[i], false);
    task->chain_len = 0;
}

static enum tg_lua_result run(struct tg_task *task, int nargs)
{
    struct tg_lua_tasks *tasks = task->tasks;
    struct tg_task *before = tasks->current;
    lua_State *base = tasks->base;
    lua_State *co = task->thread.co;
    int nresults;
    let_chain_go(task);
    tg_lua_set_waits(co, false);
    task->state = TG_TASK_RUNNING;
    task->arming = false;
    tasks->stopping = false;
    tasks->current = task;
    tasks->base = co;
    struct tg_lua_tasks *running = tg_slices_begin(tasks->slices, tasks);
    if (task->preempted)
        tg_slices_go_on(tasks->slices);
    task->preempted = false;
    int status = tg_lua_resume_level(co, tg_lua_main(tasks->lua), nargs, &nresults);
    tg_slices_end(tasks->slices, running);
    tasks->passing = false;
    tasks->base = base;
    tasks->current = before;
    if (status == LUA_YIELD && tg_task_waiting(task)) {
        tg_lua_set_waits(co, true);
        tg_lua_suspended(tasks->lua);
        return TG_LUA_WAITING;
    }
    task->state = TG_TASK_IDLE;
    drop_timer(task);
    if (task->scope->main == task)
        tg_scope_check(task->scope, tasks);
    if (status != LUA_OK || tasks->stopping) /* what runs last may be a pcall */
        return fail(task, status);
    lua_settop(co, 0);
    if (lua_gethook(co))
        lua_sethook(co, NULL, 0, 0);
    return TG_LUA_DONE;
}

enum tg_lua_result tg_task_start(struct tg_task *task, lua_CFunction fn, void *arg)
{
    assert(task->state == TG_TASK_IDLE);
    if (!task->thread.co && !take_coroutine(task)) {
        forget(task, &task->failure);
        task->failure = LUA_REFNIL;
        return TG_LUA_NOMEM;
    }
    task->computed = 0;
    lua_pushcfunction(task->thread.co, fn); /* neither of these allocates */
    lua_pushlightuserdata(task->thread.co, arg);
    return run(task, 1);
}

static void go_on(struct tg_task *task)
{
    int nargs = task->begin;
    task->begin = 0;
    enum tg_lua_result result = run(task, nargs);
    if (result == TG_LUA_WAITING)
        return;
    if (task->spawned)
        tg_task_leave(task);
    if (task->done)
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
    forget(task, &task->failure);
}

/* Whatever the task waits for knows it no longer. */
static void forget_wait(struct tg_task *task)
{
    drop_timer(task);
    if (task->queue)
        TAILQ_REMOVE(task->queue, task, link);
    task->queue = NULL;
    if (task->stuck)
        task->scope->stuck--;
    task->stuck = false;
}

static void leave_wait(struct tg_task *task)
{
    forget_wait(task);
    if (task->wait.cancel)
        task->wait.cancel(task->wait.arg);
}

/* --- Life ------------------------------------------------------------------------------------- */

static void on_timer(void *arg)
{
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
    task->cause = LUA_NOREF;
    task->scope = &task->tasks->scope;
    if (!take_coroutine(task)) {
        tg_free(task);
        return NULL;
    }
    return task;
}

/* A client that leaves is no error, so this is not one either; but an error in a closer is worth
 * knowing. */
static void close_cancelled(struct tg_task *task, lua_State *co)
{
    const struct tg_log *log = tg_lua_log(task->tasks->lua);
    if (close_coroutine(task->tasks, co) == LUA_OK)
        return;
    const char *text =
        lua_type(co, -1) == LUA_TSTRING ? lua_tostring(co, -1) : luaL_typename(co, -1);
    if (task->tasks->stopping)
        text = tg_lua_error(task->tasks->lua);
    tg_log(log, TG_LOG_INFO, "a <close> variable of a task that was cancelled: %s", text);
}

void tg_task_disarm(struct tg_task *task)
{
    if (task->state == TG_TASK_READY)
        TAILQ_REMOVE(&task->tasks->ready, task, link);
    else
        leave_wait(task);
    task->state = TG_TASK_RUNNING; /* nothing wakes it, nor cancels it again */
}

void tg_task_close(struct tg_task *task)
{
    for (unsigned i = 0; i < task->chain_len; i++)
        close_cancelled(task, task->chain[i]);
    task->chain_len = 0;
    close_cancelled(task, task->thread.co);
    drop_coroutine(task);
    task->state = TG_TASK_IDLE;
}

void tg_task_cancel(struct tg_task *task)
{
    bool waits = tg_task_waiting(task);
    if (waits)
        tg_task_disarm(task);
    tg_task_cancel_children(task);
    if (waits)
        tg_task_close(task);
}

void tg_task_destroy(struct tg_task *task)
{
    assert(task->state == TG_TASK_IDLE);
    forget(task, &task->failure);
    forget(task, &task->cause);
    give_coroutine_back(task);
    if (task->timer)
        tg_deadline_fini(task->timer);
    tg_free(task->timer);
    tg_free(task->chain);
    tg_free(task);
}

void tg_task_free(struct tg_task *task)
{
    if (!task)
        return;
    tg_task_cancel(task);
    tg_task_destroy(task);
}

void tg_task_rest(struct tg_task *task)
{
    assert(task->state == TG_TASK_IDLE);
    give_coroutine_back(task);
}

bool tg_task_waiting(const struct tg_task *task)
{
    return task->state == TG_TASK_WAITING || task->state == TG_TASK_READY;
}

void *tg_task_owner(const struct tg_task *task, tg_task_done_fn done)
{
    return task->done == done ? task->owner : NULL;
}

struct tg_lua *tg_task_lua(const struct tg_task *task)
{
    return task->tasks->lua;
}

/* --- Waiting ---------------------------------------------------------------------------------- */

/* How many of the script's own coroutines are between L and the task.  Each of them will have to be
 * suspended, and by us; where one cannot be it is -1, and *why says why. */
static int count_levels(lua_State *L, const struct tg_task *task, const char **why)
{
    const struct tg_lua_level *level = task->tasks->levels;
    lua_State *inner = L;
    for (int depth = 0;; depth++) {
        *why = "below a function that cannot be suspended";
        if (!lua_isyieldable(inner) || (level && level->closing))
            return -1;
        *why = "in a coroutine that a library has resumed";
        if (!level || level->co != inner)
            return -1;
        if (inner == task->thread.co)
            return depth;
        inner = level->from;
        level = level->up;
    }
}

static bool reserve_chain(struct tg_task *task, unsigned depth)
{
    if (depth <= task->chain_size)
        return true;
    unsigned size = depth < 4 ? 4 : depth * 2;
    lua_State **chain = depth <= CHAIN_MAX ? tg_realloc(task->chain, size * sizeof *chain) : NULL;
    if (!chain)
        return false;
    task->chain = chain;
    task->chain_size = size;
    return true;
}

struct tg_task *tg_task_check(lua_State *L)
{
    struct tg_lua_tasks *tasks = tg_lua_tasks_of(L);
    struct tg_task *task = tasks->current;
    if (!task) {
        luaL_error(L, tasks->closing ? "cannot wait here: the task has ended"
                                     : "cannot wait here: no request or task is running");
        return NULL;
    }
    const char *why;
    int depth = count_levels(L, task, &why);
    if (depth < 0)
        luaL_error(L, "cannot wait here: %s", why);
    if (!reserve_chain(task, (unsigned)depth))
        luaL_error(L, "not enough memory");
    drop_timer(task); /* of a wait that was armed and then did not begin */
    task->arming = true;
    task->sticking = false;
    task->woken = false;
    return task;
}

/* In queue, if it is not NULL.  From here on the task goes on by tg_task_wake(), or is cancelled. */
static void begin_wait(struct tg_task *task, struct tg_queue *queue,
                       const struct tg_task_wait *wait)
{
    bool woken = task->woken;
    task->wait = *wait;
    task->state = TG_TASK_WAITING;
    task->arming = false;
    task->woken = false;
    task->serial = ++task->tasks->serial;
    task->tasks->passing = true;
    if (woken) {
        tg_task_wake(task);
    } else if (task->doomed) {
        leave_wait(task);
        tg_task_make_ready(task);
    } else if (queue) {
        task->queue = queue;
        TAILQ_INSERT_TAIL(queue, task, link);
    }
    if (task->sticking && task->state == TG_TASK_WAITING) {
        task->stuck = true;
        task->scope->stuck++;
        tg_scope_check(task->scope, task->tasks);
    }
    task->sticking = false;
}

int tg_queue_wait(lua_State *L, struct tg_queue *queue, const struct tg_task_wait *wait,
                  lua_KFunction k)
{
    struct tg_task *task = tg_lua_tasks_of(L)->current;
    assert(task && task->arming);
    begin_wait(task, queue, wait);
    task->computed = 0;
    return lua_yieldk(L, 0, task->serial, k);
}

int tg_task_wait(lua_State *L, const struct tg_task_wait *wait, lua_KFunction k)
{
    return tg_queue_wait(L, NULL, wait, k);
}

int tg_task_yield(lua_State *L, lua_KFunction k)
{
    struct tg_task_wait wait = {NULL, NULL};
    tg_task_check(L)->woken = true;
    return tg_task_wait(L, &wait, k);
}

/* --- Slices ----------------------------------------------------------------------------------- */

uint64_t tg_task_computed(const struct tg_task *task)
{
    return task ? task->computed : 0;
}

/* A wait that is over as soon as it begins: others that are ready have their turn first. */
bool tg_task_preempt(lua_State *L, uint64_t computed)
{
    static const struct tg_task_wait wait = {NULL, NULL};
    struct tg_task *task = tg_lua_tasks_of(L)->current;
    const char *why;
    int depth = task ? count_levels(L, task, &why) : -1;
    if (depth < 0 || !reserve_chain(task, (unsigned)depth))
        return false;
    drop_timer(task);
    task->woken = true;
    task->preempted = true;
    task->computed = computed;
    begin_wait(task, NULL, &wait);
    return true;
}

void tg_task_resumed(lua_State *L, lua_KContext context)
{
    const struct tg_task *task = tg_lua_tasks_of(L)->current;
    if (!task || task->serial != context || task->state != TG_TASK_RUNNING)
        luaL_error(L, "this coroutine waits in another task");
}

/* By a timer, that what the loop has to do besides has its turn.  Without memory for one, without
 * that turn: a task that is never woken is worse. */
static void run_ready_soon(struct tg_lua_tasks *tasks)
{
    static const struct timeval at_once = {0, 0};
    if (tasks->held)
        return; /* the loop belongs to another thread */
    if (event_add(&tasks->ready_event, &at_once) < 0)
        event_active(&tasks->ready_event, EV_TIMEOUT, 0);
}

void tg_task_make_ready(struct tg_task *task)
{
    struct tg_lua_tasks *tasks = task->tasks;
    if (TAILQ_EMPTY(&tasks->ready))
        run_ready_soon(tasks);
    task->state = TG_TASK_READY;
    task->round = tasks->round;
    TAILQ_INSERT_TAIL(&tasks->ready, task, link);
}

void tg_task_wake(struct tg_task *task)
{
    if (!busy(task->tasks) && task->state == TG_TASK_WAITING) {
        forget_wait(task);
        go_on(task);
    } else {
        tg_task_wake_later(task);
    }
}

void tg_task_wake_later(struct tg_task *task)
{
    if (task->arming)
        task->woken = true;
    if (task->state != TG_TASK_WAITING)
        return;
    forget_wait(task);
    tg_task_make_ready(task);
}

enum tg_status tg_task_arm_timer(struct tg_task *task, const struct timeval *tv)
{
    struct tg_lua_tasks *tasks = task->tasks;
    if (!task->timer) {
        struct tg_deadline *timer = tg_malloc(sizeof *timer);
        if (!timer || tg_deadline_init(timer, &tasks->deadlines, on_timer, task) != TG_OK) {
            tg_free(timer);
            return TG_ENOMEM;
        }
        task->timer = timer;
    }
    uint64_t us = (uint64_t)tv->tv_sec * 1000000U + (uint64_t)tv->tv_usec;
    task->timed_out = false;
    tg_deadline_set_us(task->timer, us ? us : 1);
    return TG_OK;
}

struct tg_deadlines *tg_task_deadlines(struct tg_lua *lua)
{
    return &tg_lua_tasks(lua)->deadlines;
}

bool tg_task_timed_out(const struct tg_task *task)
{
    return task->timed_out;
}

/* --- Queues ----------------------------------------------------------------------------------- */

void tg_queue_init(struct tg_queue *queue)
{
    TAILQ_INIT(queue);
}

bool tg_queue_empty(const struct tg_queue *queue)
{
    return TAILQ_EMPTY(queue);
}

void tg_queue_wake(struct tg_queue *queue)
{
    struct tg_task *task;
    while ((task = TAILQ_FIRST(queue)) != NULL)
        tg_task_wake_later(task); /* which takes it out */
}

/* --- Waits below the script's own coroutines --------------------------------------------------- */

lua_KContext tg_task_pass(lua_State *co)
{
    struct tg_task *task = tg_lua_tasks_of(co)->current;
    tg_lua_set_waits(co, true);
    task->chain[task->chain_len++] = co; /* tg_task_check() has made room */
    return task->serial;
}

/* --- The tasks of a state --------------------------------------------------------------------- */

static void go_on_ready(struct tg_task *task)
{
    if (task->doomed) {
        tg_task_cancel_spawned(task);
        return;
    }
    TAILQ_REMOVE(&task->tasks->ready, task, link);
    go_on(task);
}

/* Those that are ready now: what they wake in turn has its turn later. */
static void on_ready(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct tg_lua_tasks *tasks = arg;
    uint64_t round = tasks->round++;
    struct tg_task *task;
    while ((task = TAILQ_FIRST(&tasks->ready)) != NULL && task->round <= round) {
        go_on_ready(task);
    }
    if (task)
        run_ready_soon(tasks);
}

void tg_lua_tasks_adopt(struct tg_lua_tasks *tasks)
{
    tasks->held = false;
    if (!TAILQ_EMPTY(&tasks->ready))
        run_ready_soon(tasks);
}

void tg_lua_tasks_init(struct tg_lua_tasks *tasks, struct tg_lua *lua)
{
    tasks->lua = lua;
    tasks->no_memory = LUA_NOREF;
    TAILQ_INIT(&tasks->ready);
    TAILQ_INIT(&tasks->idle);
    tg_deadlines_init_exact(&tasks->deadlines, tg_lua_base(lua));
    event_assign(&tasks->ready_event, tg_lua_base(lua), -1, 0, on_ready, tasks);
}

void tg_lua_tasks_open(lua_State *L, struct tg_lua_tasks *tasks)
{
    lua_pushliteral(L, "not enough memory");
    tasks->no_memory = luaL_ref(L, LUA_REGISTRYINDEX);
    /* Lua pushes this one where nothing catches an error of memory: it has to be there already. */
    lua_pushliteral(L, "error in error handling");
    luaL_ref(L, LUA_REGISTRYINDEX);
}

void tg_lua_tasks_fini(struct tg_lua_tasks *tasks)
{
    if (event_pending(&tasks->ready_event, EV_TIMEOUT, NULL)) /* else the loop is not touched */
        event_del(&tasks->ready_event);
    tg_deadlines_fini(&tasks->deadlines);
}
