/* bind_csv.c - columns, header and separator of rows. */
#include "lua/bind_csv.h"

#include <lauxlib.h>

#include "lua/bind_sequence.h"
#include "lua/body_kind.h"
#include "lua/options.h"
#include "lua/print_impl.h"

#define CSV_TYPE "tidegate.Csv"

/* --- Options: at 2 -------------------------------------------------------------------------------- */

static void check_names(lua_State *L)
{
    static const char *const names[] = {"columns", "header", "separator", NULL};
    tg_options_check_names(L, 2, "tg.csv", names);
}

/* A copy of the list, or nil, into the userdata on top. */
static void take_columns(lua_State *L, struct tg_csv *csv)
{
    int type = lua_getfield(L, 2, "columns");
    if (type == LUA_TNIL) {
        lua_pop(L, 1);
        return;
    }
    lua_Integer n = type == LUA_TTABLE ? (lua_Integer)lua_rawlen(L, -1) : 0;
    if (n < 1 || n > TG_COLUMNS_MAX)
        luaL_error(L, "tg.csv: columns is a list of 1 to %d names", TG_COLUMNS_MAX);
    lua_createtable(L, (int)n, 0);
    for (lua_Integer i = 1; i <= n; i++) {
        if (lua_rawgeti(L, -2, i) != LUA_TSTRING)
            luaL_error(L, "tg.csv: column %d is a %s, expected a name", (int)i,
                       luaL_typename(L, -1));
        lua_rawseti(L, -2, i);
    }
    lua_setiuservalue(L, -3, TG_CSV_COLUMNS);
    lua_pop(L, 1);
    csv->chosen = true;
}

static void take_header(lua_State *L, struct tg_csv *csv)
{
    int type = lua_getfield(L, 2, "header");
    if (type != LUA_TNIL && type != LUA_TBOOLEAN)
        luaL_error(L, "tg.csv: header is a boolean, this is a %s", luaL_typename(L, -1));
    csv->header = type == LUA_TNIL || lua_toboolean(L, -1);
    lua_pop(L, 1);
}

static void take_separator(lua_State *L, struct tg_csv *csv)
{
    size_t len = 0;
    int type = lua_getfield(L, 2, "separator");
    const char *text = type == LUA_TSTRING ? lua_tolstring(L, -1, &len) : "";
    if (type != LUA_TNIL && (len != 1 || strchr("\"\r\n", *text)))
        luaL_error(L, "tg.csv: separator is one character, no quote and no line break");
    if (type != LUA_TNIL)
        csv->separator = *text;
    lua_pop(L, 1);
}

static bool has_rows(lua_State *L, int index)
{
    int type = lua_type(L, index);
    return (type == LUA_TTABLE && !tg_print_is_leaf(L, index)) || type == LUA_TTHREAD ||
           tg_is_sequence(L, index);
}

static int l_csv(lua_State *L)
{
    lua_settop(L, 2);
    luaL_argexpected(L, has_rows(L, 1), 1, "table or sequence");
    struct tg_csv *csv = lua_newuserdatauv(L, sizeof *csv, TG_CSV_ROWS);
    *csv = (struct tg_csv){.separator = ',', .header = true};
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, TG_CSV_ROWS);
    luaL_setmetatable(L, CSV_TYPE);
    if (lua_isnil(L, 2))
        return 1;
    luaL_checktype(L, 2, LUA_TTABLE);
    check_names(L);
    take_columns(L, csv);
    take_header(L, csv);
    take_separator(L, csv);
    return 1;
}

/* --- As a body ------------------------------------------------------------------------------------ */

static const char *media_type(lua_State *L, const struct tg_out *out, int index)
{
    (void)out;
    const struct tg_csv *csv = lua_touserdata(L, index);
    return csv->header ? "text/csv; charset=utf-8" : "text/csv; charset=utf-8; header=absent";
}

static void describe(lua_State *L, struct tg_out *out, int index, struct tg_body_about *about)
{
    about->media_type = media_type(L, out, index);
}

static int write_csv(lua_State *L)
{
    return tg_print_csv(L, lua_touserdata(L, 1), 2);
}

void tg_csv_open(lua_State *L)
{
    static const struct tg_body_kind kind = {
        .describe = describe, .media_type = media_type, .write = write_csv};
    luaL_newmetatable(L, CSV_TYPE);
    tg_body_kind_set(L, &kind);
    lua_pop(L, 1);
    lua_pushcfunction(L, l_csv);
    lua_setfield(L, -2, "csv");
}
