/* bind_group.c - groups, which tg.all, tg.race and tg.timeout are made of (lua/tidegate/tasks.lua). */
#include "lua/bind_group.h"

#include <lauxlib.h>

#include "lua/bind_task.h"
#include "lua/bind_time.h"
#include "lua/task.h"

#define GROUP_TYPE "tidegate.Group"

TAILQ_HEAD(members, tg_spawned);

/* A userdata.  Its user value has the members that next() has not given yet, by their address. */
struct tg_group {
    struct members running;
    struct members ended; /* in this order */
    struct tg_queue waiting;
};

static struct tg_group *check(lua_State *L)
{
    return luaL_checkudata(L, 1, GROUP_TYPE);
}

void tg_group_ended(struct tg_spawned *spawned)
{
    struct tg_group *group = spawned->group;
    if (!group)
        return;
    TAILQ_REMOVE(&group->running, spawned, member);
    TAILQ_INSERT_TAIL(&group->ended, spawned, member);
    tg_queue_wake(&group->waiting);
}

static void let_go(struct members *members)
{
    struct tg_spawned *spawned;
    while ((spawned = TAILQ_FIRST(members)) != NULL) {
        TAILQ_REMOVE(members, spawned, member);
        spawned->group = NULL;
        tg_spawned_cancel(spawned);
    }
}

/* Cancels those that run; who waits for one hears that there is none. */
static int group_close(lua_State *L)
{
    struct tg_group *group = check(L);
    let_go(&group->running);
    let_go(&group->ended);
    tg_queue_wake(&group->waiting);
    return 0;
}

/* Whoever would wait holds it. */
static int group_gc(lua_State *L)
{
    struct tg_group *group = check(L);
    let_go(&group->running);
    let_go(&group->ended);
    return 0;
}

/* core.group() */
static int l_group(lua_State *L)
{
    struct tg_group *group = lua_newuserdatauv(L, sizeof *group, 1);
    TAILQ_INIT(&group->running);
    TAILQ_INIT(&group->ended);
    tg_queue_init(&group->waiting);
    lua_newtable(L);
    lua_setiuservalue(L, -2, 1);
    luaL_setmetatable(L, GROUP_TYPE);
    return 1;
}

/* group:spawn(function, …): as tg.spawn. */
static int l_spawn(lua_State *L)
{
    struct tg_group *group = check(L);
    luaL_checktype(L, 2, LUA_TFUNCTION);
    struct tg_spawned *spawned = tg_spawn(L, lua_gettop(L) - 2);
    lua_getiuservalue(L, 1, 1);
    lua_pushvalue(L, -2);
    lua_rawsetp(L, -2, spawned); /* if it raises, the task is no member, and goes on */
    lua_pop(L, 1);
    TAILQ_INSERT_TAIL(&group->running, spawned, member);
    spawned->group = group;
    return 1;
}

/* Pushes the first of those that have ended. */
static int give(lua_State *L, struct tg_group *group)
{
    struct tg_spawned *spawned = TAILQ_FIRST(&group->ended);
    TAILQ_REMOVE(&group->ended, spawned, member);
    spawned->group = NULL;
    lua_getiuservalue(L, 1, 1);
    lua_rawgetp(L, -1, spawned);
    lua_pushnil(L);
    lua_rawsetp(L, -3, spawned);
    return 1;
}

static bool all_in_scope(const struct tg_group *group, const struct tg_scope *scope)
{
    const struct tg_spawned *spawned;
    TAILQ_FOREACH(spawned, &group->running, member)
    if (tg_task_scope(spawned->task) != scope)
        return false;
    return true;
}

static int l_next(lua_State *L);

/* Another task may have been given what has woken this one. */
static int resumed(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    tg_task_resumed(L, context);
    const struct tg_group *group = check(L);
    if (lua_isnil(L, 2) || !TAILQ_EMPTY(&group->ended) || TAILQ_EMPTY(&group->running))
        return l_next(L);
    lua_pushboolean(L, 0);
    return 1;
}

/* group:next([seconds]): the next member that has ended; nil when there is none left, false when none
 * has in time. */
static int l_next(lua_State *L)
{
    struct tg_group *group = check(L);
    struct tg_task_wait wait = {NULL, NULL};
    lua_settop(L, 2);
    if (!TAILQ_EMPTY(&group->ended))
        return give(L, group);
    if (TAILQ_EMPTY(&group->running)) {
        lua_pushnil(L);
        return 1;
    }
    struct tg_task *task = tg_task_check(L);
    if (!lua_isnil(L, 2)) {
        struct timeval tv = tg_check_duration(L, 2);
        if (tg_task_arm_timer(task, &tv) != TG_OK)
            return luaL_error(L, "not enough memory");
    } else if (all_in_scope(group, tg_task_scope(task))) {
        tg_task_stick(task);
    }
    return tg_queue_wait(L, &group->waiting, &wait, resumed);
}

void tg_group_open(lua_State *L)
{
    static const luaL_Reg methods[] = {{"spawn", l_spawn}, {"next", l_next}, {NULL, NULL}};
    static const luaL_Reg metamethods[] = {
        {"__close", group_close}, {"__gc", group_gc}, {NULL, NULL}};
    luaL_newmetatable(L, GROUP_TYPE);
    luaL_setfuncs(L, metamethods, 0);
    luaL_newlib(L, methods);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
    lua_pushcfunction(L, l_group);
    lua_setfield(L, -2, "group");
}
