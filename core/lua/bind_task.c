/* bind_task.c - tg.spawn, tg.detach, and task:join, :cancel and :status. */
#include "lua/bind_task.h"

#include <lauxlib.h>

#include "lua/bind_group.h"
#include "lua/call.h"
#include "lua/failure.h"

static struct tg_spawned *check(lua_State *L, int index)
{
    return luaL_checkudata(L, index, TG_TASK_TYPE);
}

static void on_done(void *owner, enum tg_lua_result result);

/* NULL in any other task: a body that is read (lua/body_reader.c) was spawned, too. */
static struct tg_spawned *current(lua_State *L)
{
    const struct tg_task *task = tg_lua_current(tg_lua_of(L));
    return task ? tg_task_owner(task, on_done) : NULL;
}

/* --- What failed and nobody has joined --------------------------------------------------------- */

static void unlink_failed(struct tg_spawned *spawned)
{
    if (!spawned->back_failed)
        return;
    *spawned->back_failed = spawned->next_failed;
    if (spawned->next_failed)
        spawned->next_failed->back_failed = spawned->back_failed;
    spawned->back_failed = NULL;
}

void tg_spawned_forget(struct tg_scope *scope)
{
    while (scope->failed)
        unlink_failed(scope->failed);
}

static void link_failed(struct tg_spawned *spawned, struct tg_scope *scope)
{
    spawned->next_failed = scope->failed;
    spawned->back_failed = &scope->failed;
    if (scope->failed)
        scope->failed->back_failed = &spawned->next_failed;
    scope->failed = spawned;
}

/* Of the value on top: good while that is there. */
static const char *message_of(lua_State *L)
{
    if (lua_istable(L, -1)) { /* without its metamethods: what was raised is the script's */
        lua_pushliteral(L, "message");
        lua_rawget(L, -2);
        lua_remove(L, -2);
    }
    const char *message = lua_tostring(L, -1);
    return message ? message : "(no message)";
}

static void log_failure(lua_State *L, const struct tg_spawned *spawned, const char *name)
{
    const struct tg_log *log = tg_lua_log(tg_lua_of(L));
    const char *traceback = NULL;
    lua_rawgeti(L, LUA_REGISTRYINDEX, spawned->failure);
    if (lua_isnil(L, -1)) {
        tg_log(log, TG_LOG_ERROR, "%s%sa task has failed: not enough memory", name ? name : "",
               name ? ": " : "");
        lua_pop(L, 1);
        return;
    }
    lua_rawgeti(L, -1, 2);
    traceback = lua_tostring(L, -1);
    lua_rawgeti(L, -2, 1);
    tg_log(log, TG_LOG_ERROR, "%s%sa task has failed: %s%s%s", name ? name : "", name ? ": " : "",
           message_of(L), traceback ? "; " : "", traceback ? traceback : "");
    lua_pop(L, 3);
}

struct logging {
    struct tg_scope *scope;
    const char *name;
};

static int log_first(lua_State *L)
{
    const struct logging *logging = lua_touserdata(L, 1);
    struct tg_spawned *spawned = logging->scope->failed;
    unlink_failed(spawned);
    log_failure(L, spawned, logging->name);
    return 0;
}

void tg_spawned_log(struct tg_lua *lua, struct tg_scope *scope, const char *name)
{
    struct logging logging = {scope, name};
    while (scope->failed)
        if (tg_lua_enter(lua, log_first, &logging) != TG_LUA_DONE)
            tg_log(tg_lua_log(lua), TG_LOG_ERROR, "a task has failed: %s", tg_lua_error(lua));
}

/* --- Its end ---------------------------------------------------------------------------------- */

struct failing {
    struct tg_task *task;
    struct tg_spawned *spawned;
    bool closed; /* what was raised is tg.closed: no error */
};

static int keep_failure(lua_State *L)
{
    struct failing *f = lua_touserdata(L, 1);
    lua_createtable(L, 2, 0);
    tg_task_push_error(L, f->task);
    lua_rawseti(L, -3, 2);
    tg_failure_push_closed(L);
    f->closed = lua_rawequal(L, -1, -2);
    lua_pop(L, 1);
    lua_rawseti(L, -2, 1);
    f->spawned->failure = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

static void fail(struct tg_lua *lua, struct tg_spawned *spawned)
{
    struct failing f = {spawned->task, spawned, false};
    struct tg_scope *scope = tg_task_scope(spawned->task);
    bool awaited = spawned->group || !tg_queue_empty(&spawned->joiners);
    spawned->failure = LUA_REFNIL;
    tg_lua_enter(lua, keep_failure, &f);
    if (f.closed)
        return;
    link_failed(spawned, scope);
    if (!scope->user && !awaited) /* it ends with nothing that one could wait for */
        tg_spawned_log(lua, scope, NULL);
}

/* It is over: who waits for it is told, and C lets go of it. */
static void on_done(void *owner, enum tg_lua_result result)
{
    struct tg_spawned *spawned = owner;
    struct tg_lua *lua = tg_task_lua(spawned->task);
    spawned->result = result;
    spawned->joins =
        NULL; /* it may have been cancelled while it joined, and nothing holds that one now */
    if (result == TG_LUA_FAILED || result == TG_LUA_NOMEM)
        fail(lua, spawned);
    struct tg_scope *scope = tg_task_scope(spawned->task);
    if (!scope->user && scope->main == spawned->task) /* detached: its scope ends with it */
        tg_spawned_log(lua, scope, NULL);
    tg_task_free(spawned->task);
    spawned->task = NULL;
    tg_channel_unclaim(spawned);
    tg_queue_wake(&spawned->joiners);
    tg_group_ended(spawned);
    luaL_unref(tg_lua_main(lua), LUA_REGISTRYINDEX, spawned->ref); /* last: it may be gone */
}

/* --- Its life --------------------------------------------------------------------------------- */

/* Stack: spawned, results …. */
static int returned(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    (void)context;
    struct tg_spawned *spawned = lua_touserdata(L, 1);
    spawned->count = lua_gettop(L) - 1;
    luaL_checkstack(L, 3, "too many results of a task");
    lua_rawgeti(L, LUA_REGISTRYINDEX, spawned->ref);
    lua_replace(L, 1);
    if (spawned->count > 1) {
        lua_createtable(L, spawned->count, 0);
        lua_insert(L, 2);
        for (int i = spawned->count; i >= 1; i--)
            lua_rawseti(L, 2, i);
    }
    if (spawned->count)
        lua_setiuservalue(L, 1, 1);
    return 0;
}

/* Stack: spawned, function, arguments …. */
static int run(lua_State *L)
{
    lua_callk(L, lua_gettop(L) - 2, LUA_MULTRET, 0, returned);
    return returned(L, LUA_OK, 0);
}

struct tg_spawned *tg_spawn(lua_State *L, int nargs)
{
    int fn = lua_gettop(L) - nargs;
    tg_channel_given(L, fn, nargs);
    tg_task_spawn_check(L);
    struct tg_spawned *spawned = lua_newuserdatauv(L, sizeof *spawned, 1);
    *spawned = (struct tg_spawned){.failure = LUA_NOREF, .result = TG_LUA_WAITING};
    tg_queue_init(&spawned->joiners);
    LIST_INIT(&spawned->claims);
    luaL_setmetatable(L, TG_TASK_TYPE);
    lua_pushvalue(L, -1);
    int ref = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_insert(L, fn);
    spawned->task = tg_task_spawn(L, nargs + 1, run, on_done, spawned);
    if (!spawned->task) {
        luaL_unref(L, LUA_REGISTRYINDEX, ref);
        luaL_error(L, "not enough memory");
    }
    spawned->ref = ref;
    return spawned;
}

static int gc(lua_State *L)
{
    struct tg_spawned *spawned = check(L, 1);
    if (spawned->back_failed) {
        unlink_failed(spawned);
        log_failure(L, spawned, NULL);
    }
    luaL_unref(L, LUA_REGISTRYINDEX, spawned->failure);
    spawned->failure = LUA_NOREF;
    return 0;
}

/* --- Joining ---------------------------------------------------------------------------------- */

static int raise_cancelled(lua_State *L)
{
    tg_failure_push_status(L, 500, "the task was cancelled");
    lua_pushboolean(L, 1);
    lua_setfield(L, -2, "cancelled");
    return lua_error(L);
}

static int raise_failure(lua_State *L, struct tg_spawned *spawned)
{
    struct tg_task *task = tg_lua_current(tg_lua_of(L));
    unlink_failed(spawned);
    lua_rawgeti(L, LUA_REGISTRYINDEX, spawned->failure);
    if (lua_isnil(L, -1))
        return luaL_error(L, "not enough memory");
    lua_rawgeti(L, -1, 1);
    lua_insert(L, -2);
    if (task)
        tg_task_set_cause(L, task);
    else
        lua_pop(L, 1);
    return lua_error(L);
}

int tg_spawned_outcome(lua_State *L, int index)
{
    struct tg_spawned *spawned = lua_touserdata(L, index);
    if (spawned->result == TG_LUA_CANCELLED)
        return raise_cancelled(L);
    if (spawned->result != TG_LUA_DONE)
        return raise_failure(L, spawned);
    if (spawned->count)
        lua_getiuservalue(L, index, 1);
    if (spawned->count <= 1)
        return spawned->count;
    int list = lua_gettop(L);
    luaL_checkstack(L, spawned->count, "too many results of a task");
    for (int i = 1; i <= spawned->count; i++)
        lua_rawgeti(L, list, i);
    return spawned->count;
}

static int joined(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    tg_task_resumed(L, context);
    struct tg_spawned *self = current(L);
    if (self)
        self->joins = NULL;
    return tg_spawned_outcome(L, 1);
}

/* Two that waited for each other would do so for ever. */
static void check_circle(lua_State *L, const struct tg_spawned *spawned,
                         const struct tg_spawned *self)
{
    if (spawned == self)
        luaL_error(L, "a task cannot join itself");
    for (; spawned; spawned = spawned->joins)
        if (spawned == self)
            luaL_error(L, "cannot join a task that waits for this one to end");
}

static int l_join(lua_State *L)
{
    struct tg_task_wait wait = {NULL, NULL};
    struct tg_spawned *spawned = check(L, 1);
    lua_settop(L, 1);
    if (spawned->result != TG_LUA_WAITING)
        return tg_spawned_outcome(L, 1);
    struct tg_task *task = tg_task_check(L);
    struct tg_spawned *self = current(L);
    if (self) {
        check_circle(L, spawned, self);
        self->joins = spawned;
    }
    if (tg_task_scope(spawned->task) == tg_task_scope(task))
        tg_task_stick(task);
    return tg_queue_wait(L, &spawned->joiners, &wait, joined);
}

/* --- The other methods ------------------------------------------------------------------------ */

void tg_spawned_cancel(struct tg_spawned *spawned)
{
    if (spawned->task)
        tg_task_cancel_spawned(spawned->task);
}

static int never(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    tg_task_resumed(L, context);
    return 0;
}

static int l_cancel(lua_State *L)
{
    struct tg_task_wait wait = {NULL, NULL};
    tg_spawned_cancel(check(L, 1));
    const struct tg_spawned *self = current(L);
    if (self && tg_task_doomed(self->task)) {
        tg_task_check(L);
        return tg_task_wait(L, &wait, never);
    }
    return 0;
}

static int l_status(lua_State *L)
{
    static const char *const ended[] = {
        [TG_LUA_DONE] = "done",           [TG_LUA_FAILED] = "failed",   [TG_LUA_NOMEM] = "failed",
        [TG_LUA_CANCELLED] = "cancelled", [TG_LUA_WAITING] = "waiting",
    };
    const struct tg_spawned *spawned = check(L, 1);
    bool runs = spawned->task && !tg_task_waiting(spawned->task);
    lua_pushstring(L, runs ? "running" : ended[spawned->result]);
    return 1;
}

static int l_tostring(lua_State *L)
{
    lua_pushfstring(L, "%s: %p", TG_TASK_TYPE, (void *)check(L, 1));
    return 1;
}

/* --- tg.spawn, tg.detach ------------------------------------------------------------------------ */

static int l_spawn(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TFUNCTION);
    tg_spawn(L, lua_gettop(L) - 1);
    return 1;
}

/* tg.detach(task), or tg.detach(function, …), which spawns. */
static int l_detach(lua_State *L)
{
    if (lua_isfunction(L, 1))
        tg_spawn(L, lua_gettop(L) - 1);
    else
        lua_settop(L, 1);
    const struct tg_spawned *spawned = check(L, 1);
    if (spawned->task && !tg_task_detach(L, spawned->task))
        return luaL_error(
            L, "a task can be detached until it begins, which is at the next wait of who "
               "has spawned it");
    return 1;
}

/* tg.background(function, …): as one that was spawned while the script was loaded. */
static int l_background(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TFUNCTION);
    tg_task_hand_over(tg_spawn(L, lua_gettop(L) - 1)->task);
    return 1;
}

void tg_task_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"spawn", l_spawn}, {"detach", l_detach}, {"background", l_background}, {NULL, NULL}};
    static const luaL_Reg methods[] = {
        {"join", l_join}, {"cancel", l_cancel}, {"status", l_status}, {NULL, NULL}};
    static const luaL_Reg metamethods[] = {
        {"__gc", gc}, {"__close", l_cancel}, {"__tostring", l_tostring}, {NULL, NULL}};
    luaL_newmetatable(L, TG_TASK_TYPE);
    luaL_setfuncs(L, metamethods, 0);
    luaL_newlib(L, methods);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
    luaL_setfuncs(L, functions, 0);
}
