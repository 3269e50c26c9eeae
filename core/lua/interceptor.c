/* interceptor.c - runs a stage of a script's interceptor on its exchange's task. */
#include "lua/interceptor.h"

#include <lauxlib.h>

#include "lua/body.h"
#include "lua/call.h"
#include "lua/failure.h"
#include "lua/response.h"
#include "lua/task.h"
#include "util/mem.h"

/* What is on the task's stack while stages run. */
enum {
    AT_REQUEST = 1,
    AT_CONTEXT /* nil until it is needed */,
    AT_RESPONSE /* the field's name */,
    AT_STATUS /* a name, too */,
    AT_LAST = AT_STATUS
};

static const char *const stage_fields[TG_LUA_STAGES] = {"enter", "leave", "error"};

/* --- What a stage gave back ------------------------------------------------------------------- */

static bool is_context(lua_State *L, int index, const struct tg_call *call)
{
    if (!lua_istable(L, index))
        return false;
    lua_getfield(L, index, "request");
    bool same = lua_touserdata(L, -1) == call;
    lua_pop(L, 1);
    if (same || !lua_getmetatable(L, index))
        return same;
    luaL_getmetatable(L, TG_CONTEXT_TYPE);
    same = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
    return same;
}

static void take_context(lua_State *L, int index)
{
    if (!lua_getmetatable(L, index)) {
        luaL_setmetatable(L, TG_CONTEXT_TYPE); /* a plain copy of it */
    } else {
        lua_pop(L, 1);
    }
    lua_pushvalue(L, index);
    lua_setiuservalue(L, AT_REQUEST, TG_CALL_CONTEXT);
    lua_pushvalue(L, index);
    lua_replace(L, AT_CONTEXT);
}

/* The context, made for what needs it. */
static void need_context(lua_State *L, struct tg_call *call)
{
    if (!lua_isnil(L, AT_CONTEXT))
        return;
    tg_call_push_context(L, call);
    lua_replace(L, AT_CONTEXT);
}

static bool is_handling(const struct tg_call *call)
{
    return call->running->handler && call->stage == TG_STAGE_ENTER;
}

/* A handler that returns nil, a message and perhaps what to raise has failed so: `return tg.fetch(…)`. */
static void check_returned(lua_State *L)
{
    enum { FIRST = AT_LAST + 1, MESSAGE, FAILURE };
    if (lua_isnil(L, FIRST) && lua_type(L, MESSAGE) == LUA_TSTRING) {
        if (!lua_istable(L, FAILURE))
            luaL_error(L, "no response, but nil and: %s", lua_tostring(L, MESSAGE));
        lua_error(L);
    }
    lua_settop(L, FIRST);
}

/* The value on top is no response, or it is one. */
static void take_response(lua_State *L, struct tg_exchange *x, int type)
{
    lua_Integer status = 0;
    if (type == LUA_TNIL) {
        x->responded = TG_RESPONDED_NOT;
        return;
    }
    if (type == LUA_TTABLE) { /* most say their status, which this finds sooner */
        lua_pushvalue(L, AT_STATUS);
        if (lua_rawget(L, -2) == LUA_TNUMBER && lua_isinteger(L, -1))
            status = lua_tointegerx(L, -1, NULL);
        if (status >= 200 && status <= 999) {
            x->response_status = (int)status;
            x->responded = TG_RESPONDED_SCRIPT;
            return;
        }
        lua_pop(L, 1);
    }
    tg_response_check(L, x);
}

/* What is left on the stack is the next stage's to take away. */
static void take_result(lua_State *L, struct tg_call *call)
{
    if (is_handling(call))
        check_returned(L);
    if (call->bare) { /* a handler's, then: there is no context to be given back */
        lua_pushvalue(L, -1);
        lua_setiuservalue(L, AT_REQUEST, TG_CALL_CONTEXT);
        take_response(L, call->exchange, lua_type(L, -1));
        return;
    }
    if (call->running->plain && call->stage == TG_STAGE_ENTER)
        need_context(L, call);
    if (lua_isnil(L, -1)) {
        /* as it was */
    } else if (is_handling(call)) {
        lua_setfield(L, AT_CONTEXT, "response");
    } else if (is_context(L, lua_gettop(L), call)) {
        take_context(L, lua_gettop(L));
    } else {
        luaL_error(L,
                   "%s of %s returned a %s, expected nothing or the context (a response goes to "
                   "ctx.response)",
                   tg_stage_name(call->stage), call->running->base.name, luaL_typename(L, -1));
    }
    lua_pushvalue(L, AT_RESPONSE);
    take_response(L, call->exchange, lua_gettable(L, AT_CONTEXT));
}

/* --- Stage after stage ------------------------------------------------------------------------ */

static const struct tg_interceptor_ops ops;

/* Pushes the stage's function and its arguments, and says how many. */
static int push_stage(lua_State *L, struct tg_call *call)
{
    bool handler = is_handling(call);
    int nargs = 0;
    lua_settop(L, AT_LAST);
    if (call->exchange->responded == TG_RESPONDED_PLAIN ||
        call->exchange->responded == TG_RESPONDED_HOST)
        tg_response_show_plain(L, call);
    lua_rawgeti(L, LUA_REGISTRYINDEX, call->running->fn[call->stage]);
    if (handler) {
        lua_pushvalue(L, AT_REQUEST);
        nargs++;
    }
    if (handler && call->running->plain)
        return nargs;
    need_context(L, call);
    lua_pushvalue(L, AT_CONTEXT);
    nargs++;
    if (call->stage == TG_STAGE_ERROR) {
        tg_failure_push(L, call);
        nargs++;
    }
    return nargs;
}

static bool has_next(struct tg_call *call)
{
    const struct tg_interceptor *next = tg_exchange_next(call->exchange, &ops, &call->stage);
    if (next)
        call->running = (const struct tg_lua_interceptor *)(const void *)next;
    return next != NULL;
}

static int stage_ended(lua_State *L, int status, lua_KContext context);

/* One run of the task for as many stages as follow each other in Lua, and for the body behind them: to
 * begin one and end it costs as much as a short stage does. */
static int run_stages(lua_State *L, struct tg_call *call)
{
    do {
        int nargs = push_stage(L, call);
        int nresults = is_handling(call) ? 3 : 1;
        lua_callk(L, nargs, nresults, (lua_KContext)call, stage_ended);
        take_result(L, call);
    } while (has_next(call));
    return tg_exchange_next_is_body(call->exchange) ? tg_body_produce(L, call) : 0;
}

static int stage_ended(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    struct tg_call *call = (struct tg_call *)context;
    take_result(L, call);
    if (has_next(call))
        return run_stages(L, call);
    return tg_exchange_next_is_body(call->exchange) ? tg_body_produce(L, call) : 0;
}

static int start_stages(lua_State *L)
{
    struct tg_call *call = lua_touserdata(L, 1);
    lua_settop(L, 0);
    tg_call_push_request(L, call);
    if (call->bare)
        lua_pushnil(L);
    else
        lua_getiuservalue(L, AT_REQUEST, TG_CALL_CONTEXT);
    lua_pushliteral(L, "response");
    lua_pushliteral(L, "status");
    return run_stages(L, call);
}

/* --- The vtable ------------------------------------------------------------------------------- */

static enum tg_step run(const struct tg_interceptor *self, struct tg_exchange *x,
                        enum tg_stage stage)
{
    struct tg_call *call = tg_call_of(x);
    if (!call) {
        tg_exchange_fail(x, 500, "not enough memory", NULL);
        return TG_STEP_FAILED;
    }
    call->running = (const struct tg_lua_interceptor *)(const void *)self;
    call->stage = stage;
    return tg_call_step(call, tg_task_start(call->task, start_stages, call));
}

static const struct tg_interceptor_ops ops = {run};

/* --- Made from a table ------------------------------------------------------------------------ */

static void take_function(lua_State *L, struct tg_lua_interceptor *made, enum tg_stage stage)
{
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        return;
    }
    made->fn[stage] = luaL_ref(L, LUA_REGISTRYINDEX);
    made->base.stages |= 1U << stage;
}

struct tg_lua_interceptor *tg_lua_interceptor_new(lua_State *L, int index,
                                                  struct tg_lua_interceptor **list)
{
    index = lua_absindex(L, index);
    struct tg_lua_interceptor *made = tg_calloc(1, sizeof *made);
    if (!made) {
        luaL_error(L, "not enough memory");
        return NULL; /* it does not come here */
    }
    made->next = *list;
    *list = made;
    for (int i = 0; i < TG_LUA_STAGES; i++)
        made->fn[i] = LUA_NOREF;
    made->base.ops = &ops;
    made->base.name = "?";

    lua_getfield(L, index, "name");
    const char *name = lua_tostring(L, -1);
    made->name = name ? tg_strdup(name) : NULL;
    if (made->name)
        made->base.name = made->name;
    lua_pop(L, 1);

    lua_getfield(L, index, "handler");
    made->handler = !lua_isnil(L, -1);
    made->plain = !tg_call_wants_context(L, -1);
    take_function(L, made, TG_STAGE_ENTER);
    for (int i = made->handler ? 1 : 0; i < TG_LUA_STAGES; i++) {
        lua_getfield(L, index, stage_fields[i]);
        take_function(L, made, (enum tg_stage)i);
    }
    return made;
}

void tg_lua_interceptors_free(struct tg_lua *lua, struct tg_lua_interceptor *list)
{
    lua_State *L = tg_lua_main(lua);
    while (list) {
        struct tg_lua_interceptor *next = list->next;
        for (int i = 0; i < TG_LUA_STAGES; i++)
            luaL_unref(L, LUA_REGISTRYINDEX, list->fn[i]);
        tg_free(list->name);
        tg_free(list);
        list = next;
    }
}
