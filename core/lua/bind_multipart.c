/* bind_multipart.c - bytes in, a list of what they say out. */
#include "lua/bind_multipart.h"

#include <lauxlib.h>

#include "http/multipart.h"

#define MULTIPART_TYPE "tidegate.Multipart"

struct parser {
    struct tg_multipart m;
    lua_State *L; /* while it is fed: the list is on top */
    lua_Integer count;
    bool open;
};

/* --- Events: strings are data, tables begin a part, true ends one ---------------------------------- */

static bool on_begin(void *arg)
{
    struct parser *p = arg;
    lua_newtable(p->L);
    lua_rawseti(p->L, -2, ++p->count);
    return true;
}

static bool on_field(void *arg, struct tg_slice name, struct tg_slice value)
{
    struct parser *p = arg;
    lua_rawgeti(p->L, -1, p->count);
    for (int i = 0; i < 2; i++) {
        struct tg_slice text = i == 0 ? name : value;
        lua_pushlstring(p->L, text.p, text.len);
        lua_rawseti(p->L, -2, (lua_Integer)lua_rawlen(p->L, -2) + 1);
    }
    lua_pop(p->L, 1);
    return true;
}

static bool on_data(void *arg, struct tg_slice data)
{
    struct parser *p = arg;
    lua_pushlstring(p->L, data.p, data.len);
    lua_rawseti(p->L, -2, ++p->count);
    return true;
}

static bool on_end(void *arg)
{
    struct parser *p = arg;
    lua_pushboolean(p->L, 1);
    lua_rawseti(p->L, -2, ++p->count);
    return true;
}

static const struct tg_multipart_events events = {on_begin, on_field, on_data, on_end};

/* --- The parser --------------------------------------------------------------------------------- */

static int parser_gc(lua_State *L)
{
    struct parser *p = lua_touserdata(L, 1);
    if (p->open)
        tg_multipart_fini(&p->m);
    p->open = false;
    return 0;
}

/* parser:feed(bytes): a list, or nil and why. */
static int l_feed(lua_State *L)
{
    struct parser *p = luaL_checkudata(L, 1, MULTIPART_TYPE);
    size_t len;
    const char *bytes = luaL_checklstring(L, 2, &len);
    lua_settop(L, 2);
    luaL_checkstack(L, LUA_MINSTACK, NULL);
    lua_newtable(L);
    p->L = L;
    p->count = 0;
    enum tg_status status = tg_multipart_feed(&p->m, bytes, len);
    p->L = NULL;
    if (status == TG_OK)
        return 1;
    lua_pushnil(L);
    lua_pushstring(L, status == TG_EINVAL ? p->m.why : tg_status_text(status));
    return 2;
}

static int l_over(lua_State *L)
{
    const struct parser *p = luaL_checkudata(L, 1, MULTIPART_TYPE);
    lua_pushboolean(L, p->m.state == TG_MULTIPART_OVER);
    return 1;
}

static int l_multipart(lua_State *L)
{
    struct tg_slice boundary;
    boundary.p = luaL_checklstring(L, 1, &boundary.len);
    struct parser *p = lua_newuserdatauv(L, sizeof *p, 0);
    p->open = false;
    luaL_setmetatable(L, MULTIPART_TYPE);
    enum tg_status status = tg_multipart_init(&p->m, boundary, &events, p);
    p->open = true;
    if (status == TG_OK)
        return 1;
    lua_pushnil(L);
    lua_pushliteral(L, "not a boundary");
    return 2;
}

void tg_multipart_open(lua_State *L)
{
    static const luaL_Reg methods[] = {{"feed", l_feed}, {"over", l_over}, {NULL, NULL}};
    luaL_newmetatable(L, MULTIPART_TYPE);
    luaL_newlib(L, methods);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, parser_gc);
    lua_setfield(L, -2, "__gc");
    lua_pop(L, 1);
    lua_pushcfunction(L, l_multipart);
    lua_setfield(L, -2, "_multipart");
}
