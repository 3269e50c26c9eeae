/* bind_sequence.c - makes sequences; print.c runs them. */
#include "lua/bind_sequence.h"

#include <lauxlib.h>

#include "lua/bind_json.h"

#define ARRAY_TYPE  "tidegate.json.Array"
#define OBJECT_TYPE "tidegate.json.Object"

static const char mark_key = 'm'; /* its address is the key, in metatables: an enum tg_json_mark */

struct sequence {
    bool ended;
    bool restarts;
};

static bool has_metafield(lua_State *L, int index, const char *name)
{
    bool has = luaL_getmetafield(L, index, name) != LUA_TNIL;
    lua_pop(L, has ? 1 : 0);
    return has;
}

/* tg.seq(iterator, state, control, closing): what a generic for would run over. */
static int l_seq(lua_State *L)
{
    luaL_checkany(L, 1);
    lua_settop(L, TG_SEQUENCE_VALUES);
    luaL_argexpected(L, lua_isfunction(L, 1) || has_metafield(L, 1, "__call"), 1, "function");
    luaL_argexpected(L, !lua_toboolean(L, 4) || has_metafield(L, 4, "__close"), 4,
                     "value that can be closed");
    struct sequence *sequence = lua_newuserdatauv(L, sizeof *sequence, TG_SEQUENCE_VALUES);
    *sequence = (struct sequence){false, !lua_isnil(L, 2) || !lua_isnil(L, 3)};
    for (int i = 1; i <= TG_SEQUENCE_VALUES; i++) {
        lua_pushvalue(L, i);
        lua_setiuservalue(L, -2, i);
    }
    luaL_setmetatable(L, TG_SEQUENCE_TYPE);
    return 1;
}

void tg_sequence_push(lua_State *L, lua_CFunction next, int index)
{
    index = lua_absindex(L, index);
    struct sequence *sequence = lua_newuserdatauv(L, sizeof *sequence, TG_SEQUENCE_VALUES);
    *sequence = (struct sequence){false, false};
    lua_pushcfunction(L, next);
    lua_setiuservalue(L, -2, 1);
    lua_pushvalue(L, index);
    lua_setiuservalue(L, -2, 2);
    luaL_setmetatable(L, TG_SEQUENCE_TYPE);
}

bool tg_sequence_ended(lua_State *L, int index)
{
    return ((const struct sequence *)lua_touserdata(L, index))->ended;
}

void tg_sequence_end(lua_State *L, int index)
{
    struct sequence *sequence = lua_touserdata(L, index);
    sequence->ended = !sequence->restarts;
}

static int l_generate(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_newuserdatauv(L, 0, 1);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
    luaL_setmetatable(L, TG_GENERATOR_TYPE);
    return 1;
}

bool tg_is_sequence(lua_State *L, int index)
{
    return luaL_testudata(L, index, TG_SEQUENCE_TYPE) != NULL ||
           luaL_testudata(L, index, TG_GENERATOR_TYPE) != NULL;
}

/* --- tg.json ------------------------------------------------------------------------------------ */

/* Gives the table, or a new one, a metatable of this type. */
static int mark(lua_State *L, const char *type)
{
    if (lua_isnoneornil(L, 1)) {
        lua_settop(L, 0);
        lua_newtable(L);
    }
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    luaL_getmetatable(L, type);
    if (lua_getmetatable(L, 1) && !lua_rawequal(L, -1, 2))
        return luaL_error(L, "the table has a metatable already");
    lua_settop(L, 2);
    lua_setmetatable(L, 1);
    return 1;
}

static int l_array(lua_State *L)
{
    return mark(L, ARRAY_TYPE);
}

static int l_object(lua_State *L)
{
    return mark(L, OBJECT_TYPE);
}

enum tg_json_mark tg_json_mark(lua_State *L, int index)
{
    if (!lua_getmetatable(L, index))
        return TG_JSON_UNMARKED;
    lua_rawgetp(L, -1, &mark_key);
    enum tg_json_mark found = (enum tg_json_mark)lua_tointeger(L, -1);
    lua_pop(L, 2);
    return found;
}

void tg_json_push_object(lua_State *L)
{
    luaL_getmetatable(L, OBJECT_TYPE);
}

bool tg_json_is_null(lua_State *L, int index)
{
    return lua_islightuserdata(L, index) && lua_touserdata(L, index) == NULL;
}

void tg_sequence_open(lua_State *L)
{
    static const struct {
        const char *name;
        enum tg_json_mark mark;
    } types[] = {{TG_SEQUENCE_TYPE, TG_JSON_UNMARKED},
                 {TG_GENERATOR_TYPE, TG_JSON_UNMARKED},
                 {ARRAY_TYPE, TG_JSON_ARRAY},
                 {OBJECT_TYPE, TG_JSON_OBJECT}};
    static const luaL_Reg json[] = {{"array", l_array}, {"object", l_object}, {NULL, NULL}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        luaL_newmetatable(L, types[i].name);
        lua_pushinteger(L, types[i].mark);
        lua_rawsetp(L, -2, &mark_key);
        lua_pop(L, 1);
    }
    lua_pushcfunction(L, l_seq);
    lua_setfield(L, -2, "seq");
    lua_pushcfunction(L, l_generate);
    lua_setfield(L, -2, "generate");
    luaL_newlib(L, json);
    lua_pushlightuserdata(L, NULL);
    lua_setfield(L, -2, "null");
    tg_json_open(L);
    lua_setfield(L, -2, "json");
}
