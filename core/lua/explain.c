/* explain.c - calls lua/tidegate/error_page.lua, and takes what it makes. */
#include "lua/explain.h"

#include <stdio.h>
#include <string.h>

#include <lauxlib.h>

#include "http/reason.h"
#include "lua/call.h"
#include "lua/failure.h"

struct explaining {
    struct tg_exchange *x;
    struct tg_call *call;
    const char *script_path;
    bool done;
};

static void set_field(lua_State *L, const char *field, const char *value)
{
    lua_pushstring(L, value);
    lua_setfield(L, -2, field);
}

static int explain(lua_State *L)
{
    struct explaining *e = lua_touserdata(L, 1);
    char fields[256];
    struct tg_slice body;
    lua_getglobal(L, "require");
    lua_pushliteral(L, "tidegate.error_page");
    lua_call(L, 1, 1);
    lua_getfield(L, -1, "make");
    tg_failure_push(L, e->call);
    tg_call_push_request(L, e->call);
    lua_createtable(L, 0, 3);
    set_field(L, "route", tg_exchange_route(e->x));
    set_field(L, "reason", tg_reason(e->x->error.status));
    set_field(L, "script", e->script_path);
    lua_call(L, 3, 2);
    body.p = luaL_checklstring(L, -1, &body.len);
    snprintf(fields, sizeof fields, "Content-Type: %s\r\nCache-Control: no-store\r\n",
             luaL_checkstring(L, -2));
    struct tg_slice lines = {fields, strlen(fields)};
    e->done = tg_exchange_respond(e->x, e->x->error.status, lines, body) == TG_OK;
    return 0;
}

bool tg_explain(struct tg_exchange *x, const char *script_path)
{
    struct explaining e = {x, tg_call_of(x), script_path, false};
    if (!e.call)
        return false;
    struct tg_lua *lua = x->script->arg;
    if (tg_lua_enter(lua, explain, &e) != TG_LUA_DONE)
        tg_log(tg_lua_log(lua), TG_LOG_WARN, "the page of an error: %s", tg_lua_error(lua));
    return e.done;
}
