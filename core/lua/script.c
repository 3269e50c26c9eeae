/* script.c - loads a script into a state of its own, and the ends of that. */
#include "lua/script_impl.h"

#include <stdio.h>
#include <string.h>

#include <lauxlib.h>

#include "lua/bind_context.h"
#include "lua/bind_file.h"
#include "lua/bind_handle.h"
#include "lua/bind_request.h"
#include "lua/bind_writer.h"
#include "lua/call.h"
#include "lua/core.h"
#include "lua/failure.h"
#include "lua/file_body.h"
#include "lua/host_body.h"
#include "lua/state_impl.h"
#include "util/clock.h"
#include "util/mem.h"

/* --- Shared by the files that make a script ----------------------------------------------------- */

int tg_lua_no_memory(lua_State *L)
{
    return luaL_error(L, "not enough memory");
}

void *tg_lua_list_of(lua_State *L, size_t count, size_t size)
{
    void *list = tg_calloc(count ? count : 1, size);
    if (!list)
        tg_lua_no_memory(L);
    return list;
}

void tg_lua_script_tell_file(const struct tg_lua_script *script, const char *path)
{
    if (script->o.on_file)
        script->o.on_file(script->o.on_file_arg, path);
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
        tg_lua_script_tell_file(script, lua_tostring(L, -1));
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

enum { LOAD_SECONDS = 10, LATE_SIZE = 64 };
enum { LOAD_STEP = 100000 }; /* in instructions */

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
    char text[LATE_SIZE];
    snprintf(text, sizeof text, "the script takes more than %d s to load", LOAD_SECONDS);
    tg_lua_stop(L, on_load_step, late ? text : "the load was given up");
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
    tg_lua_script_keep_patterns(L, script);
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
        tg_lua_script_tell_file(script, o->path);
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
        tg_lua_no_memory(L);
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
    tg_lua_script_take_settings(L, script, description);
    tg_lua_script_take_routes(L, script, description);
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
                                        .check = LUA_NOREF,
                                        .service = LUA_NOREF};
    if (!tg_lua_script_make_router(script) || !script->lua)
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
    script->engine.ops = &tg_lua_script_ops;
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

void tg_lua_script_free(struct tg_lua_script *script)
{
    if (!script)
        return;
    tg_lua_life_fini(&script->life);
    if (script->lua)
        tg_lua_interceptors_free(script->lua, script->interceptors);
    if (script->guest)
        tg_lua_script_forget_patterns(script);
    else
        tg_lua_free(script->lua);
    tg_lua_script_free_routes(script);
    tg_lua_script_free_settings(script);
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
        tg_lua_no_memory(L);
        return;
    }
    script->guest = true;
    script->lua = tg_lua_of(L);
    script->engine.ops = &tg_lua_script_ops;
    script->engine.arg = script->lua;
    script->patterns = LUA_NOREF;
    script->match = LUA_NOREF;
    tg_limits_init(&script->limits);
    if (!tg_lua_script_make_router(script))
        tg_lua_no_memory(L);
    tg_lua_script_keep_patterns(L, script);
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

struct tg_lua *tg_lua_script_state(const struct tg_lua_script *script)
{
    return script->lua;
}
