/* program.c - a main task, and an os.exit that ends it. */
#include "lua/program.h"

#include <string.h>

#include <lauxlib.h>

#include "lua/task.h"
#include "util/buf.h"

static void end(struct tg_lua_program *p)
{
    if (p->over)
        return;
    p->over = true;
    p->done(p->arg);
}

/* --- os.exit -------------------------------------------------------------------------------------- */

static int never(lua_State *L, int status, lua_KContext context)
{
    (void)L;
    (void)status;
    (void)context;
    return 0;
}

/* Whoever calls it goes no further; the process goes on until its host ends it. */
static int l_exit(lua_State *L)
{
    struct tg_lua_program *p = lua_touserdata(L, lua_upvalueindex(1));
    struct tg_task_wait wait = {NULL, NULL};
    int code = lua_isboolean(L, 1) ? !lua_toboolean(L, 1) : (int)luaL_optinteger(L, 1, 0);
    tg_task_check(L);
    p->code = code;
    end(p);
    return tg_task_wait(L, &wait, never);
}

/* --- The main task -------------------------------------------------------------------------------- */

static void set_exit(lua_State *L, struct tg_lua_program *p)
{
    lua_getglobal(L, "os");
    lua_pushlightuserdata(L, p);
    lua_pushcclosure(L, l_exit, 1);
    lua_setfield(L, -2, "exit");
    lua_pop(L, 1);
}

static void set_arg(lua_State *L, const struct tg_lua_program *p)
{
    lua_createtable(L, (int)p->arg_count, 1);
    lua_pushstring(L, p->path);
    lua_rawseti(L, -2, 0);
    for (size_t i = 0; i < p->arg_count; i++) {
        lua_pushstring(L, p->args[i]);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    lua_setglobal(L, "arg");
}

static int run(lua_State *L)
{
    struct tg_lua_program *p = lua_touserdata(L, 1);
    int status;
    lua_settop(L, 0);
    set_exit(L, p);
    set_arg(L, p);
    if (p->text) {
        lua_pushfstring(L, "=%s", p->path);
        status = luaL_loadbufferx(L, p->text, strlen(p->text), lua_tostring(L, -1), "t");
        lua_remove(L, -2);
    } else {
        status = luaL_loadfilex(L, p->path, "t");
    }
    if (status != LUA_OK)
        return lua_error(L);
    luaL_checkstack(L, (int)p->arg_count, "too many arguments");
    for (size_t i = 0; i < p->arg_count; i++)
        lua_pushstring(L, p->args[i]);
    lua_callk(L, (int)p->arg_count, 0, 0, never);
    return 0;
}

static int push_failure(lua_State *L)
{
    const struct tg_lua_program *p = lua_touserdata(L, 1);
    tg_task_push_error(L, p->task);
    const char *traceback = lua_tostring(L, -1);
    (void)!tg_buf_addf(p->problem, "%s%s%s", luaL_tolstring(L, -2, NULL), traceback ? "\n" : "",
                       traceback ? traceback : "");
    return 0;
}

static void ended(struct tg_lua_program *p, enum tg_lua_result result)
{
    struct tg_lua *lua = tg_lua_script_state(p->script);
    if (result != TG_LUA_DONE && tg_lua_enter(lua, push_failure, p) != TG_LUA_DONE)
        (void)!tg_buf_addf(p->problem, "%s: not enough memory", p->path);
    end(p);
}

static void on_done(void *owner, enum tg_lua_result result)
{
    ended(owner, result);
}

void tg_lua_program_start(struct tg_lua_program *p)
{
    p->task = tg_task_new(tg_lua_script_state(p->script), on_done, p);
    enum tg_lua_result result = p->task ? tg_task_start(p->task, run, p) : TG_LUA_NOMEM;
    if (result == TG_LUA_WAITING)
        return;
    if (p->task) {
        ended(p, result);
        return;
    }
    (void)!tg_buf_addf(p->problem, "%s: not enough memory", p->path);
    end(p);
}

void tg_lua_program_fini(struct tg_lua_program *p)
{
    tg_task_free(p->task);
    p->task = NULL;
}
