/* fetch_response.c - { status, headers, length, body } of another server.
 *
 * A proxy passes most headers on as they are: as long as no script looks at them they stay as they
 * came, and the response holds its first body under a key of its own.
 */
#include "lua/fetch_response.h"

#include <string.h>

#include <lauxlib.h>

#include "lua/fetch_body.h"
#include "lua/fields.h"

#define RESPONSE_TYPE "tidegate.UpstreamResponse"

static const char source_key = 's'; /* its address is the key */

static bool is(struct tg_slice name, struct tg_slice other)
{
    return tg_slice_equal_nocase(name, other);
}

/* The connection's fields go no further, and what was decoded is not coded. */
bool tg_fetch_response_field(const struct tg_fetch_body *body, size_t *n,
                             struct tg_fetch_field *field)
{
    while (tg_upstream_head_field(&body->head, *n, field)) {
        size_t this = (*n)++;
        if (body->decoded && is(field->name, TG_SLICE("content-encoding")))
            continue;
        if (!tg_upstream_head_is_hop(&body->head, this))
            return true;
    }
    return false;
}

/* --- Headers as a table ------------------------------------------------------------------------ */

/* The name of a field before the nth that is the same, as it was written there; or none. */
static struct tg_slice find_earlier(const struct tg_fetch_body *body, size_t before,
                                    struct tg_slice name)
{
    struct tg_fetch_field other;
    for (size_t i = 0; i < before && tg_upstream_head_field(&body->head, i, &other); i++)
        if (is(other.name, name))
            return other.name;
    return (struct tg_slice){NULL, 0};
}

static void push_headers(lua_State *L, const struct tg_fetch_body *body)
{
    struct tg_fetch_field field;
    size_t n = 0;
    tg_fields_push(L);
    while (tg_fetch_response_field(body, &n, &field)) {
        struct tg_slice earlier = find_earlier(body, n - 1, field.name);
        if (earlier.p)
            tg_fields_append(L, -1, earlier, field.value);
        else
            tg_fields_set_new(L, -1, field.name, field.value);
    }
}

static struct tg_fetch_body *source_of(lua_State *L, int index)
{
    lua_rawgetp(L, index, &source_key);
    struct tg_fetch_body *body = luaL_testudata(L, -1, TG_FETCH_BODY_TYPE);
    lua_pop(L, 1);
    return body;
}

/* Makes the headers of the response at index, if that is still to do. */
static void make_headers(lua_State *L, int index)
{
    const struct tg_fetch_body *body = source_of(L, index);
    if (!body)
        return;
    lua_pushliteral(L, "headers");
    push_headers(L, body);
    lua_rawset(L, index);
    lua_pushnil(L);
    lua_rawsetp(L, index, &source_key);
}

static int response_index(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
    lua_settop(L, 2);
    if (strcmp(name, "headers") != 0)
        return 0;
    make_headers(L, 1);
    lua_rawget(L, 1);
    return 1;
}

/* Headers that the script sets are its own. */
static int response_newindex(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 3);
    const char *name = lua_type(L, 2) == LUA_TSTRING ? lua_tostring(L, 2) : "";
    if (strcmp(name, "headers") == 0) {
        lua_pushnil(L);
        lua_rawsetp(L, 1, &source_key);
    }
    lua_rawset(L, 1);
    return 0;
}

static int response_pairs(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    make_headers(L, 1);
    lua_getglobal(L, "next");
    lua_pushvalue(L, 1);
    lua_pushnil(L);
    return 3;
}

static int response_close(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_pushliteral(L, "body");
    lua_rawget(L, 1);
    struct tg_fetch_body *body = luaL_testudata(L, -1, TG_FETCH_BODY_TYPE);
    if (body)
        tg_fetch_body_close(body);
    return 0;
}

/* --- The response ------------------------------------------------------------------------------ */

void tg_fetch_response_push(lua_State *L, struct tg_fetch_body *body, int index)
{
    index = lua_absindex(L, index);
    lua_createtable(L, 0, 4);
    lua_pushinteger(L, body->head.status);
    lua_setfield(L, -2, "status");
    if (body->length != TG_FETCH_LENGTH_UNKNOWN) {
        lua_pushinteger(L, (lua_Integer)body->length);
        lua_setfield(L, -2, "length");
    }
    lua_pushvalue(L, index);
    lua_setfield(L, -2, "body");
    lua_pushvalue(L, index);
    lua_rawsetp(L, -2, &source_key);
    luaL_setmetatable(L, RESPONSE_TYPE);
}

bool tg_fetch_response_is(lua_State *L, int index)
{
    if (!lua_istable(L, index) || !lua_getmetatable(L, index))
        return false;
    luaL_getmetatable(L, RESPONSE_TYPE);
    bool same = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
    return same;
}

void tg_fetch_response_unwrap(lua_State *L, int index)
{
    index = lua_absindex(L, index);
    if (!tg_fetch_response_is(L, index))
        return;
    lua_pushliteral(L, "body");
    lua_rawget(L, index);
    lua_replace(L, index);
}

const struct tg_fetch_body *tg_fetch_response_untouched(lua_State *L, int index)
{
    return tg_fetch_response_is(L, index) ? source_of(L, index) : NULL;
}

void tg_fetch_response_open(lua_State *L)
{
    static const luaL_Reg methods[] = {{"__index", response_index},
                                       {"__newindex", response_newindex},
                                       {"__pairs", response_pairs},
                                       {"__close", response_close},
                                       {NULL, NULL}};
    luaL_newmetatable(L, RESPONSE_TYPE);
    luaL_setfuncs(L, methods, 0);
    lua_pop(L, 1);
}
