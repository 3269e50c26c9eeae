/* probe_router.c - opens the router and percent-encoding to specs.  Never installed. */
#include <lauxlib.h>
#include <lua.h>

#include "engine/router.h"
#include "util/mem.h"
#include "util/percent.h"

#define ROUTER "probe.Router"

enum { ROUTES = 1 << 18 };
static char routes[ROUTES]; /* a route is its number's place here */

static struct {
    unsigned calls;
    char segment[64]; /* the last one seen, cut */
    size_t len;
} seen;

enum { DIGITS = 1, LOWER = 2, ANYTHING = 3 };

static bool constraint(void *arg, int which, const char *segment, size_t len)
{
    (void)arg;
    seen.calls++;
    seen.len = len < sizeof seen.segment ? len : sizeof seen.segment;
    memcpy(seen.segment, segment, seen.len);
    for (size_t i = 0; i < len && which != ANYTHING; i++)
        if (which == DIGITS ? segment[i] < '0' || segment[i] > '9'
                            : segment[i] < 'a' || segment[i] > 'z')
            return false;
    return true;
}

static struct tg_slice slice_at(lua_State *L, int index)
{
    struct tg_slice s;
    s.p = luaL_optlstring(L, index, "", &s.len);
    return s;
}

static struct tg_slice field(lua_State *L, const char *name)
{
    lua_getfield(L, 2, name);
    return slice_at(L, -1); /* stays on the stack, and so alive */
}

static struct tg_router **router_at(lua_State *L)
{
    return luaL_checkudata(L, 1, ROUTER);
}

static int p_new(lua_State *L)
{
    tg_constraint_fn fn = lua_toboolean(L, 1) ? NULL : constraint;
    struct tg_router **router = lua_newuserdatauv(L, sizeof(void *), 0);
    *router = NULL;
    luaL_setmetatable(L, ROUTER);
    *router = tg_router_new(fn, NULL);
    return *router ? 1 : 0;
}

static int p_free(lua_State *L)
{
    struct tg_router **router = router_at(L);
    tg_router_free(*router);
    *router = NULL;
    return 0;
}

/* router:add { method, host, path, param1, constraint1, ..., route = n } -> status, clash */
static int p_add(lua_State *L)
{
    struct tg_route_constraint constraints[8];
    luaL_checktype(L, 2, LUA_TTABLE);
    luaL_checkstack(L, 24, NULL);
    struct tg_route_spec spec = {
        field(L, "method"), field(L, "host"), field(L, "path"), NULL, 0, NULL};
    for (; spec.constraint_count < 8; spec.constraint_count++) {
        lua_Integer n = (lua_Integer)spec.constraint_count * 2;
        if (lua_geti(L, 2, n + 1) == LUA_TNIL)
            break;
        constraints[spec.constraint_count].param = slice_at(L, -1);
        lua_geti(L, 2, n + 2);
        constraints[spec.constraint_count].constraint = (int)lua_tointeger(L, -1);
    }
    spec.constraints = constraints;
    lua_getfield(L, 2, "route");
    spec.route = &routes[lua_tointeger(L, -1)];
    void *clash;
    enum tg_status status = tg_router_add(*router_at(L), &spec, &clash);
    lua_pushstring(L, tg_status_text(status));
    if (!clash)
        return 1;
    lua_pushinteger(L, (char *)clash - routes);
    return 2;
}

static void push_params(lua_State *L, const struct tg_match *match)
{
    lua_createtable(L, (int)match->param_count, 0);
    for (size_t i = 0; i < match->param_count; i++) {
        const struct tg_param *param = &match->params[i];
        lua_pushlstring(L, param->name.p, param->name.len);
        lua_pushliteral(L, "=");
        lua_pushlstring(L, param->value.p, param->value.len);
        lua_concat(L, 3);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
}

/* router:match(method, path, host) -> kind, route, { "name=value", ... } or kind, allow */
static int p_match(lua_State *L)
{
    static const char *const kinds[] = {"found", "no path", "no method", "bad path"};
    struct tg_match match;
    tg_router_match(*router_at(L), slice_at(L, 2), slice_at(L, 4), slice_at(L, 3), &match);
    lua_pushstring(L, kinds[match.kind]);
    if (match.kind == TG_MATCH_NO_METHOD) {
        lua_pushstring(L, match.allow);
        return 2;
    }
    if (match.kind != TG_MATCH_FOUND)
        return 1;
    lua_pushinteger(L, (char *)match.route - routes);
    push_params(L, &match);
    return 3;
}

/* router:repeat_match(n, method, path): for timing, without Lua's own cost */
static int p_repeat(lua_State *L)
{
    struct tg_match match;
    for (lua_Integer n = luaL_checkinteger(L, 2); n > 0; n--)
        tg_router_match(*router_at(L), slice_at(L, 3), slice_at(L, 5), slice_at(L, 4), &match);
    return 0;
}

/* Whether a match takes no memory: the next allocation, set to fail, is still to come after it. */
static int p_allocates(lua_State *L)
{
    struct tg_match match;
    tg_mem_fail_at(1);
    tg_router_match(*router_at(L), slice_at(L, 2), slice_at(L, 4), slice_at(L, 3), &match);
    void *p = tg_malloc(1);
    tg_mem_fail_at(0);
    lua_pushboolean(L, p != NULL);
    tg_free(p);
    return 1;
}

static int p_seen(lua_State *L)
{
    lua_pushinteger(L, seen.calls);
    lua_pushlstring(L, seen.segment, seen.len);
    seen.calls = 0;
    return 2;
}

static int p_fail_at(lua_State *L)
{
    tg_mem_fail_at((unsigned)luaL_checkinteger(L, 1));
    return 0;
}

static int p_valid(lua_State *L)
{
    struct tg_slice s = slice_at(L, 1);
    lua_pushboolean(L, tg_percent_valid(s.p, s.len));
    return 1;
}

static int p_has_nul(lua_State *L)
{
    struct tg_slice s = slice_at(L, 1);
    lua_pushboolean(L, tg_percent_has_nul(s.p, s.len));
    return 1;
}

/* The bytes in a block of their own, so that a sanitizer sees a read or write past their end. */
static char *exact_copy(lua_State *L, struct tg_slice s, size_t room)
{
    char *p = tg_malloc(room ? room : 1);
    if (!p)
        luaL_error(L, "not enough memory");
    else
        memcpy(p, s.p, s.len);
    return p;
}

static int p_decode(lua_State *L)
{
    struct tg_slice s = slice_at(L, 1);
    char *p = exact_copy(L, s, s.len);
    size_t len = tg_percent_decode(p, s.len, lua_toboolean(L, 2), p);
    lua_pushlstring(L, p, len);
    tg_free(p);
    return 1;
}

static int p_encode(lua_State *L)
{
    struct tg_slice s = slice_at(L, 1);
    char *out = exact_copy(L, s, 3 * s.len);
    size_t len = tg_percent_encode(s.p, s.len, lua_toboolean(L, 2), out);
    lua_pushlstring(L, out, len);
    tg_free(out);
    return 1;
}

static int p_query(lua_State *L)
{
    struct tg_slice rest = slice_at(L, 1);
    struct tg_slice name;
    struct tg_slice value;
    lua_newtable(L);
    while (tg_query_next(&rest, &name, &value)) {
        lua_createtable(L, 2, 0);
        lua_pushlstring(L, name.p, name.len);
        lua_rawseti(L, -2, 1);
        lua_pushlstring(L, value.p, value.len);
        lua_rawseti(L, -2, 2);
        lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
    }
    return 1;
}

__attribute__((visibility("default"))) int luaopen_probe_router(lua_State *L);
int luaopen_probe_router(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"__gc", p_free},           {"free", p_free},           {"add", p_add}, {"match", p_match},
        {"repeat_match", p_repeat}, {"allocates", p_allocates}, {NULL, NULL},
    };
    static const luaL_Reg functions[] = {
        {"new", p_new},       {"seen", p_seen},       {"fail_at", p_fail_at},
        {"valid", p_valid},   {"has_nul", p_has_nul}, {"decode", p_decode},
        {"encode", p_encode}, {"query", p_query},     {NULL, NULL},
    };
    luaL_newmetatable(L, ROUTER);
    luaL_setfuncs(L, methods, 0);
    lua_pushvalue(L, -1);
    lua_setfield(L, -2, "__index");
    luaL_newlib(L, functions);
    return 1;
}
