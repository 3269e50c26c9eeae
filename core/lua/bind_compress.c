/* bind_compress.c - tg.compress{…}: reads a policy, and hands it to each exchange that enters. */
#include "lua/bind_compress.h"

#include <math.h>
#include <string.h>

#include <lauxlib.h>

#include "engine/compress.h"
#include "lua/call.h"

#define POLICY_TYPE "tidegate.CompressPolicy"

struct box {
    struct tg_compress *policy;
};

static int policy_gc(lua_State *L)
{
    struct box *box = luaL_checkudata(L, 1, POLICY_TYPE);
    tg_compress_release(box->policy);
    box->policy = NULL;
    return 0;
}

/* --- Options ---------------------------------------------------------------------------------- */

static int wrong(lua_State *L, const char *option, const char *expected)
{
    return luaL_error(L, "tg.compress: %s: expected %s", option, expected);
}

static enum tg_coding coding_named(lua_State *L, const char *name, const char *option)
{
    struct tg_slice text = {name, strlen(name)};
    for (int i = TG_CODING_IDENTITY + 1; i < TG_CODINGS; i++)
        if (tg_slice_equal(text, tg_coding_name((enum tg_coding)i)))
            return (enum tg_coding)i;
    luaL_error(L, "tg.compress: %s: there is no coding %s, only zstd, br and gzip", option, name);
    return TG_CODING_IDENTITY;
}

static void take_codings(lua_State *L, struct tg_compress *policy)
{
    bool has[TG_CODINGS] = {false};
    lua_Integer count = lua_istable(L, -1) ? luaL_len(L, -1) : 0;
    if (count < 1 || count >= TG_CODINGS)
        wrong(L, "codings", "a list of zstd, br and gzip, the best first");
    policy->count = 0;
    for (lua_Integer i = 1; i <= count; i++) {
        if (lua_geti(L, -1, i) != LUA_TSTRING)
            wrong(L, "codings", "a list of zstd, br and gzip, the best first");
        enum tg_coding coding = coding_named(L, lua_tostring(L, -1), "codings");
        if (has[coding])
            luaL_error(L, "tg.compress: codings: %s is there twice", lua_tostring(L, -1));
        has[coding] = true;
        policy->codings[policy->count++] = coding;
        lua_pop(L, 1);
    }
}

static void take_levels(lua_State *L, struct tg_compress *policy)
{
    if (!lua_istable(L, -1))
        wrong(L, "levels", "a table of numbers by coding");
    lua_pushnil(L);
    while (lua_next(L, -2)) {
        int is_integer;
        lua_Integer level = lua_tointegerx(L, -1, &is_integer);
        if (lua_type(L, -2) != LUA_TSTRING)
            wrong(L, "levels", "a table of numbers by coding");
        enum tg_coding coding = coding_named(L, lua_tostring(L, -2), "levels");
        struct tg_coding_levels levels = tg_coding_levels(coding);
        if (!is_integer || level < levels.least || level > levels.most)
            luaL_error(L, "tg.compress: levels: those of %s are %d to %d", lua_tostring(L, -2),
                       levels.least, levels.most);
        policy->levels[coding] = (int)level;
        lua_pop(L, 1);
    }
}

static void take_types(lua_State *L, struct tg_compress *policy)
{
    static const char *const expected = "a list of types: text/html, text/*, *+xml";
    if (!lua_istable(L, -1))
        wrong(L, "types", expected);
    lua_Integer count = luaL_len(L, -1);
    policy->type_count = 0;
    for (lua_Integer i = 1; i <= count; i++) {
        struct tg_slice text = {NULL, 0};
        if (lua_geti(L, -1, i) == LUA_TSTRING)
            text.p = lua_tolstring(L, -1, &text.len);
        enum tg_status status = text.p ? tg_compress_add_type(policy, text) : TG_EINVAL;
        if (status == TG_ELIMIT)
            luaL_error(L, "tg.compress: types: at most %d", TG_COMPRESS_TYPES_MAX);
        if (status != TG_OK)
            wrong(L, "types", expected);
        lua_pop(L, 1);
    }
}

static void take_min_length(lua_State *L, struct tg_compress *policy)
{
    lua_Number bytes = lua_type(L, -1) == LUA_TNUMBER ? lua_tonumber(L, -1) : -1;
    if (!(bytes >= 0 && bytes < 1e15))
        wrong(L, "min_length", "a number of bytes");
    policy->min_length = (uint64_t)bytes;
}

static void take_option(lua_State *L, struct tg_compress *policy)
{
    const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "that is no name";
    if (strcmp(name, "codings") == 0)
        take_codings(L, policy);
    else if (strcmp(name, "levels") == 0)
        take_levels(L, policy);
    else if (strcmp(name, "types") == 0)
        take_types(L, policy);
    else if (strcmp(name, "min_length") == 0)
        take_min_length(L, policy);
    else
        luaL_error(L, "tg.compress: there is no option %s", name);
}

/* --- The interceptor -------------------------------------------------------------------------- */

/* Upvalue: the policy. */
static int enter(lua_State *L)
{
    const struct box *box = lua_touserdata(L, lua_upvalueindex(1));
    struct tg_call *call = tg_call_check(L, 1);
    if (call->exchange)
        tg_exchange_set_compress(call->exchange, box->policy);
    return 0;
}

static int l_compress(lua_State *L)
{
    lua_settop(L, 1);
    struct box *box = lua_newuserdatauv(L, sizeof *box, 0);
    box->policy = NULL;
    luaL_setmetatable(L, POLICY_TYPE);
    box->policy = tg_compress_new();
    if (!box->policy)
        return luaL_error(L, "not enough memory");
    if (!lua_isnil(L, 1)) {
        luaL_checktype(L, 1, LUA_TTABLE);
        lua_pushnil(L);
        while (lua_next(L, 1)) {
            take_option(L, box->policy);
            lua_pop(L, 1);
        }
    }
    lua_createtable(L, 0, 2);
    lua_pushliteral(L, "compress");
    lua_setfield(L, -2, "name");
    lua_pushvalue(L, 2);
    lua_pushcclosure(L, enter, 1);
    lua_setfield(L, -2, "enter");
    return 1;
}

void tg_compress_open(lua_State *L)
{
    static const luaL_Reg functions[] = {{"compress", l_compress}, {NULL, NULL}};
    luaL_newmetatable(L, POLICY_TYPE);
    lua_pushcfunction(L, policy_gc);
    lua_setfield(L, -2, "__gc");
    lua_pop(L, 1);
    luaL_setfuncs(L, functions, 0);
}
