/* task_tree.c - tasks below tasks: what is spawned, what ends with what, and cancelling all of it. */
#include <assert.h>

#include <lauxlib.h>

#include "lua/bind_task.h"
#include "lua/task_impl.h"
#include "util/mem.h"

/* --- The tree --------------------------------------------------------------------------------- */

static void attach(struct tg_task *task, struct tg_task *parent)
{
    struct tg_task **head = parent ? &parent->children : &task->tasks->top;
    task->parent = parent;
    task->back = head;
    task->sibling = *head;
    if (*head)
        (*head)->back = &task->sibling;
    *head = task;
}

static void detach(struct tg_task *task)
{
    *task->back = task->sibling;
    if (task->sibling)
        task->sibling->back = task->back;
    task->back = NULL;
}

/* With all that is below it. */
static void change_scope(struct tg_task *task, struct tg_scope *scope)
{
    task->scope->live--;
    task->scope->stuck -= task->stuck;
    scope->live++;
    scope->stuck += task->stuck;
    task->scope = scope;
    for (struct tg_task *child = task->children; child; child = child->sibling)
        change_scope(child, scope);
}

/* child's parent will not be there: it goes to the one above. */
static void move_up(struct tg_task *child)
{
    const struct tg_task *parent = child->parent;
    if (parent->scope->main == parent)
        change_scope(child, &child->tasks->scope);
    detach(child);
    attach(child, parent->parent);
}

static unsigned depth_of(const struct tg_task *task)
{
    unsigned depth = 0;
    for (; task; task = task->parent)
        depth++;
    return depth;
}

/* --- Scopes ----------------------------------------------------------------------------------- */

void tg_task_open_scope(struct tg_task *task, struct tg_scope *scope, void *user)
{
    *scope = (struct tg_scope){.user = user, .number = ++task->tasks->scopes, .main = task};
    task->scope = scope;
}

struct tg_scope *tg_task_scope(const struct tg_task *task)
{
    return task->scope;
}

struct tg_scope *tg_scope_of(lua_State *L)
{
    struct tg_lua_tasks *tasks = tg_lua_tasks_of(L);
    return tasks->current ? tasks->current->scope : &tasks->scope;
}

bool tg_task_detach(lua_State *L, struct tg_task *task)
{
    assert(task->spawned);
    if (!task->begin)
        return false;
    if (task->owns_scope)
        return true;
    struct tg_scope *scope = tg_malloc(sizeof *scope);
    if (!scope)
        return luaL_error(L, "not enough memory");
    task->scope->live--;
    tg_task_open_scope(task, scope, NULL);
    task->owns_scope = true;
    task->tasks->detached++;
    detach(task);
    attach(task, NULL);
    return true;
}

void tg_task_hand_over(struct tg_task *task)
{
    assert(task->begin && !task->owns_scope);
    change_scope(task, &task->tasks->scope);
    detach(task);
    attach(task, NULL);
}

static void leave_scope(struct tg_task *task)
{
    if (!task->owns_scope) {
        task->scope->live--;
        tg_scope_check(task->scope, task->tasks);
        return;
    }
    tg_spawned_forget(task->scope);
    tg_free(task->scope);
    task->scope = &task->tasks->scope;
    task->owns_scope = false;
    if (!--task->tasks->detached)
        tg_queue_wake(&task->tasks->idle);
}

unsigned tg_task_detached(struct tg_lua *lua)
{
    return tg_lua_tasks(lua)->detached;
}

int tg_task_wait_detached(lua_State *L, uint64_t ms, lua_KFunction k)
{
    static const struct tg_task_wait wait = {NULL, NULL};
    struct timeval tv = {(time_t)(ms / 1000), (suseconds_t)(ms % 1000) * 1000};
    struct tg_task *task = tg_task_check(L);
    if (ms && tg_task_arm_timer(task, &tv) != TG_OK)
        return luaL_error(L, "not enough memory");
    return tg_queue_wait(L, &tg_lua_tasks_of(L)->idle, &wait, k);
}

/* --- Scopes that are stuck -------------------------------------------------------------------- */

void tg_task_stick(struct tg_task *task)
{
    task->sticking = true;
}

void tg_task_on_stuck(struct tg_lua *lua, void (*fn)(struct tg_scope *scope))
{
    tg_lua_tasks(lua)->on_stuck = fn;
}

struct tg_task *tg_scope_next(const struct tg_scope *scope, const struct tg_task *task)
{
    if (!task)
        return scope->main;
    if (task->children)
        return task->children;
    while (task != scope->main && !task->sibling)
        task = task->parent;
    return task == scope->main ? NULL : task->sibling;
}

void *tg_task_waits_by(const struct tg_task *task, void (*cancel)(void *arg))
{
    return task->state == TG_TASK_WAITING && task->wait.cancel == cancel ? task->wait.arg : NULL;
}

void tg_scope_check(struct tg_scope *scope, const struct tg_lua_tasks *tasks)
{
    if (!scope->stuck || !scope->main || !tasks->on_stuck)
        return;
    if (scope->stuck == scope->live + (scope->main->state != TG_TASK_IDLE))
        tasks->on_stuck(scope);
}

/* --- Life ------------------------------------------------------------------------------------- */

void tg_task_spawn_check(lua_State *L)
{
    struct tg_lua_tasks *tasks = tg_lua_tasks_of(L);
    if (!tasks->current && tasks->closing)
        luaL_error(L, "cannot spawn here: the task has ended");
    if (depth_of(tasks->current) >= TG_TASK_DEPTH_MAX)
        luaL_error(L, "cannot spawn here: tasks are nested deeper than %d", TG_TASK_DEPTH_MAX);
    if (tasks->pooled)
        return;
    struct tg_coroutine made = {lua_newthread(L), LUA_NOREF};
    lua_sethook(made.co, NULL, 0, 0); /* which it has of L */
    made.ref = luaL_ref(L, LUA_REGISTRYINDEX);
    tasks->pool[tasks->pooled++] = made;
}

struct tg_task *tg_task_spawn(lua_State *L, int nargs, lua_CFunction fn, tg_task_done_fn done,
                              void *owner)
{
    struct tg_lua_tasks *tasks = tg_lua_tasks_of(L);
    assert(tasks->pooled);
    struct tg_task *task = tg_task_new(tasks->lua, done, owner);
    if (!task || !lua_checkstack(task->thread.co, nargs + 2)) {
        tg_task_free(task);
        return NULL;
    }
    lua_State *co = task->thread.co;
    lua_pushcfunction(co, fn);
    lua_pushlightuserdata(co, owner);
    lua_xmove(L, co, nargs);
    task->begin = nargs + 1;
    task->spawned = true;
    if (tasks->current)
        task->scope = tasks->current->scope;
    task->scope->live++;
    attach(task, tasks->current);
    tg_task_make_ready(task);
    return task;
}

bool tg_task_spawned(const struct tg_task *task)
{
    return task->spawned;
}

void tg_task_leave(struct tg_task *task)
{
    if (task->owns_scope)
        tg_task_cancel_children(task);
    while (task->children)
        move_up(task->children);
    detach(task);
    leave_scope(task);
}

/* --- Cancelling ------------------------------------------------------------------------------- */

static void cancel_now(struct tg_task *task)
{
    tg_task_disarm(task);
    tg_task_cancel_children(task);
    tg_task_close(task);
    tg_task_leave(task);
    task->done(task->owner, TG_LUA_CANCELLED);
}

void tg_task_cancel_children(struct tg_task *task)
{
    struct tg_task *child;
    while ((child = task->children) != NULL) {
        if (tg_task_waiting(child)) {
            cancel_now(child);
        } else {
            child->doomed = true;
            move_up(child);
        }
    }
}

void tg_task_cancel_spawned(struct tg_task *task)
{
    bool waits = tg_task_waiting(task);
    if (waits && task->tasks->closing < TG_TASK_CLOSING_MAX) {
        cancel_now(task);
        return;
    }
    task->doomed = true;
    if (task->state != TG_TASK_WAITING)
        return;
    tg_task_disarm(task);
    tg_task_make_ready(task);
}

bool tg_task_doomed(const struct tg_task *task)
{
    return task->doomed;
}

void tg_lua_tasks_stop(struct tg_lua_tasks *tasks)
{
    while (tasks->top)
        cancel_now(tasks->top);
}
