/* script.c - loads a script into a state of its own and makes routes of its service table. */
#include "lua/script.h"

#include <stdint.h>
#include <string.h>

#include <lauxlib.h>

#include "http/tls.h"
#include "lua/bind_context.h"
#include "lua/bind_file.h"
#include "lua/bind_handle.h"
#include "lua/bind_request.h"
#include "lua/bind_task.h"
#include "lua/bind_writer.h"
#include "lua/body.h"
#include "lua/call.h"
#include "lua/core.h"
#include "lua/driven.h"
#include "lua/explain.h"
#include "lua/failure.h"
#include "lua/fetch_body.h"
#include "lua/file_body.h"
#include "lua/host_body.h"
#include "lua/interceptor.h"
#include "lua/life.h"
#include "util/clock.h"
#include "util/mem.h"

struct tg_lua_script {
    struct tg_lua_script_options o;
    bool guest; /* in the state of another: tg_lua_script_guest() */
    struct tg_lua *lua;
    struct tg_script engine;
    struct tg_buf *problems; /* while it loads */

    struct tg_lua_interceptor *interceptors;
    struct tg_lua_route *routes;
    size_t route_count;
    struct host_route *host_routes; /* the host's, in the order of adding */
    size_t host_count;              /* of the host's interceptors, that are first in every chain */
    struct tg_chain around;
    struct tg_chain not_found;
    char **listen;
    size_t listen_count;
    unsigned workers;
    enum tg_access_format log;
    struct tg_access_fields log_fields;
    struct tg_limits limits;
    struct tg_tls_context *tls; /* NULL: none */
    struct tg_lua_life life;
    bool loading;
    uint64_t load_until; /* nanoseconds */
    int patterns;        /* reference: the constraints' patterns, by number */
    int pattern_count;
    int match; /* reference: string.match */
};

struct host_route {
    struct tg_lua_route route;
    struct host_route *next;
};

/* --- The engine's side ------------------------------------------------------------------------ */

static int call_on_close(lua_State *L)
{
    struct tg_call *call = lua_touserdata(L, 1);
    lua_settop(L, 0);
    tg_call_push_request(L, call);
    lua_getiuservalue(L, 1, TG_CALL_ON_CLOSE);
    lua_rawgeti(L, 2, call->closing);
    lua_pushstring(L, tg_ending_name(call->ending));
    if (call->exchange->error.set) {
        tg_failure_push(L, call);
        lua_call(L, 2, 0);
    } else {
        lua_call(L, 1, 0);
    }
    return 0;
}

/* In the order in which they were set; each is called, whatever the others do. */
static void run_on_close(struct tg_lua *lua, struct tg_call *call, enum tg_ending ending)
{
    lua_Integer count = call->closers;
    call->ending = ending;
    for (call->closing = 1; call->closing <= count; call->closing++)
        if (tg_lua_enter(lua, call_on_close, call) != TG_LUA_DONE)
            tg_log(tg_lua_log(lua), TG_LOG_ERROR, "%s: on_close: %s",
                   tg_exchange_route(call->exchange), tg_lua_error(lua));
}

static void on_cancel(struct tg_exchange *x)
{
    struct tg_call *call = x->script_data;
    if (!call)
        return;
    tg_task_cancel(call->task);
    tg_file_drop(&call->out);
}

/* Not from inside Lua. */
static void let_go(struct tg_exchange *x, struct tg_call *call)
{
    struct tg_lua *lua = x->script->arg;
    tg_driven_stop(call->driven, TG_ECLOSED);
    tg_fetch_bodies_close(call->fetches);
    tg_task_free(call->task);
    tg_lua_interceptors_free(lua, call->enqueued);
    call->task = NULL;
    call->enqueued = NULL;
    call->exchange = NULL;
    call->out.writer = NULL;
    x->script_data = NULL;
    luaL_unref(tg_lua_main(lua), LUA_REGISTRYINDEX, call->ref); /* last: call may be gone */
}

static int drop_body(lua_State *L)
{
    tg_body_drop(L, lua_touserdata(L, 1));
    return 0;
}

static void on_end(struct tg_exchange *x, enum tg_ending ending)
{
    struct tg_call *call = x->script_data;
    if (!call)
        return;
    on_cancel(x);
    tg_fetch_bodies_close(call->fetches);
    if (ending != TG_ENDING_DONE)
        tg_lua_enter(x->script->arg, drop_body, call);
    run_on_close(x->script->arg, call, ending);
    tg_spawned_log(x->script->arg, &call->scope, tg_exchange_route(x));
    let_go(x, call);
}

static bool on_release(struct tg_exchange *x)
{
    struct tg_call *call = x->script_data;
    if (!call)
        return true;
    if (call->closers || call->scope.live || call->scope.failed) {
        tg_task_rest(call->task);
        return false;
    }
    let_go(x, call);
    return true;
}

static int drop_response(lua_State *L)
{
    struct tg_call *call = lua_touserdata(L, 1);
    tg_body_drop(L, call);
    tg_call_push_request(L, call);
    lua_getiuservalue(L, -1, TG_CALL_CONTEXT);
    lua_pushnil(L);
    if (call->bare)
        lua_setiuservalue(L, -3, TG_CALL_CONTEXT);
    else
        lua_setfield(L, -2, "response");
    return 0;
}

static void on_drop_response(struct tg_exchange *x)
{
    struct tg_call *call = x->script_data;
    if (!call)
        return;
    tg_lua_enter(x->script->arg, drop_response, call);
    tg_file_drop(&call->out); /* where a script's table hides it */
}

/* --- Predicates of terminate_when ------------------------------------------------------------- */

/* Stack: list, position, context. */
static int try_predicates(lua_State *L, int status, lua_KContext context)
{
    struct tg_call *call = (struct tg_call *)context;
    bool has_result = status == LUA_YIELD;
    for (;;) {
        if (has_result && lua_toboolean(L, -1)) {
            tg_exchange_terminate(call->exchange);
            return 0;
        }
        lua_settop(L, 3);
        lua_Integer at = lua_tointeger(L, 2) + 1;
        lua_pushinteger(L, at);
        lua_replace(L, 2);
        if (lua_rawgeti(L, 1, at) != LUA_TFUNCTION)
            return 0;
        lua_pushvalue(L, 3);
        lua_callk(L, 1, 1, context, try_predicates);
        has_result = true;
    }
}

static int run_predicates(lua_State *L)
{
    struct tg_call *call = lua_touserdata(L, 1);
    lua_settop(L, 0);
    tg_call_push_request(L, call);
    lua_getiuservalue(L, 1, TG_CALL_PREDICATES);
    lua_replace(L, 1);
    lua_pushinteger(L, 0);
    tg_call_push_context(L, call);
    return try_predicates(L, LUA_OK, (lua_KContext)call);
}

static enum tg_step on_entered(struct tg_exchange *x)
{
    struct tg_call *call = x->script_data;
    return tg_failure_step(call, tg_task_start(call->task, run_predicates, call));
}

static int produce(lua_State *L)
{
    return tg_body_produce(L, lua_touserdata(L, 1));
}

static enum tg_step on_produce(struct tg_exchange *x)
{
    struct tg_call *call = x->script_data;
    return tg_call_step(call, tg_task_start(call->task, produce, call));
}

static bool on_explain(struct tg_exchange *x)
{
    const struct tg_lua_script *script = tg_lua_user(x->script->arg);
    return tg_explain(x, script->o.path);
}

static void on_where(const struct tg_exchange *x, char *text, size_t size)
{
    const struct tg_call *call = x->script_data;
    *text = '\0';
    if (call)
        tg_task_where(call->task, text, size);
}

static const struct tg_script_ops script_ops = {
    .produce = on_produce,
    .entered = on_entered,
    .drop_response = on_drop_response,
    .explain = on_explain,
    .cancel = on_cancel,
    .close = on_end,
    .release = on_release,
    .where = on_where,
};

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

/* --- From the description to routes ----------------------------------------------------------- */

static int no_memory(lua_State *L)
{
    return luaL_error(L, "not enough memory");
}

static void *list_of(lua_State *L, size_t count, size_t size)
{
    void *list = tg_calloc(count ? count : 1, size);
    if (!list)
        no_memory(L);
    return list;
}

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
    chain->items = list_of(L, count, sizeof *chain->items);
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
            no_memory(L);
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
        no_memory(L);
    lua_getfield(L, description, "interceptors");
    take_items(L, script, &route->chain, made);
    add_to_router(L, script, route, description);
    lua_pop(L, 1);
}

static void take_routes(lua_State *L, struct tg_lua_script *script, int description, int made)
{
    lua_getfield(L, description, "routes");
    size_t count = lua_rawlen(L, -1);
    script->routes = list_of(L, count, sizeof *script->routes);
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
        no_memory(L);
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
        script->not_found.items = list_of(L, count + 1, sizeof *script->not_found.items);
        memcpy(script->not_found.items, script->around.items, count * sizeof *script->around.items);
        script->not_found.items[count] = &intern(L, script, made)->base;
        script->not_found.count = count + 1;
        script->engine.not_found = &script->not_found;
    } else {
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

static void take_listen(lua_State *L, struct tg_lua_script *script, int description)
{
    if (lua_getfield(L, description, "listen") == LUA_TTABLE) {
        size_t count = lua_rawlen(L, -1);
        script->listen = list_of(L, count, sizeof *script->listen);
        for (size_t i = 0; i < count; i++) {
            lua_rawgeti(L, -1, (lua_Integer)i + 1);
            const char *address = lua_tostring(L, -1);
            script->listen[i] = address ? tg_strdup(address) : NULL;
            if (!script->listen[i])
                no_memory(L);
            script->listen_count++;
            lua_pop(L, 1);
        }
    }
    lua_pop(L, 1);
}

/* Tells of a file before it is read: one that does not load is to be watched, too. */
static void tell_file(const struct tg_lua_script *script, const char *path)
{
    if (script->o.on_file)
        script->o.on_file(script->o.on_file_arg, path);
}

static void open_tls(lua_State *L, struct tg_lua_script *script, const struct tg_tls_pair *pairs,
                     size_t count)
{
    for (size_t i = 0; i < count; i++) {
        tell_file(script, pairs[i].cert);
        tell_file(script, pairs[i].key);
    }
    if (tg_tls_context_new(&script->tls, pairs, count, script->o.host.ticket_key,
                           script->problems) == TG_ENOMEM)
        no_memory(L);
}

static void take_tls(lua_State *L, struct tg_lua_script *script, int description)
{
    if (script->o.tls.cert) {
        open_tls(L, script, &script->o.tls, 1);
        return;
    }
    if (lua_getfield(L, description, "tls") != LUA_TTABLE) {
        lua_pop(L, 1);
        return;
    }
    size_t count = lua_rawlen(L, -1);
    struct tg_tls_pair *pairs = lua_newuserdatauv(L, (count + 1) * sizeof *pairs, 0);
    int keep = lua_gettop(L);
    for (size_t i = 0; i < count; i++) {
        lua_rawgeti(L, keep - 1, (lua_Integer)i + 1);
        lua_getfield(L, -1, "cert");
        lua_getfield(L, -2, "key");
        pairs[i] = (struct tg_tls_pair){lua_tostring(L, -2), lua_tostring(L, -1)};
        lua_settop(L, keep); /* the description keeps the texts */
    }
    open_tls(L, script, pairs, count);
    lua_settop(L, keep - 2);
}

static void take_workers(lua_State *L, struct tg_lua_script *script, int description)
{
    if (lua_getfield(L, description, "workers") == LUA_TNUMBER)
        script->workers = (unsigned)lua_tointeger(L, -1);
    lua_pop(L, 1);
}

/* service.lua has checked it, and made it a table. */
static void take_log(lua_State *L, struct tg_lua_script *script, int description)
{
    static const char *const formats[] = {"off", "text", "json", NULL};
    script->log = TG_ACCESS_TEXT;
    if (lua_getfield(L, description, "log") == LUA_TTABLE) {
        lua_getfield(L, -1, "format");
        script->log = (enum tg_access_format)luaL_checkoption(L, -1, "text", formats);
        lua_getfield(L, -2, "headers");
        size_t count = lua_rawlen(L, -1);
        for (size_t i = 0; i < count && i < TG_ACCESS_FIELDS_MAX; i++) {
            lua_rawgeti(L, -1, (lua_Integer)i + 1);
            script->log_fields.names[i] = tg_strdup(luaL_checkstring(L, -1));
            if (!script->log_fields.names[i])
                no_memory(L);
            script->log_fields.count++;
            lua_pop(L, 1);
        }
        lua_pop(L, 2);
        script->engine.access_fields = &script->log_fields;
    }
    lua_pop(L, 1);
}

static void take_limits(lua_State *L, struct tg_lua_script *script, int description)
{
    if (lua_getfield(L, description, "limits") == LUA_TTABLE) {
        lua_pushnil(L);
        while (lua_next(L, -2)) {
            const char *why =
                tg_limits_set(&script->limits, lua_tostring(L, -2), lua_tonumber(L, -1));
            if (why)
                luaL_error(L, "limits.%s %s", lua_tostring(L, -2), why);
            lua_pop(L, 1);
        }
    }
    lua_pop(L, 1);
}

/* --- Loading ---------------------------------------------------------------------------------- */

/* require finds the script's own modules beside it. */
static void set_package_path(lua_State *L, const char *script)
{
    const char *slash = strrchr(script, '/');
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "path");
    if (slash)
        lua_pushlstring(L, script, (size_t)(slash - script));
    else
        lua_pushliteral(L, ".");
    const char *folder = lua_tostring(L, -1);
    lua_pushfstring(L, "%s/?.lua;%s/?/init.lua;%s", folder, folder, lua_tostring(L, -2));
    lua_setfield(L, -4, "path");
    lua_pop(L, 3);
}

/* In the place of the searcher of Lua files, which is its first upvalue; the second is the script. */
static int search_file(lua_State *L)
{
    const struct tg_lua_script *script = lua_touserdata(L, lua_upvalueindex(2));
    luaL_checkstring(L, 1);
    lua_settop(L, 1);
    lua_getglobal(L, "package");
    lua_getfield(L, 2, "searchpath");
    lua_pushvalue(L, 1);
    lua_getfield(L, 2, "path");
    lua_call(L, 2, 1);
    if (lua_type(L, -1) == LUA_TSTRING)
        tell_file(script, lua_tostring(L, -1));
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_pushvalue(L, 1);
    lua_call(L, 1, LUA_MULTRET);
    return lua_gettop(L) - 3;
}

static void watch_requires(lua_State *L, struct tg_lua_script *script)
{
    lua_getglobal(L, "package");
    lua_getfield(L, -1, "searchers");
    lua_rawgeti(L, -1, 2);
    lua_pushlightuserdata(L, script);
    lua_pushcclosure(L, search_file, 2);
    lua_rawseti(L, -2, 2);
    lua_pop(L, 2);
}

/* --- A load that does not end ----------------------------------------------------------------- */

enum { LOAD_SECONDS = 10, LOAD_STEP = 100000 }; /* a step is in instructions */

/* Coroutines that were made meanwhile have it, too, for as long as they are. */
static void on_load_step(lua_State *L, lua_Debug *ar)
{
    (void)ar;
    const struct tg_lua_script *script = tg_lua_user(tg_lua_of(L));
    if (!script->loading) {
        lua_sethook(L, NULL, 0, 0);
        return;
    }
    bool late = tg_clock_ns() > script->load_until;
    if (!late && !(script->o.give_up && script->o.give_up(script->o.give_up_arg)))
        return;
    lua_sethook(L, on_load_step, LUA_MASKCOUNT, 1); /* a pcall must not save it */
    luaL_error(L, late ? "the script takes more than %d s to load" : "the load was given up",
               LOAD_SECONDS);
}

static void push_limit_names(lua_State *L)
{
    const char *name;
    lua_createtable(L, 0, 1);
    lua_newtable(L);
    for (size_t n = 0; (name = tg_limits_name(n)) != NULL; n++) {
        lua_pushstring(L, name);
        lua_rawseti(L, -2, (lua_Integer)n + 1);
    }
    lua_setfield(L, -2, "limits");
}

static void keep_patterns(lua_State *L, struct tg_lua_script *script)
{
    lua_newtable(L);
    script->patterns = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_getglobal(L, "string");
    lua_getfield(L, -1, "match");
    script->match = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_pop(L, 1);
}

static int prepare(lua_State *L)
{
    struct tg_lua_script *script = lua_touserdata(L, 1);
    tg_failure_open(L);
    tg_request_open(L);
    tg_context_open(L);
    tg_call_open(L);
    tg_out_open(L);
    tg_file_open(L);
    tg_host_body_open(L);
    tg_handle_open(L);
    tg_core_open(L);
    keep_patterns(L, script);
    set_package_path(L, script->o.path);
    watch_requires(L, script);
    if (script->o.setup && script->o.setup(L, script->o.setup_arg) != 0)
        return luaL_error(L, "the host's setup has failed");
    return 0;
}

/* Runs the script; leaves what it returned on the stack. */
static void run_script(lua_State *L, const struct tg_lua_script *script)
{
    const struct tg_lua_script_options *o = &script->o;
    int status;
    if (o->text) {
        lua_pushfstring(L, "@%s", o->path);
        status = luaL_loadbufferx(L, o->text, strlen(o->text), lua_tostring(L, -1), "t");
        lua_remove(L, -2);
    } else {
        tell_file(script, o->path);
        status = luaL_loadfilex(L, o->path, "t");
    }
    if (status != LUA_OK)
        lua_error(L);
    lua_call(L, 0, 1);
}

static void add_problem(lua_State *L, struct tg_lua_script *script, const char *text)
{
    if (script->problems->len && tg_buf_add(script->problems, "\n", 1) != TG_OK)
        return;
    if (tg_buf_add(script->problems, text, strlen(text)) == TG_ENOMEM)
        no_memory(L);
}

/* Stack: what service.check() returned.  True when that is a description. */
static bool is_valid(lua_State *L, struct tg_lua_script *script)
{
    if (!lua_isnil(L, -2)) {
        lua_pop(L, 1);
        return true;
    }
    size_t count = lua_rawlen(L, -1);
    for (size_t i = 1; i <= count; i++) {
        lua_rawgeti(L, -1, (lua_Integer)i);
        lua_pushfstring(L, "%s: %s", script->o.path, lua_tostring(L, -1));
        add_problem(L, script, lua_tostring(L, -1));
        lua_pop(L, 2);
    }
    return false;
}

/* Pushes what service.check() says of the service table at index. */
static void describe(lua_State *L, int index, bool guest)
{
    lua_getglobal(L, "require");
    lua_pushliteral(L, "tidegate");
    lua_call(L, 1, 1);
    lua_getfield(L, -1, "_load");
    lua_remove(L, -2);
    lua_pushvalue(L, index);
    push_limit_names(L);
    lua_pushboolean(L, guest);
    lua_call(L, 3, 2);
}

/* Everything of the description on top. */
static void take_description(lua_State *L, struct tg_lua_script *script)
{
    int description = lua_gettop(L);
    lua_newtable(L);
    int made = lua_gettop(L);
    take_limits(L, script, description);
    take_workers(L, script, description);
    take_listen(L, script, description);
    take_log(L, script, description);
    if (!script->guest) /* whose certificates may be elsewhere */
        take_tls(L, script, description);
    take_unmatched(L, script, description, made);
    take_routes(L, script, description, made);
    lua_pop(L, 1);
}

static int load(lua_State *L)
{
    struct tg_lua_script *script = lua_touserdata(L, 1);
    lua_settop(L, 0);
    run_script(L, script);
    describe(L, 1, false);
    if (!is_valid(L, script))
        return 0;
    take_description(L, script);
    tg_lua_life_load(L, &script->life, 1);
    return 0;
}

static enum tg_status load_guarded(struct tg_lua_script *script)
{
    lua_State *L = tg_lua_main(script->lua);
    tg_lua_set_user(script->lua, script);
    script->load_until = tg_clock_ns() + (uint64_t)LOAD_SECONDS * 1000000000U;
    script->loading = true;
    lua_sethook(L, on_load_step, LUA_MASKCOUNT, LOAD_STEP);
    bool loaded = tg_lua_enter(script->lua, prepare, script) == TG_LUA_DONE &&
                  (script->o.program || tg_lua_enter(script->lua, load, script) == TG_LUA_DONE);
    lua_sethook(L, NULL, 0, 0);
    script->loading = false;
    if (loaded)
        return script->problems->len ? TG_EINVAL : TG_OK;
    const char *why = tg_lua_error(script->lua);
    return tg_buf_add(script->problems, why, strlen(why)) == TG_ENOMEM ? TG_ENOMEM : TG_EINVAL;
}

static enum tg_status load_all(struct tg_lua_script *script)
{
    struct tg_lua_options options = {
        .memory_max = script->limits.lua_memory,
        .base = script->o.base,
        .held = true,
        .host = &script->o.host,
        .slices = script->o.slices,
        .log = script->o.log,
        .upstream = script->o.upstream,
        .suspended = script->o.suspended,
        .arg = script->o.suspended_arg,
    };
    script->lua = tg_lua_new(&options);
    script->engine.arg = script->lua;
    script->life = (struct tg_lua_life){.lua = script->lua,
                                        .host = script->o.host,
                                        .on_start = LUA_NOREF,
                                        .on_stop = LUA_NOREF,
                                        .check = LUA_NOREF};
    script->engine.router = tg_router_new(on_constraint, script);
    if (!script->lua || !script->engine.router)
        return TG_ENOMEM;
    enum tg_status status = load_guarded(script);
    if (script->o.override)
        script->o.override(&script->limits, script->o.override_arg);
    tg_lua_set_memory_max(script->lua, script->limits.lua_memory);
    return status;
}

enum tg_status tg_lua_script_new(struct tg_lua_script **out,
                                 const struct tg_lua_script_options *options,
                                 struct tg_buf *problems)
{
    *out = NULL;
    struct tg_lua_script *script = tg_calloc(1, sizeof *script);
    if (!script)
        return TG_ENOMEM;
    script->o = *options;
    script->limits = *options->limits;
    script->problems = problems;
    script->engine.ops = &script_ops;
    script->engine.generation = options->host.generation;
    if (options->override)
        options->override(&script->limits, options->override_arg); /* the memory, while it loads */
    enum tg_status status = load_all(script);
    if (status != TG_OK) {
        tg_lua_script_free(script);
        return status;
    }
    script->problems = NULL;
    *out = script;
    return TG_OK;
}

static void free_text(const char *text)
{
    tg_free((void *)(uintptr_t)text);
}

static void forget_patterns(const struct tg_lua_script *script)
{
    lua_State *L = tg_lua_main(script->lua);
    luaL_unref(L, LUA_REGISTRYINDEX, script->patterns);
    luaL_unref(L, LUA_REGISTRYINDEX, script->match);
}

static void free_host_route(struct host_route *added)
{
    free_text(added->route.method);
    free_text(added->route.host);
    free_text(added->route.path);
    free_text(added->route.chain.name);
    tg_free(added->route.chain.items);
    tg_free(added);
}

void tg_lua_script_free(struct tg_lua_script *script)
{
    if (!script)
        return;
    tg_lua_life_fini(&script->life);
    tg_tls_context_release(script->tls);
    tg_router_free(script->engine.router);
    if (script->lua)
        tg_lua_interceptors_free(script->lua, script->interceptors);
    if (script->guest)
        forget_patterns(script);
    else
        tg_lua_free(script->lua);
    for (size_t i = 0; i < script->route_count; i++) {
        struct tg_lua_route *route = &script->routes[i];
        free_text(route->method);
        free_text(route->host);
        free_text(route->path);
        free_text(route->chain.name);
        free_text(route->chain.route_name);
        tg_free(route->chain.items);
    }
    tg_free(script->routes);
    while (script->host_routes) {
        struct host_route *next = script->host_routes->next;
        free_host_route(script->host_routes);
        script->host_routes = next;
    }
    tg_free(script->around.items);
    tg_free(script->not_found.items);
    free_text(script->around.name);
    free_text(script->not_found.name);
    for (size_t i = 0; i < script->listen_count; i++)
        tg_free(script->listen[i]);
    tg_free(script->listen);
    for (size_t i = 0; i < script->log_fields.count; i++)
        tg_free(script->log_fields.names[i]);
    tg_free(script);
}

/* --- Guests ------------------------------------------------------------------------------------- */

/* Stack: what service.check() returned; raises all of its problems. */
static void check_description(lua_State *L)
{
    luaL_Buffer text;
    if (!lua_isnil(L, -2)) {
        lua_pop(L, 1);
        return;
    }
    int problems = lua_gettop(L);
    size_t count = lua_rawlen(L, problems);
    luaL_buffinit(L, &text);
    for (size_t i = 1; i <= count; i++) {
        if (i > 1)
            luaL_addchar(&text, '\n');
        lua_rawgeti(L, problems, (lua_Integer)i);
        luaL_addvalue(&text);
    }
    luaL_pushresult(&text);
    lua_error(L);
}

void tg_lua_script_guest(lua_State *L, int index, struct tg_lua_script **slot)
{
    struct tg_lua_script *script = tg_calloc(1, sizeof *script);
    *slot = script;
    if (!script) {
        no_memory(L);
        return;
    }
    script->guest = true;
    script->lua = tg_lua_of(L);
    script->engine.ops = &script_ops;
    script->engine.arg = script->lua;
    script->patterns = LUA_NOREF;
    script->match = LUA_NOREF;
    tg_limits_init(&script->limits);
    script->engine.router = tg_router_new(on_constraint, script);
    if (!script->engine.router)
        no_memory(L);
    keep_patterns(L, script);
    describe(L, index, true);
    check_description(L);
    take_description(L, script);
}

/* --- What is asked of it ------------------------------------------------------------------------ */

void tg_lua_script_start(struct tg_lua_script *script)
{
    tg_lua_life_start(&script->life);
}

bool tg_lua_script_stop(struct tg_lua_script *script, void (*done)(void *arg), void *arg)
{
    return tg_lua_life_stop(&script->life, script->limits.drain, done, arg);
}

bool tg_lua_script_has_check(const struct tg_lua_script *script)
{
    return script->life.check != LUA_NOREF;
}

bool tg_lua_script_check(struct tg_lua_script *script, struct tg_buf *problem,
                         void (*done)(void *arg), void *arg)
{
    return tg_lua_life_check(&script->life, problem, done, arg);
}

void tg_lua_script_adopt(struct tg_lua_script *script)
{
    tg_lua_adopt(script->lua);
}

struct tg_script *tg_lua_script_engine(struct tg_lua_script *script)
{
    return &script->engine;
}

const struct tg_limits *tg_lua_script_limits(const struct tg_lua_script *script)
{
    return &script->limits;
}

enum tg_access_format tg_lua_script_log(const struct tg_lua_script *script)
{
    return script->log;
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
    for (struct host_route *h = script->host_routes; h && status == TG_OK; h = h->next)
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
    struct host_route **last = &script->host_routes;
    struct host_route *added = tg_calloc(1, sizeof *added);
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
        free_host_route(added);
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
    for (struct host_route *h = script->host_routes; h; h = h->next)
        h->route.chain.stats = tg_route_stats_of(table, h->route.chain.name);
}

unsigned tg_lua_script_workers(const struct tg_lua_script *script)
{
    return script->workers;
}

struct tg_tls_context *tg_lua_script_tls(const struct tg_lua_script *script)
{
    return script->tls;
}

const char *tg_lua_script_listen(const struct tg_lua_script *script, size_t n)
{
    return n < script->listen_count ? script->listen[n] : NULL;
}

const struct tg_lua_route *tg_lua_script_route(const struct tg_lua_script *script, size_t n)
{
    if (n < script->route_count)
        return &script->routes[n];
    const struct host_route *h = script->host_routes;
    for (n -= script->route_count; h && n; n--)
        h = h->next;
    return h ? &h->route : NULL;
}

struct tg_lua *tg_lua_script_state(const struct tg_lua_script *script)
{
    return script->lua;
}
