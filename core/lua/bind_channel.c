/* bind_channel.c - tg.channel, ch:put, :get, :items, :close and so on, and tg.select. */
#include "lua/bind_channel.h"

#include <lauxlib.h>

#include "lua/bind_task.h"
#include "lua/bind_time.h"
#include "lua/body_kind.h"
#include "lua/channel.h"
#include "lua/channel_body.h"
#include "lua/failure.h"
#include "lua/state.h"

static int raise_closed(lua_State *L)
{
    return luaL_error(L, "the channel is closed");
}

static int raise_stuck(lua_State *L, bool puts)
{
    tg_failure_push_status(L, 500,
                           puts ? "no task is left that could get from the channel"
                                : "no task is left that could put to the channel");
    lua_pushboolean(L, 1);
    lua_setfield(L, -2, "orphaned");
    return lua_error(L);
}

/* The channel at index, which the task that runs now uses. */
static struct tg_channel *use(lua_State *L, int index)
{
    struct tg_channel *ch = tg_channel_check(L, index);
    if (ch->scope != tg_scope_of(L)->number)
        ch->shared = true;
    return ch;
}

/* The same, to put to it. */
static struct tg_channel *feed(lua_State *L, int index)
{
    const struct tg_task *task = tg_lua_current(tg_lua_of(L));
    struct tg_channel *ch = use(L, index);
    if (task && tg_task_spawned(task))
        ch->fed = true;
    return ch;
}

/* --- tg.channel --------------------------------------------------------------------------------- */

/* tg.channel([capacity[, { shared = true }]]) */
static int l_channel(lua_State *L)
{
    lua_Integer capacity = luaL_optinteger(L, 1, 0);
    luaL_argcheck(L, capacity >= 0, 1, "expected a capacity of zero or more");
    bool shared = false;
    if (!lua_isnoneornil(L, 2)) {
        luaL_checktype(L, 2, LUA_TTABLE);
        lua_getfield(L, 2, "shared");
        shared = lua_toboolean(L, -1);
    }
    tg_channel_new(L, capacity, shared);
    return 1;
}

/* --- Putting ------------------------------------------------------------------------------------ */

static int put_ended(lua_State *L, enum tg_channel_result result)
{
    if (result == TG_CHANNEL_CLOSED)
        return raise_closed(L);
    if (result == TG_CHANNEL_STUCK)
        return raise_stuck(L, true);
    return 0;
}

/* Stack: channel, value, waiter. */
static int put_resumed(lua_State *L, int status, lua_KContext context)
{
    int n;
    (void)status;
    tg_task_resumed(L, context);
    return put_ended(L, tg_waiter_result(L, 3, &n));
}

static void check_value(lua_State *L, int index)
{
    luaL_argcheck(L, !lua_isnoneornil(L, index), index, "nil cannot be put into a channel");
}

static int l_put(lua_State *L)
{
    feed(L, 1);
    check_value(L, 2);
    lua_settop(L, 2);
    enum tg_channel_result result = tg_channel_put(L, 1, 2);
    if (result != TG_CHANNEL_WAIT)
        return put_ended(L, result);
    tg_task_check(L);
    struct tg_waiter *waiter = tg_waiter_new(L, 1);
    tg_waiter_set(L, waiter, 1, 1, 2);
    return tg_waiter_wait(L, waiter, NULL, put_resumed);
}

/* ch:try_put(value): true, or false and "full". */
static int l_try_put(lua_State *L)
{
    feed(L, 1);
    check_value(L, 2);
    lua_settop(L, 2);
    enum tg_channel_result result = tg_channel_put(L, 1, 2);
    if (result == TG_CHANNEL_CLOSED)
        return raise_closed(L);
    lua_pushboolean(L, result == TG_CHANNEL_OK);
    if (result == TG_CHANNEL_OK)
        return 1;
    lua_pushliteral(L, "full");
    return 2;
}

/* --- Getting ------------------------------------------------------------------------------------ */

static int got(lua_State *L, enum tg_channel_result result)
{
    if (result == TG_CHANNEL_STUCK)
        return raise_stuck(L, false);
    if (result != TG_CHANNEL_OK)
        lua_pushnil(L);
    return 1;
}

/* Stack: channel, waiter. */
static int get_resumed(lua_State *L, int status, lua_KContext context)
{
    int n;
    (void)status;
    tg_task_resumed(L, context);
    return got(L, tg_waiter_result(L, 2, &n));
}

int tg_channel_l_get(lua_State *L)
{
    use(L, 1);
    lua_settop(L, 1);
    enum tg_channel_result result = tg_channel_get(L, 1);
    if (result != TG_CHANNEL_WAIT)
        return got(L, result);
    tg_task_check(L);
    struct tg_waiter *waiter = tg_waiter_new(L, 1);
    tg_waiter_set(L, waiter, 1, 1, 0);
    return tg_waiter_wait(L, waiter, NULL, get_resumed);
}

/* ch:try_get(): the value, or nil and "empty" or "closed". */
static int l_try_get(lua_State *L)
{
    use(L, 1);
    lua_settop(L, 1);
    enum tg_channel_result result = tg_channel_get(L, 1);
    if (result == TG_CHANNEL_OK)
        return 1;
    if (result == TG_CHANNEL_STUCK)
        return raise_stuck(L, false);
    lua_pushnil(L);
    lua_pushstring(L, result == TG_CHANNEL_CLOSED ? "closed" : "empty");
    return 2;
}

/* for value in ch:items() do */
static int l_items(lua_State *L)
{
    use(L, 1);
    lua_pushcfunction(L, tg_channel_l_get);
    lua_pushvalue(L, 1);
    return 2;
}

/* --- The rest ----------------------------------------------------------------------------------- */

static int l_close(lua_State *L)
{
    tg_channel_close(use(L, 1));
    return 0;
}

/* ch:producer(task): when all of these have ended, nobody puts any more. */
static int l_producer(lua_State *L)
{
    struct tg_channel *ch = use(L, 1);
    struct tg_spawned *spawned = luaL_checkudata(L, 2, TG_TASK_TYPE);
    lua_settop(L, 2);
    tg_channel_claim(L, ch, spawned);
    return 1;
}

static int l_length(lua_State *L)
{
    const struct tg_channel *ch = tg_channel_check(L, 1);
    lua_pushinteger(L, ch->last - ch->first + 1);
    return 1;
}

static int l_to_string(lua_State *L)
{
    lua_pushfstring(L, "%s: %p", TG_CHANNEL_TYPE, (void *)tg_channel_check(L, 1));
    return 1;
}

/* --- tg.select ---------------------------------------------------------------------------------- */

/* Stack of select: the list, the turn of its first, then for each entry its channel and the value to
 * put, nil to get. */
enum { SELECT_BASE = 1 };

static int channel_at(int n)
{
    return SELECT_BASE + 2 * n - 1;
}

/* Pushes the channel of the nth entry, and what is to be put. */
static void push_entry(lua_State *L, int n)
{
    lua_rawgeti(L, 1, n);
    if (lua_istable(L, -1)) {
        lua_rawgeti(L, -1, 1);
        lua_rawgeti(L, -2, 2);
        lua_remove(L, -3);
        if (lua_isnil(L, -1))
            luaL_error(L, "select: [%d] has no value to put", n);
    } else {
        lua_pushnil(L);
    }
    if (!luaL_testudata(L, -2, TG_CHANNEL_TYPE))
        luaL_error(L, "select: [%d] is a %s, expected a channel, or { channel, value }", n,
                   luaL_typename(L, -2));
    if (lua_isnil(L, -1))
        use(L, lua_absindex(L, -2));
    else
        feed(L, lua_absindex(L, -2));
}

/* What has come of the nth entry: the value is on top if it got one. */
static int selected(lua_State *L, int n, bool puts, enum tg_channel_result result)
{
    if (result == TG_CHANNEL_STUCK)
        return raise_stuck(L, puts);
    if (puts && result == TG_CHANNEL_CLOSED)
        return raise_closed(L);
    if (puts)
        lua_pushboolean(L, 1);
    else if (result == TG_CHANNEL_CLOSED)
        lua_pushnil(L);
    lua_pushinteger(L, n);
    lua_insert(L, -2);
    return 2;
}

static int none_in_time(lua_State *L)
{
    lua_pushnil(L);
    lua_pushliteral(L, "timeout");
    return 2;
}

/* Stack: list, entries …, waiter. */
static int select_resumed(lua_State *L, int status, lua_KContext context)
{
    int n;
    (void)status;
    tg_task_resumed(L, context);
    /* The list is the script's, and may be another by now: the waiter is on top. */
    enum tg_channel_result result = tg_waiter_result(L, lua_gettop(L), &n);
    if (result == TG_CHANNEL_WAIT)
        return none_in_time(L);
    return selected(L, n, !lua_isnil(L, channel_at(n) + 1), result);
}

static int wait_for_any(lua_State *L, int count, const struct timeval *timeout)
{
    tg_task_check(L);
    struct tg_waiter *waiter = tg_waiter_new(L, count);
    for (int n = 1; n <= count; n++)
        tg_waiter_set(L, waiter, n, channel_at(n),
                      lua_isnil(L, channel_at(n) + 1) ? 0 : channel_at(n) + 1);
    return tg_waiter_wait(L, waiter, timeout, select_resumed);
}

/* Reads list.timeout; whether there is one. */
static bool timeout_of(lua_State *L, struct timeval *timeout)
{
    bool timed = lua_getfield(L, 1, "timeout") != LUA_TNIL;
    if (timed)
        *timeout = tg_check_duration(L, -1);
    lua_pop(L, 1);
    return timed;
}

/* tg.select { ch, …, { ch, value }, …, timeout = seconds } */
static int l_select(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    lua_Unsigned length = lua_rawlen(L, 1);
    luaL_argcheck(L, length >= 1 && length <= TG_SELECT_MAX, 1, "expected 1 to 100 channels");
    struct timeval timeout;
    bool timed = timeout_of(L, &timeout);
    int count = (int)length;
    luaL_checkstack(L, 2 * count + LUA_MINSTACK, NULL);
    for (int n = 1; n <= count; n++)
        push_entry(L, n);
    int first = (int)(tg_scope_of(L)->selects++ % length); /* none is preferred */
    for (int i = 0; i < count; i++) {
        int n = (first + i) % count + 1;
        bool puts = !lua_isnil(L, channel_at(n) + 1);
        enum tg_channel_result result = puts ? tg_channel_put(L, channel_at(n), channel_at(n) + 1)
                                             : tg_channel_get(L, channel_at(n));
        if (result != TG_CHANNEL_WAIT)
            return selected(L, n, puts, result);
    }
    if (timed && !timeout.tv_sec && !timeout.tv_usec)
        return none_in_time(L);
    return wait_for_any(L, count, timed ? &timeout : NULL);
}

/* --- Opening ------------------------------------------------------------------------------------ */

void tg_channels_open(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"channel", l_channel}, {"select", l_select}, {NULL, NULL}};
    static const luaL_Reg methods[] = {{"put", l_put},
                                       {"try_put", l_try_put},
                                       {"get", tg_channel_l_get},
                                       {"try_get", l_try_get},
                                       {"items", l_items},
                                       {"close", l_close},
                                       {"producer", l_producer},
                                       {NULL, NULL}};
    static const luaL_Reg metamethods[] = {{"__len", l_length},
                                           {"__call", tg_channel_l_get},
                                           {"__close", l_close},
                                           {"__tostring", l_to_string},
                                           {NULL, NULL}};
    tg_channel_open(L);
    luaL_getmetatable(L, TG_CHANNEL_TYPE);
    tg_body_kind_set(L, &tg_channel_kind);
    luaL_setfuncs(L, metamethods, 0);
    luaL_newlib(L, methods);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
    luaL_setfuncs(L, functions, 0);
}
