/* state.c - Lua states with a memory limit, and the only calls of lua_pcall and lua_resume. */
#include "lua/state.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lauxlib.h>
#include <lualib.h>

#include "lua/bind_coroutine.h"
#include "lua/bind_paths.h"
#include "lua/embed.h"
#include "lua/failure.h"
#include "lua/slice.h"
#include "lua/state_impl.h"
#include "util/mem.h"
#include "util/pool.h"

enum { ERROR_MAX = 4096, WARNING_MAX = 1024 };

struct tg_lua {
    lua_State *L;
    struct tg_lua_options o;
    size_t used;
    struct tg_pool pool;
    struct tg_lua_tasks tasks;
    struct tg_lua_link links[2]; /* of coroutines that do not wait, and of those that do */
    struct tg_lua_types types;
    void *user;
    char error[ERROR_MAX];
    char warning[WARNING_MAX]; /* the pieces so far */
    size_t warning_len;
    bool warnings_off;
};

/* --- Memory ----------------------------------------------------------------------------------- */

static void *limited_alloc(void *ud, void *p, size_t osize, size_t nsize)
{
    struct tg_lua *lua = ud;
    if (!p)
        osize = 0; /* Lua passes the kind of object here, not a size */
    if (nsize == 0) {
        lua->used -= osize;
        tg_pool_free(&lua->pool, p, osize);
        return NULL;
    }
    size_t max = lua->o.memory_max;
    if (max && nsize > osize && (lua->used > max || nsize - osize > max - lua->used))
        return NULL;
    void *moved =
        p ? tg_pool_realloc(&lua->pool, p, osize, nsize) : tg_pool_alloc(&lua->pool, nsize);
    if (moved)
        lua->used = lua->used - osize + nsize;
    return moved;
}

void tg_lua_adopt(struct tg_lua *lua)
{
    tg_lua_tasks_adopt(&lua->tasks);
}

bool tg_lua_is_held(struct tg_lua *lua)
{
    return lua->tasks.held;
}

void tg_lua_set_memory_max(struct tg_lua *lua, size_t max)
{
    lua->o.memory_max = max;
}

size_t tg_lua_memory(const struct tg_lua *lua)
{
    return lua->used;
}

/* --- What a script must not do to its host ----------------------------------------------------- */

/* __gc runs without any limit on what it does (hooks are off in it). */
static void refuse_gc(lua_State *L)
{
    luaL_argexpected(L, lua_isnil(L, 2) || lua_istable(L, 2), 2, "nil or table");
    if (lua_isnil(L, 2))
        return;
    lua_pushliteral(L, "__gc");
    if (lua_rawget(L, 2) != LUA_TNIL)
        luaL_error(L, "__gc is not available: use <close> variables");
    lua_pop(L, 1);
}

static int l_setmetatable(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    refuse_gc(L);
    if (luaL_getmetafield(L, 1, "__metatable") != LUA_TNIL)
        return luaL_error(L, "cannot change a protected metatable");
    lua_settop(L, 2);
    lua_setmetatable(L, 1);
    return 1;
}

static int l_debug_setmetatable(lua_State *L)
{
    refuse_gc(L);
    lua_settop(L, 2);
    lua_setmetatable(L, 1);
    return 1;
}

/* A hook of a script's would run where no other stops it, and be lost at the next slice's end. */
static int l_sethook(lua_State *L)
{
    return luaL_error(L, "debug.sethook is not available: hooks end what computes for too long");
}

static int l_exit(lua_State *L)
{
    return luaL_error(L, "os.exit is not available");
}

static void warn(void *ud, const char *message, int to_be_continued)
{
    struct tg_lua *lua = ud;
    if (!lua->warning_len && !to_be_continued && *message == '@') { /* a control message */
        if (strcmp(message, "@on") == 0 || strcmp(message, "@off") == 0)
            lua->warnings_off = message[2] == 'f';
        return;
    }
    size_t room = sizeof lua->warning - lua->warning_len;
    size_t len = strnlen(message, room - 1);
    memcpy(lua->warning + lua->warning_len, message, len);
    lua->warning_len += len;
    if (to_be_continued)
        return;
    lua->warning[lua->warning_len] = '\0';
    lua->warning_len = 0;
    if (!lua->warnings_off)
        tg_log(lua->o.log, TG_LOG_WARN, "lua: %s", lua->warning);
}

/* Lua aborts when this returns.  It is not called: every call of Lua's that can raise is below
 * lua_pcall or lua_resume. */
static int on_panic(lua_State *L)
{
    const char *message = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "(no message)";
    tg_log(tg_lua_log(tg_lua_of(L)), TG_LOG_ERROR, "lua: an error outside of any call: %s",
           message);
    return 0;
}

/* --- Opening ---------------------------------------------------------------------------------- */

static int load_embedded(lua_State *L)
{
    const struct tg_embedded *module = lua_touserdata(L, lua_upvalueindex(1));
    lua_pushfstring(L, "=%s", module->name);
    if (luaL_loadbufferx(L, (const char *)module->source, module->len, lua_tostring(L, -1), "t") !=
        LUA_OK)
        return lua_error(L);
    lua_pushvalue(L, 1);
    lua_call(L, 1, 1);
    return 1;
}

static void preload(lua_State *L)
{
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
    for (const struct tg_embedded *module = tg_embedded; module->name; module++) {
        lua_pushlightuserdata(L, (void *)(uintptr_t)module);
        lua_pushcclosure(L, load_embedded, 1);
        lua_setfield(L, -2, module->name);
    }
    lua_pop(L, 1);
}

static void set_function(lua_State *L, const char *library, const char *name, lua_CFunction fn)
{
    lua_getglobal(L, library);
    lua_pushcfunction(L, fn);
    lua_setfield(L, -2, name);
    lua_pop(L, 1);
}

static int open_libraries(lua_State *L)
{
    struct tg_lua *lua = lua_touserdata(L, 1);
    luaL_openlibs(L);
    lua_pushcfunction(L, l_setmetatable);
    lua_setglobal(L, "setmetatable");
    set_function(L, "debug", "setmetatable", l_debug_setmetatable);
    if (lua->tasks.slices)
        set_function(L, "debug", "sethook", l_sethook);
    set_function(L, "os", "exit", l_exit);
    tg_coroutine_open(L);
    tg_paths_open(L);
    preload(L);
    tg_lua_tasks_open(L, &lua->tasks);
    return 0;
}

struct tg_lua *tg_lua_new(const struct tg_lua_options *options)
{
    struct tg_lua *lua = tg_calloc(1, sizeof *lua);
    if (!lua)
        return NULL;
    lua->o = *options;
    tg_pool_init(&lua->pool);
    lua->L = lua_newstate(limited_alloc, lua);
    if (!lua->L) {
        tg_pool_fini(&lua->pool);
        tg_free(lua);
        return NULL;
    }
    lua->links[0] = (struct tg_lua_link){lua, &lua->tasks, false};
    lua->links[1] = (struct tg_lua_link){lua, &lua->tasks, true};
    *tg_lua_link(lua->L) = &lua->links[0]; /* every coroutine begins with a copy of it */
    lua_atpanic(lua->L, on_panic);
    lua_setwarnf(lua->L, warn, lua);
    tg_lua_tasks_init(&lua->tasks, lua);
    lua->tasks.held = options->held;
    lua->tasks.slices = options->slices;
    if (tg_lua_enter(lua, open_libraries, lua) == TG_LUA_DONE)
        return lua;
    tg_lua_free(lua);
    return NULL;
}

void tg_lua_free(struct tg_lua *lua)
{
    if (!lua)
        return;
    tg_lua_tasks_stop(&lua->tasks);
    tg_lua_tasks_fini(&lua->tasks);
    lua->o.memory_max = 0;
    lua_close(lua->L);
    tg_pool_fini(&lua->pool);
    tg_free(lua);
}

/* --- The door --------------------------------------------------------------------------------- */

bool tg_lua_is_in_script(lua_State *L, int level)
{
    lua_Debug ar;
    for (; lua_getstack(L, level, &ar); level++) {
        lua_getinfo(L, "S", &ar);
        if (*ar.what != 'C')
            return true;
    }
    return false;
}

static int add_traceback(lua_State *L)
{
    if (luaL_getmetafield(L, 1, "__tostring") == LUA_TNIL)
        tg_failure_push_text(L, 1);
    else
        luaL_tolstring(L, 1, NULL);
    if (tg_lua_is_in_script(L, 1))
        luaL_traceback(L, L, lua_tostring(L, -1), 1);
    return 1;
}

static void keep_error(struct tg_lua *lua, const char *message)
{
    snprintf(lua->error, sizeof lua->error, "%s", message);
}

void tg_lua_set_hooks(const struct tg_lua_tasks *tasks, lua_Hook hook)
{
    for (const struct tg_lua_level *level = tasks->levels; level; level = level->up)
        lua_sethook(level->co, hook, LUA_MASKCOUNT, 1);
    if (tasks->entered)
        lua_sethook(tg_lua_main(tasks->lua), hook, LUA_MASKCOUNT, 1);
}

int tg_lua_stop(lua_State *L, lua_Hook hook, const char *why)
{
    struct tg_lua *lua = tg_lua_of(L);
    lua_sethook(L, hook, LUA_MASKCOUNT, 1); /* it may be a library's coroutine, and no level */
    tg_lua_set_hooks(&lua->tasks, hook);
    if (!lua->tasks.stopping) {
        lua->tasks.stopping = true;
        keep_error(lua, why); /* there may be no memory for more */
        luaL_traceback(L, L, why, 0);
        keep_error(lua, lua_tostring(L, -1));
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, lua->tasks.no_memory);
    lua_error(L);
    __builtin_unreachable();
}

enum tg_lua_result tg_lua_enter(struct tg_lua *lua, lua_CFunction fn, void *arg)
{
    lua_State *L = lua->L;
    lua_pushcfunction(L, add_traceback); /* none of these three pushes allocates, */
    lua_pushcfunction(L, fn);            /* so none can raise */
    lua_pushlightuserdata(L, arg);
    struct tg_slices *slices = lua->tasks.held ? NULL : lua->tasks.slices;
    struct tg_lua_tasks *before = tg_slices_begin(slices, &lua->tasks);
    if (!lua->tasks.entered++ && !lua->tasks.current)
        lua->tasks.stopping = false;
    int status = lua_pcall(L, 1, 0, -3);
    lua->tasks.entered--;
    tg_slices_end(slices, before);
    if (lua_gethook(L) && !lua->tasks.held)
        lua_sethook(L, NULL, 0, 0);
    bool stopped = lua->tasks.stopping;
    if (status != LUA_OK) {
        const char *message = lua_tostring(L, -1);
        if (!stopped)
            keep_error(lua, message ? message : "(no message)");
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    if (status == LUA_OK && !stopped)
        return TG_LUA_DONE;
    return status == LUA_ERRMEM && !stopped ? TG_LUA_NOMEM : TG_LUA_FAILED;
}

const char *tg_lua_error(const struct tg_lua *lua)
{
    return lua->error;
}

int tg_lua_resume(lua_State *co, lua_State *from, int nargs, int *nresults)
{
    return lua_resume(co, from, nargs, nresults);
}

int tg_lua_close_thread(lua_State *co, lua_State *from)
{
#if LUA_VERSION_RELEASE_NUM >= 50406
    return lua_closethread(co, from);
#elif LUA_VERSION_RELEASE_NUM == 50405
    return lua_resetthread(co, from);
#else
    (void)from;
    return lua_resetthread(co);
#endif
}

/* --- Finding one's way ------------------------------------------------------------------------ */

struct tg_lua *tg_lua_of(lua_State *L)
{
    return (*tg_lua_link(L))->lua;
}

void tg_lua_set_waits(lua_State *co, bool waits)
{
    *tg_lua_link(co) = &tg_lua_of(co)->links[waits];
}

lua_State *tg_lua_main(struct tg_lua *lua)
{
    return lua->L;
}

const struct tg_log *tg_lua_log(const struct tg_lua *lua)
{
    return lua->o.log;
}

struct tg_upstream *tg_lua_upstream(const struct tg_lua *lua)
{
    return lua->o.upstream;
}

struct event_base *tg_lua_base(const struct tg_lua *lua)
{
    return lua->o.base;
}

const struct tg_lua_host *tg_lua_host(lua_State *L)
{
    return tg_lua_of(L)->o.host;
}

struct tg_lua_types *tg_lua_types(struct tg_lua *lua)
{
    return &lua->types;
}

void tg_lua_set_user(struct tg_lua *lua, void *user)
{
    lua->user = user;
}

void *tg_lua_user(const struct tg_lua *lua)
{
    return lua->user;
}

struct tg_lua_tasks *tg_lua_tasks(struct tg_lua *lua)
{
    return &lua->tasks;
}

struct tg_task *tg_lua_current(const struct tg_lua *lua)
{
    return lua->tasks.current;
}

void tg_lua_suspended(const struct tg_lua *lua)
{
    if (lua->o.suspended)
        lua->o.suspended(lua->o.arg);
}
