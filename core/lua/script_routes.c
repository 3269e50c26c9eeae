/* script_routes.c - a script's routes: those of its service table, and those that the host adds. */
#include "lua/script_impl.h"

#include <stdint.h>
#include <string.h>

#include <lauxlib.h>

#include "util/mem.h"

/* --- Constraints ------------------------------------------------------------------------------ */

struct constraint_call {
    const struct tg_lua_script *script;
    int constraint;
    const char *segment;
    size_t len;
    bool matches;
};

static int match_constraint(lua_State *L)
{
    struct constraint_call *c = lua_touserdata(L, 1);
    lua_rawgeti(L, LUA_REGISTRYINDEX, c->script->match);
    lua_pushlstring(L, c->segment, c->len);
    lua_rawgeti(L, LUA_REGISTRYINDEX, c->script->patterns);
    lua_rawgeti(L, -1, c->constraint);
    lua_remove(L, -2);
    lua_call(L, 2, 1);
    c->matches = !lua_isnil(L, -1);
    return 0;
}

static bool on_constraint(void *arg, int constraint, const char *segment, size_t len)
{
    struct tg_lua_script *script = arg;
    struct constraint_call c = {script, constraint, segment, len, false};
    if (tg_lua_enter(script->lua, match_constraint, &c) != TG_LUA_DONE)
        return false;
    return c.matches;
}

bool tg_lua_script_make_router(struct tg_lua_script *script)
{
    script->engine.router = tg_router_new(on_constraint, script);
    return script->engine.router != NULL;
}

void tg_lua_script_keep_patterns(lua_State *L, struct tg_lua_script *script)
{
    lua_newtable(L);
    script->patterns = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_getglobal(L, "string");
    lua_getfield(L, -1, "match");
    script->match = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_pop(L, 1);
}

void tg_lua_script_forget_patterns(const struct tg_lua_script *script)
{
    lua_State *L = tg_lua_main(script->lua);
    luaL_unref(L, LUA_REGISTRYINDEX, script->patterns);
    luaL_unref(L, LUA_REGISTRYINDEX, script->match);
}

/* --- From the description to routes ----------------------------------------------------------- */

/* The interceptor made of the table on top; one for each table, which `made` (a Lua table at index)
 * remembers.  Pops it. */
static struct tg_lua_interceptor *intern(lua_State *L, struct tg_lua_script *script, int made)
{
    lua_pushvalue(L, -1);
    if (lua_rawget(L, made) == LUA_TLIGHTUSERDATA) {
        struct tg_lua_interceptor *known = lua_touserdata(L, -1);
        lua_pop(L, 2);
        return known;
    }
    lua_pop(L, 1);
    struct tg_lua_interceptor *fresh = tg_lua_interceptor_new(L, -1, &script->interceptors);
    lua_pushlightuserdata(L, fresh);
    lua_rawset(L, made);
    return fresh;
}

/* The list on top becomes a chain's items.  Pops it. */
static void take_items(lua_State *L, struct tg_lua_script *script, struct tg_chain *chain, int made)
{
    size_t count = lua_rawlen(L, -1);
    chain->items = tg_lua_list_of(L, count, sizeof *chain->items);
    for (size_t i = 0; i < count; i++) {
        lua_rawgeti(L, -1, (lua_Integer)i + 1);
        chain->items[i] = &intern(L, script, made)->base;
        chain->count++;
    }
    lua_pop(L, 1);
}

static const char *copy_field(lua_State *L, int index, const char *field)
{
    const char *copy = NULL;
    if (lua_getfield(L, index, field) == LUA_TSTRING) {
        copy = tg_strdup(lua_tostring(L, -1));
        if (!copy)
            tg_lua_no_memory(L);
    }
    lua_pop(L, 1);
    return copy;
}

static struct tg_slice slice_of(const char *s)
{
    return (struct tg_slice){s ? s : "", s ? strlen(s) : 0};
}

enum { CONSTRAINTS_MAX = TG_ROUTE_PARAMS_MAX };

/* Reads the list of constraints on top, into at most CONSTRAINTS_MAX; the names stay in the table. */
static size_t take_constraints(lua_State *L, struct tg_lua_script *script,
                               struct tg_route_constraint *constraints)
{
    size_t count = lua_istable(L, -1) ? lua_rawlen(L, -1) : 0;
    if (count > CONSTRAINTS_MAX)
        count = CONSTRAINTS_MAX;
    lua_rawgeti(L, LUA_REGISTRYINDEX, script->patterns);
    int patterns = lua_gettop(L);
    for (size_t i = 0; i < count; i++) {
        lua_rawgeti(L, patterns - 1, (lua_Integer)i + 1);
        lua_getfield(L, -1, "pattern");
        lua_rawseti(L, patterns, ++script->pattern_count);
        lua_getfield(L, -1, "param");
        constraints[i].param.p = lua_tolstring(L, -1, &constraints[i].param.len);
        constraints[i].constraint = script->pattern_count;
        lua_pop(L, 2);
    }
    lua_pop(L, 1);
    return count;
}

static void add_to_router(lua_State *L, struct tg_lua_script *script, struct tg_lua_route *route,
                          int description)
{
    struct tg_route_constraint constraints[CONSTRAINTS_MAX];
    void *clash;
    lua_getfield(L, description, "constraints");
    struct tg_route_spec spec = {
        .method = slice_of(route->method),
        .host = slice_of(route->host),
        .path = slice_of(route->path),
        .constraints = constraints,
        .constraint_count = take_constraints(L, script, constraints),
        .route = &route->chain,
    };
    enum tg_status status = tg_router_add(script->engine.router, &spec, &clash);
    lua_pop(L, 1);
    if (status == TG_OK)
        return;
    if (status == TG_ELIMIT)
        luaL_error(L, "routes %s and %s are the same", route->chain.name,
                   ((const struct tg_chain *)clash)->name);
    luaL_error(L, "route %s: %s", route->chain.name, tg_status_text(status));
}

static void take_route(lua_State *L, struct tg_lua_script *script, int made)
{
    int description = lua_gettop(L);
    struct tg_lua_route *route = &script->routes[script->route_count++];
    route->method = copy_field(L, description, "method");
    route->host = copy_field(L, description, "host");
    route->path = copy_field(L, description, "path");
    route->chain.route_name = copy_field(L, description, "name");
    if (!route->method || !route->path)
        luaL_error(L, "a route without a method or a path");
    lua_pushfstring(L, "%s %s", *route->method ? route->method : "any", route->path);
    route->chain.name =
        tg_strdup(route->chain.route_name ? route->chain.route_name : lua_tostring(L, -1));
    lua_pop(L, 1);
    if (!route->chain.name)
        tg_lua_no_memory(L);
    lua_getfield(L, description, "interceptors");
    take_items(L, script, &route->chain, made);
    add_to_router(L, script, route, description);
    lua_pop(L, 1);
}

static void take_routes(lua_State *L, struct tg_lua_script *script, int description, int made)
{
    lua_getfield(L, description, "routes");
    size_t count = lua_rawlen(L, -1);
    script->routes = tg_lua_list_of(L, count, sizeof *script->routes);
    for (size_t i = 0; i < count; i++) {
        lua_rawgeti(L, -1, (lua_Integer)i + 1);
        take_route(L, script, made);
    }
    lua_pop(L, 1);
}

static void take_unmatched(lua_State *L, struct tg_lua_script *script, int description, int made)
{
    script->around.name = tg_strdup("(no route)");
    script->not_found.name = tg_strdup("not_found");
    if (!script->around.name || !script->not_found.name)
        tg_lua_no_memory(L);
    lua_getfield(L, description, "interceptors");
    lua_pushvalue(L, -1);
    take_items(L, script, &script->around, made);
    script->engine.around = &script->around;

    if (lua_getfield(L, description, "not_found") != LUA_TNIL) {
        lua_createtable(L, 0, 2);
        lua_insert(L, -2);
        lua_setfield(L, -2, "handler");
        lua_pushliteral(L, "not_found");
        lua_setfield(L, -2, "name");
        size_t count = script->around.count;
        script->not_found.items = tg_lua_list_of(L, count + 1, sizeof *script->not_found.items);
        memcpy(script->not_found.items, script->around.items, count * sizeof *script->around.items);
        script->not_found.items[count] = &intern(L, script, made)->base;
        script->not_found.count = count + 1;
        script->engine.not_found = &script->not_found;
    } else {
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

void tg_lua_script_take_routes(lua_State *L, struct tg_lua_script *script, int description)
{
    lua_newtable(L);
    int made = lua_gettop(L);
    take_unmatched(L, script, description, made);
    take_routes(L, script, description, made);
    lua_pop(L, 1);
}

/* --- The end ---------------------------------------------------------------------------------- */

static void free_text(const char *text)
{
    tg_free((void *)(uintptr_t)text);
}

static void free_route(struct tg_lua_route *route)
{
    free_text(route->method);
    free_text(route->host);
    free_text(route->path);
    free_text(route->chain.name);
    free_text(route->chain.route_name);
    tg_free(route->chain.items);
}

void tg_lua_script_free_routes(struct tg_lua_script *script)
{
    tg_router_free(script->engine.router);
    for (size_t i = 0; i < script->route_count; i++)
        free_route(&script->routes[i]);
    tg_free(script->routes);
    while (script->host_routes) {
        struct tg_host_route *next = script->host_routes->next;
        free_route(&script->host_routes->route);
        tg_free(script->host_routes);
        script->host_routes = next;
    }
    tg_free(script->around.items);
    tg_free(script->not_found.items);
    free_text(script->around.name);
    free_text(script->not_found.name);
}

/* --- What the host adds ----------------------------------------------------------------------- */

static enum tg_status insert(struct tg_chain *chain, size_t at, const struct tg_interceptor *item)
{
    const struct tg_interceptor **items =
        tg_realloc(chain->items, (chain->count + 1) * sizeof(const struct tg_interceptor *));
    if (!items)
        return TG_ENOMEM;
    memmove(items + at + 1, items + at, (chain->count - at) * sizeof *items);
    items[at] = item;
    chain->items = items;
    chain->count++;
    return TG_OK;
}

enum tg_status tg_lua_script_add_interceptor(struct tg_lua_script *script,
                                             const struct tg_interceptor *item)
{
    size_t at = script->host_count++;
    enum tg_status status = insert(&script->around, at, item);
    if (status == TG_OK && script->not_found.count)
        status = insert(&script->not_found, at, item);
    for (size_t i = 0; i < script->route_count && status == TG_OK; i++)
        status = insert(&script->routes[i].chain, at, item);
    for (struct tg_host_route *h = script->host_routes; h && status == TG_OK; h = h->next)
        status = insert(&h->route.chain, at, item);
    return status;
}

static bool fill_host_route(struct tg_lua_script *script, struct tg_lua_route *route,
                            const char *method, const char *path,
                            const struct tg_interceptor *handler)
{
    size_t count = script->around.count;
    route->method = tg_strdup(method);
    route->host = tg_strdup("");
    route->path = tg_strdup(path);
    route->chain.name = tg_strdup(handler->name);
    route->chain.items = tg_malloc((count + 1) * sizeof *route->chain.items);
    if (!route->method || !route->host || !route->path || !route->chain.name || !route->chain.items)
        return false;
    if (count)
        memcpy(route->chain.items, script->around.items, count * sizeof *route->chain.items);
    route->chain.items[count] = handler;
    route->chain.count = count + 1;
    return true;
}

enum tg_status tg_lua_script_add_route(struct tg_lua_script *script, const char *method,
                                       const char *path, const struct tg_interceptor *handler)
{
    void *clash;
    struct tg_host_route **last = &script->host_routes;
    struct tg_host_route *added = tg_calloc(1, sizeof *added);
    if (!added)
        return TG_ENOMEM;
    enum tg_status status = TG_ENOMEM;
    if (fill_host_route(script, &added->route, method, path, handler)) {
        struct tg_route_spec spec = {.method = {method, strlen(method)},
                                     .host = TG_SLICE(""),
                                     .path = {path, strlen(path)},
                                     .route = &added->route.chain};
        status = tg_router_add(script->engine.router, &spec, &clash);
    }
    if (status != TG_OK) {
        free_route(&added->route);
        tg_free(added);
        return status;
    }
    while (*last)
        last = &(*last)->next;
    *last = added;
    return TG_OK;
}

void tg_lua_script_count_in(struct tg_lua_script *script, struct tg_route_figures *table)
{
    if (script->o.program)
        return;
    script->around.stats = tg_route_stats_of(table, script->around.name);
    script->not_found.stats = tg_route_stats_of(table, script->not_found.name);
    for (size_t i = 0; i < script->route_count; i++) {
        struct tg_chain *chain = &script->routes[i].chain;
        chain->stats = tg_route_stats_of(table, chain->name);
    }
    for (struct tg_host_route *h = script->host_routes; h; h = h->next)
        h->route.chain.stats = tg_route_stats_of(table, h->route.chain.name);
}

const struct tg_lua_route *tg_lua_script_route(const struct tg_lua_script *script, size_t n)
{
    if (n < script->route_count)
        return &script->routes[n];
    const struct tg_host_route *h = script->host_routes;
    for (n -= script->route_count; h && n; n--)
        h = h->next;
    return h ? &h->route : NULL;
}
