/* task.c - starts, suspends, wakes and cancels coroutines. */
#include "lua/task.h"

#include <assert.h>

#include <event2/event.h>
#include <lauxlib.h>

#include "lua/slice.h"
#include "lua/state_impl.h"
#include "util/mem.h"

enum { CHAIN_MAX = 256 }; /* more levels than Lua lets coroutines resume each other */

enum state {
    IDLE,
    RUNNING,
    WAITING,
    READY, /* woken, and on the list */
};

struct tg_task {
    struct tg_lua_tasks *tasks;
    struct tg_coroutine thread; /* none (co is NULL) after a failure, until it is needed */
    tg_task_done_fn done;
    void *owner;

    enum state state;
    bool arming; /* between tg_task_check() and tg_task_wait(): a wake is not to be lost */
    bool woken;  /* while arming */
    bool timed;
    bool timed_out;
    bool overrun;      /* it has computed for too long, and is being stopped */
    uint64_t computed; /* milliseconds since it has waited last, the runs before this one */
    lua_KContext serial;
    struct tg_task_wait wait;
    struct event *timer; /* made when it is first needed: most tasks wait for no time */
    lua_State **chain;   /* the script's own coroutines that pass the wait on, innermost first */
    size_t chain_len;
    size_t chain_size;

    int failure; /* reference: { value, traceback }; LUA_REFNIL when there was no memory */
    uint64_t round;
    TAILQ_ENTRY(tg_task) link;
};

static bool busy(const struct tg_lua_tasks *tasks)
{
    return tasks->levels || tasks->entered;
}

static void drop_timer(struct tg_task *task)
{
    if (task->timed)
        event_del(task->timer);
    task->timed = false;
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
    bool closing = tasks->closing;
    struct tg_lua_level level = {co, tg_lua_main(tasks->lua), NULL};
    struct tg_lua_tasks *running = tg_slices_begin(tasks->slices, tasks);
    tasks->current = NULL;
    tasks->levels = &level;
    tasks->closing = true;
    tasks->entered++;
    tg_lua_set_waits(co, false);
    int status = tg_lua_close_thread(co, tg_lua_main(tasks->lua));
    tg_slices_end(tasks->slices, running);
    tasks->entered--;
    tasks->closing = closing;
    tasks->levels = levels;
    tasks->current = current;
    return status;
}

/* --- Running ---------------------------------------------------------------------------------- */

static int keep_failure(lua_State *L)
{
    struct tg_task *task = lua_touserdata(L, 1);
    lua_State *co = task->thread.co;
    lua_createtable(L, 2, 0);
    luaL_traceback(L, co, NULL, 0);
    lua_rawseti(L, -2, 2);
    if (lua_status(co) == LUA_YIELD) {
        lua_pushliteral(L, "attempt to yield from outside a coroutine");
    } else {
        lua_pushvalue(co, -1); /* closers are given what stays */
        lua_xmove(co, L, 1);
    }
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
    if (tg_lua_enter(task->tasks->lua, keep_failure, task) != TG_LUA_DONE)
        task->failure = LUA_REFNIL;
    if (!task->overrun) /* Lua leaves hooks off in what a hook's error has killed: nothing would stop it */
        close_coroutine(task->tasks, task->thread.co);
    drop_coroutine(task); /* at once: what it holds may be all the memory that there is */
    return status == LUA_ERRMEM ? TG_LUA_NOMEM : TG_LUA_FAILED;
}

static void let_chain_go(struct tg_task *task)
{
    for (size_t i = 0; i < task->chain_len; i++)
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
    task->state = RUNNING;
    task->arming = false;
    tasks->current = task;
    tasks->base = co;
    struct tg_lua_tasks *running = tg_slices_begin(tasks->slices, tasks);
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
    task->state = IDLE;
    drop_timer(task);
    if (status != LUA_OK)
        return fail(task, status);
    lua_settop(co, 0);
    if (lua_gethook(co))
        lua_sethook(co, NULL, 0, 0);
    return TG_LUA_DONE;
}

enum tg_lua_result tg_task_start(struct tg_task *task, lua_CFunction fn, void *arg)
{
    assert(task->state == IDLE);
    if (!task->thread.co && !take_coroutine(task)) {
        forget_failure(task);
        task->failure = LUA_REFNIL;
        return TG_LUA_NOMEM;
    }
    task->overrun = false;
    task->computed = 0;
    lua_pushcfunction(task->thread.co, fn); /* neither of these allocates */
    lua_pushlightuserdata(task->thread.co, arg);
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

/* A client that leaves is no error, so this is not one either; but an error in a closer is worth
 * knowing. */
static void close_cancelled(struct tg_task *task, lua_State *co)
{
    const struct tg_log *log = tg_lua_log(task->tasks->lua);
    if (close_coroutine(task->tasks, co) == LUA_OK)
        return;
    const char *text =
        lua_type(co, -1) == LUA_TSTRING ? lua_tostring(co, -1) : luaL_typename(co, -1);
    tg_log(log, TG_LOG_INFO, "a <close> variable of a task that was cancelled: %s", text);
}

void tg_task_cancel(struct tg_task *task)
{
    if (!tg_task_waiting(task))
        return;
    if (task->state == READY)
        TAILQ_REMOVE(&task->tasks->ready, task, link);
    else if (task->wait.cancel)
        task->wait.cancel(task->wait.arg);
    drop_timer(task);
    task->state = RUNNING; /* closers do not wake it, nor cancel it again */
    for (size_t i = 0; i < task->chain_len; i++)
        close_cancelled(task, task->chain[i]);
    task->chain_len = 0;
    close_cancelled(task, task->thread.co);
    drop_coroutine(task);
    task->state = IDLE;
}

void tg_task_free(struct tg_task *task)
{
    if (!task)
        return;
    tg_task_cancel(task);
    assert(task->state == IDLE);
    forget_failure(task);
    give_coroutine_back(task);
    tg_free(task->timer);
    tg_free(task->chain);
    tg_free(task);
}

void tg_task_rest(struct tg_task *task)
{
    assert(task->state == IDLE);
    give_coroutine_back(task);
}

bool tg_task_waiting(const struct tg_task *task)
{
    return task->state == WAITING || task->state == READY;
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

/* How many of the script's own coroutines are between L and the task.  Each of them will have to be
 * suspended, and by us; where one cannot be it is -1, and *why says why. */
static int count_levels(lua_State *L, const struct tg_task *task, const char **why)
{
    const struct tg_lua_level *level = task->tasks->levels;
    lua_State *inner = L;
    for (int depth = 0;; depth++) {
        *why = "below a function that cannot be suspended";
        if (!lua_isyieldable(inner))
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

static bool reserve_chain(struct tg_task *task, size_t depth)
{
    if (depth <= task->chain_size)
        return true;
    size_t size = depth < 4 ? 4 : depth * 2;
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
    if (!reserve_chain(task, (size_t)depth))
        luaL_error(L, "not enough memory");
    drop_timer(task); /* of a wait that was armed and then did not begin */
    task->arming = true;
    task->woken = false;
    return task;
}

static void begin_wait(struct tg_task *task, const struct tg_task_wait *wait)
{
    bool woken = task->woken;
    task->wait = *wait;
    task->state = WAITING;
    task->arming = false;
    task->woken = false;
    task->serial = ++task->tasks->serial;
    task->tasks->passing = true;
    if (woken)
        tg_task_wake(task);
}

int tg_task_wait(lua_State *L, const struct tg_task_wait *wait, lua_KFunction k)
{
    struct tg_task *task = tg_lua_tasks_of(L)->current;
    assert(task && task->arming);
    begin_wait(task, wait);
    task->computed = 0;
    return lua_yieldk(L, 0, task->serial, k);
}

/* --- Slices ----------------------------------------------------------------------------------- */

uint64_t tg_task_computed(const struct tg_task *task)
{
    return task ? task->computed : 0;
}

void tg_task_overrun(struct tg_task *task)
{
    if (task)
        task->overrun = true;
}

bool tg_task_is_overrun(lua_State *L)
{
    const struct tg_task *task = tg_lua_tasks_of(L)->current;
    return task && task->overrun;
}

/* A wait that is over as soon as it begins: others that are ready have their turn first. */
bool tg_task_preempt(lua_State *L, uint64_t computed)
{
    static const struct tg_task_wait wait = {NULL, NULL};
    struct tg_task *task = tg_lua_tasks_of(L)->current;
    const char *why;
    int depth = task ? count_levels(L, task, &why) : -1;
    if (depth < 0 || !reserve_chain(task, (size_t)depth))
        return false;
    drop_timer(task);
    task->woken = true;
    task->computed = computed;
    begin_wait(task, &wait);
    return true;
}

void tg_task_resumed(lua_State *L, lua_KContext context)
{
    const struct tg_task *task = tg_lua_tasks_of(L)->current;
    if (!task || task->serial != context || task->state != RUNNING)
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

static void make_ready(struct tg_task *task)
{
    struct tg_lua_tasks *tasks = task->tasks;
    if (TAILQ_EMPTY(&tasks->ready))
        run_ready_soon(tasks);
    task->state = READY;
    task->round = tasks->round;
    TAILQ_INSERT_TAIL(&tasks->ready, task, link);
}

void tg_task_wake(struct tg_task *task)
{
    if (task->arming)
        task->woken = true;
    if (task->state != WAITING)
        return;
    drop_timer(task);
    if (busy(task->tasks))
        make_ready(task);
    else
        go_on(task);
}

enum tg_status tg_task_arm_timer(struct tg_task *task, const struct timeval *tv)
{
    if (!task->timer) {
        task->timer = tg_malloc(sizeof *task->timer);
        if (!task->timer)
            return TG_ENOMEM;
        event_assign(task->timer, tg_lua_base(task->tasks->lua), -1, 0, on_timer, task);
    }
    task->timed_out = false;
    if (event_add(task->timer, tv) < 0)
        return TG_ENOMEM;
    task->timed = true;
    return TG_OK;
}

bool tg_task_timed_out(const struct tg_task *task)
{
    return task->timed_out;
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

/* Those that are ready now: what they wake in turn has its turn later. */
static void on_ready(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct tg_lua_tasks *tasks = arg;
    uint64_t round = tasks->round++;
    struct tg_task *task;
    while ((task = TAILQ_FIRST(&tasks->ready)) != NULL && task->round <= round) {
        TAILQ_REMOVE(&tasks->ready, task, link);
        go_on(task);
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
}
