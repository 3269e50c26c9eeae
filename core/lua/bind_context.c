/* bind_context.c - ctx:enqueue, terminate, terminate_when, on_close and the low-level calls. */
#include "lua/bind_context.h"

#include <lauxlib.h>

#include "lua/body.h"
#include "lua/call.h"
#include "lua/interceptor.h"

static struct tg_call *live(lua_State *L)
{
    struct tg_call *call = tg_call_check(L, 1);
    if (!call->exchange)
        luaL_error(L, "the exchange is over");
    return call;
}

/* --- The queue -------------------------------------------------------------------------------- */

static void check_interceptor(lua_State *L, int index)
{
    static const char *const stages[] = {"enter", "leave", "error"};
    bool some = false;
    if (lua_isfunction(L, index))
        return;
    luaL_argcheck(L, lua_istable(L, index), index,
                  "an interceptor is a function or a table { name, enter, leave, error }");
    for (int i = 0; i < TG_LUA_STAGES; i++) {
        int type = lua_getfield(L, index, stages[i]);
        luaL_argcheck(L, type == LUA_TNIL || type == LUA_TFUNCTION, index,
                      "the stages of an interceptor are functions");
        some = some || type == LUA_TFUNCTION;
        lua_pop(L, 1);
    }
    luaL_argcheck(L, some, index, "an interceptor has enter, leave or error");
}

/* A function is a handler; the table says so, as those of the service do. */
static void normalise(lua_State *L, int index)
{
    if (lua_istable(L, index)) {
        lua_pushvalue(L, index);
        return;
    }
    lua_createtable(L, 0, 2);
    lua_pushvalue(L, index);
    lua_setfield(L, -2, "handler");
    lua_pushliteral(L, "enqueued handler");
    lua_setfield(L, -2, "name");
}

static int l_enqueue(lua_State *L)
{
    struct tg_call *call = live(L);
    int top = lua_gettop(L);
    for (int i = 2; i <= top; i++)
        check_interceptor(L, i);
    for (int i = 2; i <= top; i++) {
        normalise(L, i);
        const struct tg_lua_interceptor *made = tg_lua_interceptor_new(L, -1, &call->enqueued);
        lua_pop(L, 1);
        switch (tg_exchange_enqueue(call->exchange, &made->base)) {
        case TG_OK:
            break;
        case TG_ELIMIT:
            return luaL_error(L, "the queue has more than %d interceptors", TG_QUEUE_MAX);
        default:
            return luaL_error(L, "not enough memory");
        }
    }
    return 0;
}

static int l_terminate(lua_State *L)
{
    tg_exchange_terminate(live(L)->exchange);
    return 0;
}

/* Appends the function at index 2 to the list that is the request's user value n. */
static void append(lua_State *L, const struct tg_call *call, int n)
{
    luaL_checktype(L, 2, LUA_TFUNCTION);
    tg_call_push_request(L, call);
    if (lua_getiuservalue(L, -1, n) != LUA_TTABLE) {
        lua_pop(L, 1);
        lua_newtable(L);
        lua_pushvalue(L, -1);
        lua_setiuservalue(L, -3, n);
    }
    lua_pushvalue(L, 2);
    lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
}

static int l_terminate_when(lua_State *L)
{
    struct tg_call *call = live(L);
    append(L, call, TG_CALL_PREDICATES);
    call->exchange->watched = true;
    return 0;
}

static int l_on_close(lua_State *L)
{
    struct tg_call *call = live(L);
    append(L, call, TG_CALL_ON_CLOSE);
    call->closers++;
    return 0;
}

void tg_context_open(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"enqueue", l_enqueue},
        {"terminate", l_terminate},
        {"terminate_when", l_terminate_when},
        {"on_close", l_on_close},
        {"write_response", tg_body_write_response},
        {"write_response_body", tg_body_write_response_body},
        {"flush", tg_body_flush},
        {"response_sent", tg_body_response_sent},
        {NULL, NULL},
    };
    luaL_newmetatable(L, TG_CONTEXT_TYPE);
    luaL_newlib(L, methods);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
}
