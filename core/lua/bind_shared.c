/* bind_shared.c - tg.shared(name): get, set, add, incr, cas, delete, keys, ttl, clear, stats. */
#include "lua/bind_shared.h"

#include <math.h>
#include <string.h>

#include <lauxlib.h>

#include "lua/host.h"
#include "lua/options.h"
#include "lua/state.h"
#include "util/store.h"

#define SHARED_TYPE "tidegate.Shared"

enum { KEYS_MAX = 100000 };

/* The methods' upvalue is the metatable: comparing is faster than looking it up. */
static struct tg_store *check(lua_State *L)
{
    struct tg_store **store = lua_touserdata(L, 1);
    if (store && lua_getmetatable(L, 1)) {
        bool same = lua_rawequal(L, -1, lua_upvalueindex(1));
        lua_pop(L, 1);
        if (same)
            return *store;
    }
    luaL_typeerror(L, 1, SHARED_TYPE);
    return NULL;
}

static struct tg_slice check_key(lua_State *L, int index)
{
    struct tg_slice key;
    key.p = luaL_checklstring(L, index, &key.len);
    luaL_argcheck(L, key.len > 0 && key.len <= TG_STORE_KEY_MAX, index,
                  "a key has 1 to 1024 bytes");
    return key;
}

static struct tg_value check_value(lua_State *L, int index)
{
    struct tg_value value = {.kind = TG_VALUE_STRING};
    if (lua_isinteger(L, index)) {
        value.kind = TG_VALUE_INTEGER;
        value.as.integer = lua_tointeger(L, index);
    } else if (lua_type(L, index) == LUA_TNUMBER) {
        value.kind = TG_VALUE_NUMBER;
        value.as.number = lua_tonumber(L, index);
    } else if (lua_type(L, index) == LUA_TSTRING) {
        value.as.string.p = lua_tolstring(L, index, &value.as.string.len);
    } else {
        luaL_typeerror(L, index, "string or number");
    }
    return value;
}

static struct tg_value check_value_or_nil(lua_State *L, int index)
{
    if (lua_isnoneornil(L, index))
        return (struct tg_value){.kind = TG_VALUE_NONE};
    return check_value(L, index);
}

/* Seconds into milliseconds; 0 where there are none. */
static uint64_t check_ttl(lua_State *L, int index)
{
    if (lua_isnoneornil(L, index))
        return 0;
    double seconds = luaL_checknumber(L, index);
    luaL_argcheck(L, seconds > 0 && isfinite(seconds), index, "seconds are more than zero");
    if (seconds > 1e9)
        return 0; /* longer than anything lasts */
    uint64_t ms = (uint64_t)(seconds * 1000);
    return ms ? ms : 1;
}

static void push_value(lua_State *L, const struct tg_value *value)
{
    switch (value->kind) {
    case TG_VALUE_STRING:
        lua_pushlstring(L, value->as.string.p, value->as.string.len);
        break;
    case TG_VALUE_INTEGER:
        lua_pushinteger(L, value->as.integer);
        break;
    case TG_VALUE_NUMBER:
        lua_pushnumber(L, value->as.number);
        break;
    case TG_VALUE_NONE:
        lua_pushnil(L);
        break;
    }
}

/* --- Strings are copied under the store's lock, where nothing may raise -------------------------- */

enum { COPY_MAX = 512 };

struct copy {
    struct tg_value value;
    size_t len; /* of the string, however long */
    char *to;
    size_t room;
};

static void take_copy(void *arg, const struct tg_value *value)
{
    struct copy *copy = arg;
    copy->value = *value;
    if (value->kind != TG_VALUE_STRING)
        return;
    copy->len = value->as.string.len;
    copy->value.as.string.p = copy->to;
    if (copy->len && copy->len <= copy->room)
        memcpy(copy->to, value->as.string.p, copy->len);
}

static int l_get(lua_State *L)
{
    struct tg_store *store = check(L);
    struct tg_slice key = check_key(L, 2);
    char small[COPY_MAX];
    struct copy copy = {.to = small, .room = sizeof small};
    tg_store_get(store, key, take_copy, &copy);
    while (copy.value.kind == TG_VALUE_STRING && copy.len > copy.room) {
        copy.room = copy.len; /* it may be longer still the next time */
        copy.to = lua_newuserdatauv(L, copy.room, 0);
        tg_store_get(store, key, take_copy, &copy);
    }
    push_value(L, &copy.value);
    return 1;
}

static int refuse(lua_State *L, enum tg_status status)
{
    if (status == TG_ELIMIT)
        return luaL_error(L, "the value is larger than the whole store");
    if (status == TG_EINVAL)
        return luaL_error(L, "the value is a string, no number");
    return luaL_error(L, "not enough memory");
}

static int l_set(lua_State *L)
{
    struct tg_store *store = check(L);
    struct tg_slice key = check_key(L, 2);
    struct tg_value value = check_value_or_nil(L, 3);
    uint64_t ttl = check_ttl(L, 4);
    if (value.kind == TG_VALUE_NONE) {
        tg_store_delete(store, key);
        return 0;
    }
    enum tg_status status = tg_store_set(store, key, &value, ttl);
    return status == TG_OK ? 0 : refuse(L, status);
}

static int push_done(lua_State *L, enum tg_status status)
{
    if (status < 0)
        return refuse(L, status);
    lua_pushboolean(L, status == TG_OK);
    return 1;
}

static int l_add(lua_State *L)
{
    struct tg_store *store = check(L);
    struct tg_slice key = check_key(L, 2);
    struct tg_value value = check_value(L, 3);
    return push_done(L, tg_store_add(store, key, &value, check_ttl(L, 4)));
}

static int l_cas(lua_State *L)
{
    struct tg_store *store = check(L);
    struct tg_slice key = check_key(L, 2);
    struct tg_value old = check_value_or_nil(L, 3);
    struct tg_value value = check_value_or_nil(L, 4);
    return push_done(L, tg_store_swap(store, key, &old, &value, check_ttl(L, 5)));
}

static int l_incr(lua_State *L)
{
    struct tg_store *store = check(L);
    struct tg_slice key = check_key(L, 2);
    struct tg_value by = {.kind = TG_VALUE_INTEGER, .as.integer = 1};
    struct tg_value sum;
    if (!lua_isnoneornil(L, 3)) {
        luaL_checktype(L, 3, LUA_TNUMBER);
        by = check_value(L, 3);
    }
    enum tg_status status = tg_store_increment(store, key, &by, check_ttl(L, 4), &sum);
    if (status != TG_OK)
        return refuse(L, status);
    push_value(L, &sum);
    return 1;
}

static int l_delete(lua_State *L)
{
    struct tg_store *store = check(L);
    lua_pushboolean(L, tg_store_delete(store, check_key(L, 2)));
    return 1;
}

static int l_ttl(lua_State *L)
{
    struct tg_store *store = check(L);
    uint64_t ttl = tg_store_ttl(store, check_key(L, 2));
    if (ttl == UINT64_MAX || !ttl)
        lua_pushnil(L);
    else
        lua_pushnumber(L, (double)ttl / 1000);
    return 1;
}

static int l_clear(lua_State *L)
{
    tg_store_clear(check(L));
    return 0;
}

/* Keys are gathered in a block of Lua's under the lock, and made strings after it. */
struct keys {
    char *to;
    size_t room;
    size_t needed;
    size_t left;
};

static bool take_key(void *arg, struct tg_slice key)
{
    struct keys *keys = arg;
    uint32_t len = (uint32_t)key.len;
    if (!keys->left)
        return false;
    keys->left--;
    if (keys->needed + sizeof len + key.len <= keys->room) {
        memcpy(keys->to + keys->needed, &len, sizeof len);
        memcpy(keys->to + keys->needed + sizeof len, key.p, key.len);
    }
    keys->needed += sizeof len + key.len;
    return true;
}

static int l_keys(lua_State *L)
{
    struct tg_store *store = check(L);
    struct tg_slice prefix;
    prefix.p = luaL_optlstring(L, 2, "", &prefix.len);
    lua_Integer most = luaL_optinteger(L, 3, KEYS_MAX);
    luaL_argcheck(L, most >= 0, 3, "a number of keys is not negative");
    struct keys keys = {.room = 4096, .needed = 0};
    do {
        keys.room = keys.needed > keys.room ? keys.needed + 4096 : keys.room;
        lua_settop(L, 2);
        keys.to = lua_newuserdatauv(L, keys.room, 0);
        keys.needed = 0;
        keys.left = (size_t)most;
        tg_store_keys(store, prefix, take_key, &keys);
    } while (keys.needed > keys.room);
    lua_newtable(L);
    lua_Integer n = 0;
    for (size_t at = 0; at < keys.needed;) {
        uint32_t len;
        memcpy(&len, keys.to + at, sizeof len);
        lua_pushlstring(L, keys.to + at + sizeof len, len);
        lua_rawseti(L, -2, ++n);
        at += sizeof len + len;
    }
    return 1;
}

static int l_stats(lua_State *L)
{
    struct tg_store_stats stats;
    tg_store_stats(check(L), &stats);
    lua_createtable(L, 0, 4);
    lua_pushinteger(L, (lua_Integer)stats.count);
    lua_setfield(L, -2, "count");
    lua_pushinteger(L, (lua_Integer)stats.bytes);
    lua_setfield(L, -2, "bytes");
    lua_pushinteger(L, (lua_Integer)stats.bytes_max);
    lua_setfield(L, -2, "bytes_max");
    lua_pushinteger(L, (lua_Integer)stats.evicted);
    lua_setfield(L, -2, "evicted");
    return 1;
}

/* --- tg.shared ---------------------------------------------------------------------------------- */

static size_t check_bytes(lua_State *L, int index)
{
    static const char *const names[] = {"bytes", NULL};
    if (lua_isnoneornil(L, index))
        return 0;
    luaL_checktype(L, index, LUA_TTABLE);
    tg_options_check_names(L, index, "tg.shared", names);
    lua_getfield(L, index, "bytes");
    lua_Integer bytes = luaL_optinteger(L, -1, 0);
    luaL_argcheck(L, bytes >= 0, index, "bytes are not negative");
    lua_pop(L, 1);
    return (size_t)bytes;
}

static int l_shared(lua_State *L)
{
    struct tg_slice name;
    name.p = luaL_checklstring(L, 1, &name.len);
    size_t bytes = check_bytes(L, 2);
    const struct tg_lua_host *host = tg_lua_host(L);
    if (!host || !host->stores)
        return luaL_error(L, "tg.shared: there is no gateway around this state");
    struct tg_store **store = lua_newuserdatauv(L, sizeof(struct tg_store *), 0);
    switch (tg_stores_open(host->stores, name, bytes, store)) {
    case TG_OK:
        break;
    case TG_ELIMIT:
        return luaL_argerror(L, 1, "a name has 1 to 128 bytes, and there may be 1024 stores");
    default:
        return luaL_error(L, "not enough memory");
    }
    luaL_setmetatable(L, SHARED_TYPE);
    return 1;
}

void tg_shared_open(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"get", l_get}, {"set", l_set},       {"add", l_add},   {"incr", l_incr},
        {"cas", l_cas}, {"delete", l_delete}, {"keys", l_keys}, {"clear", l_clear},
        {"ttl", l_ttl}, {"stats", l_stats},   {NULL, NULL},
    };
    luaL_newmetatable(L, SHARED_TYPE);
    luaL_newlibtable(L, methods);
    lua_pushvalue(L, -2);
    luaL_setfuncs(L, methods, 1);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
    lua_pushcfunction(L, l_shared);
    lua_setfield(L, -2, "shared");
}
