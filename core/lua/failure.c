/* failure.c - makes err tables.
 *
 * err = { message, value, stage, interceptor, traceback, suppressed = {…}, status }.  status is
 * that of the answer when nobody handles the error: what was raised may say it in a field of this
 * name (400..599), as the library's own errors do.
 */
#include "lua/failure.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <lauxlib.h>

#include "lua/call.h"

#define ERROR_TYPE "tidegate.Error"

static const char closed_key = 0;

/* Messages that scripts were given, with their statuses. */
static const char remembered_key = 0;
enum { REMEMBERED_MAX = 64 };

/* --- Values to raise -------------------------------------------------------------------------- */

static int closed_to_string(lua_State *L)
{
    lua_pushliteral(L, "closed");
    return 1;
}

static int error_to_string(lua_State *L)
{
    lua_getfield(L, 1, "message");
    return 1;
}

void tg_failure_open(lua_State *L)
{
    lua_newtable(L);
    lua_createtable(L, 0, 2);
    lua_pushcfunction(L, closed_to_string);
    lua_setfield(L, -2, "__tostring");
    lua_pushliteral(L, "tidegate.Closed");
    lua_setfield(L, -2, "__name");
    lua_setmetatable(L, -2);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &closed_key);

    luaL_newmetatable(L, ERROR_TYPE);
    lua_pushcfunction(L, error_to_string);
    lua_setfield(L, -2, "__tostring");
    lua_pop(L, 1);
}

void tg_failure_push_closed(lua_State *L)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &closed_key);
}

int tg_failure_raise_closed(lua_State *L)
{
    tg_failure_push_closed(L);
    lua_error(L);
    __builtin_unreachable();
}

void tg_failure_push_status(lua_State *L, int status, const char *message)
{
    lua_createtable(L, 0, 2);
    lua_pushstring(L, message);
    lua_setfield(L, -2, "message");
    lua_pushinteger(L, status);
    lua_setfield(L, -2, "status");
    luaL_setmetatable(L, ERROR_TYPE);
}

int tg_failure_raise_status(lua_State *L, int status, const char *format, ...)
{
    char message[512];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    tg_failure_push_status(L, status, message);
    return lua_error(L);
}

void tg_failure_remember(lua_State *L, int index, int status)
{
    index = lua_absindex(L, index);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &remembered_key);
    lua_Integer count = 0;
    if (lua_istable(L, -1) && lua_rawgeti(L, -1, 1)) {
        count = lua_tointeger(L, -1);
        lua_pop(L, 1);
    }
    if (count == 0 || count >= REMEMBERED_MAX) {
        lua_newtable(L);
        lua_copy(L, -1, -2);
        lua_rawsetp(L, LUA_REGISTRYINDEX, &remembered_key);
        count = 0;
    }
    lua_pushinteger(L, count + 1);
    lua_rawseti(L, -2, 1);
    lua_pushvalue(L, index);
    lua_pushinteger(L, status);
    lua_rawset(L, -3);
    lua_pop(L, 1);
}

/* Behind the place that error() puts before a text; the text itself where there is none. */
static const char *without_place(const char *text)
{
    for (const char *colon = strchr(text, ':'); colon; colon = strchr(colon + 1, ':')) {
        size_t digits = strspn(colon + 1, "0123456789");
        if (digits && colon[digits + 1] == ':' && colon[digits + 2] == ' ')
            return colon + digits + 3;
    }
    return text;
}

static void push_remembered(lua_State *L, int index)
{
    const char *text = lua_tostring(L, index);
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &remembered_key) != LUA_TTABLE)
        return;
    lua_pushvalue(L, index);
    if (lua_rawget(L, -2) == LUA_TNIL) {
        lua_pop(L, 1);
        lua_pushstring(L, without_place(text));
        lua_rawget(L, -2);
    }
    lua_remove(L, -2);
}

/* --- The err table ---------------------------------------------------------------------------- */

static void set_error(lua_State *L, const struct tg_call *call)
{
    tg_call_push_request(L, call);
    lua_insert(L, -2);
    lua_setiuservalue(L, -2, TG_CALL_ERROR);
    lua_pop(L, 1);
}

static void get_error(lua_State *L, const struct tg_call *call)
{
    tg_call_push_request(L, call);
    lua_getiuservalue(L, -1, TG_CALL_ERROR);
    lua_remove(L, -2);
}

static void set_string(lua_State *L, const char *field, const char *value)
{
    lua_pushstring(L, value);
    lua_setfield(L, -2, field);
}

/* The field of the table at index, without its metamethods: what was raised is the script's. */
static int raw_field(lua_State *L, int index, const char *field)
{
    if (!lua_istable(L, index)) {
        lua_pushnil(L);
        return LUA_TNIL;
    }
    index = lua_absindex(L, index);
    lua_pushstring(L, field);
    return lua_rawget(L, index);
}

static int status_of(lua_State *L, int index)
{
    int isnum;
    if (lua_type(L, index) == LUA_TSTRING)
        push_remembered(L, index);
    else
        raw_field(L, index, "status");
    lua_Integer status = lua_tointegerx(L, -1, &isnum);
    lua_pop(L, 1);
    return isnum && status >= 400 && status <= 599 ? (int)status : 500;
}

static bool is_closed(lua_State *L, int index)
{
    tg_failure_push_closed(L);
    bool same = lua_rawequal(L, -1, index);
    lua_pop(L, 1);
    return same;
}

/* What fits of the fields that are texts, numbers and booleans: " name = value, …", or "". */
static void show_raised(lua_State *L, int index, char *text, size_t size)
{
    size_t used = 0;
    lua_pushnil(L);
    while (lua_next(L, index)) {
        bool is_text = lua_type(L, -1) == LUA_TSTRING;
        if (lua_type(L, -2) == LUA_TSTRING &&
            (is_text || lua_isnumber(L, -1) || lua_isboolean(L, -1))) {
            const char *quote = is_text ? "\"" : "";
            const char *value = luaL_tolstring(L, -1, NULL);
            int n = snprintf(text + used, size - used, "%s %s = %s%s%s", used ? "," : "",
                             lua_tostring(L, -3), quote, value, quote);
            lua_pop(L, 1);
            if (n < 0 || (size_t)n >= size - used)
                text[used] = 0; /* what does not fit is left out */
            else
                used += (size_t)n;
        }
        lua_pop(L, 1);
    }
}

void tg_failure_push_text(lua_State *L, int index)
{
    index = lua_absindex(L, index);
    if (raw_field(L, index, "message") == LUA_TSTRING)
        return;
    lua_pop(L, 1);
    char fields[512] = "";
    if (lua_type(L, index) == LUA_TSTRING || lua_type(L, index) == LUA_TNUMBER) {
        lua_pushvalue(L, index);
    } else if (is_closed(L, index)) {
        lua_pushliteral(L, "(tg.closed was raised: the client has gone, or the response is over)");
    } else {
        if (lua_istable(L, index))
            show_raised(L, index, fields, sizeof fields);
        lua_pushfstring(L, "(a %s was raised%s%s)", luaL_typename(L, index), *fields ? ":" : "",
                        fields);
    }
}

/* Stack: value, traceback or nil.  Leaves the err table in their place. */
static void build(lua_State *L, const struct tg_call *call)
{
    int value = lua_gettop(L) - 1;
    struct tg_exchange *x = call->exchange;
    const struct tg_interceptor *running = tg_exchange_running(x);

    lua_createtable(L, 0, 8);
    tg_failure_push_text(L, value);
    lua_setfield(L, -2, "message");
    lua_pushvalue(L, value);
    lua_setfield(L, -2, "value");
    set_string(L, "stage", tg_stage_name(tg_exchange_stage(x)));
    if (running)
        set_string(L, "interceptor", running->name);
    lua_pushvalue(L, value + 1);
    lua_setfield(L, -2, "traceback");
    lua_pushinteger(L, status_of(L, value));
    lua_setfield(L, -2, "status");
    lua_createtable(L, 1, 0);
    if (tg_exchange_stage(x) == TG_STAGE_ERROR) {
        get_error(L, call);
        if (lua_isnil(L, -1))
            lua_pop(L, 1);
        else
            lua_rawseti(L, -2, 1);
    }
    lua_setfield(L, -2, "suppressed");
    lua_replace(L, value);
    lua_settop(L, value);
}

/* Tells the engine what the err table on top says. */
static void tell(lua_State *L, const struct tg_call *call)
{
    int table = lua_gettop(L);
    lua_getfield(L, table, "message");
    lua_getfield(L, table, "traceback");
    tg_exchange_fail(call->exchange, status_of(L, table), lua_tostring(L, -2), lua_tostring(L, -1));
    lua_settop(L, table);
}

/* The same err raised again by an error stage: it is declined, and goes on as it is. */
static bool declined(lua_State *L, const struct tg_call *call, int value)
{
    if (tg_exchange_stage(call->exchange) != TG_STAGE_ERROR)
        return false;
    get_error(L, call);
    bool same = lua_rawequal(L, -1, value);
    lua_pop(L, 1);
    return same;
}

static int make_error(lua_State *L)
{
    struct tg_call *call = lua_touserdata(L, 1);
    lua_settop(L, 0);
    tg_task_push_error(L, call->task);
    if (declined(L, call, 1))
        return 0;
    build(L, call);
    tell(L, call);
    set_error(L, call);
    call->exchange->error.in_script = true;
    return 0;
}

enum tg_step tg_failure_step(struct tg_call *call, enum tg_lua_result result)
{
    switch (result) {
    case TG_LUA_DONE:
        return TG_STEP_DONE;
    case TG_LUA_WAITING:
        return TG_STEP_WAIT;
    case TG_LUA_FAILED:
    case TG_LUA_NOMEM:
    case TG_LUA_CANCELLED:
        break;
    }
    if (tg_lua_enter(tg_task_lua(call->task), make_error, call) != TG_LUA_DONE)
        tg_exchange_fail(call->exchange, 500, "not enough memory", NULL);
    return TG_STEP_FAILED;
}

void tg_failure_push(lua_State *L, struct tg_call *call)
{
    const struct tg_error *error = &call->exchange->error;
    if (error->in_script) {
        get_error(L, call);
        return;
    }
    lua_createtable(L, 0, 8);
    set_string(L, "message", error->message ? error->message : "not enough memory");
    set_string(L, "value", error->message ? error->message : "not enough memory");
    set_string(L, "stage", tg_stage_name(error->stage));
    if (error->interceptor)
        set_string(L, "interceptor", error->interceptor);
    lua_pushinteger(L, error->status);
    lua_setfield(L, -2, "status");
    lua_newtable(L);
    lua_setfield(L, -2, "suppressed");
    lua_pushvalue(L, -1);
    set_error(L, call);
    call->exchange->error.in_script = true;
}
