/* bind_sse.c - events:send, comment, subscribe and close, and the handler that has events. */
#include "lua/bind_sse.h"

#include <string.h>

#include <lauxlib.h>

#include "body/event.h"
#include "body/json.h"
#include "engine/stream.h"
#include "lua/bind_json.h"
#include "lua/bind_topic.h"
#include "lua/bind_writer.h"
#include "lua/body.h"
#include "lua/call.h"
#include "lua/driven.h"
#include "lua/failure.h"
#include "lua/host.h"

#define EVENTS_TYPE "tidegate.Events"

/* User values of the script's handle. */
enum {
    REQUEST = 1, /* keeps call alive */
    LAST_ID,
};

struct events {
    struct tg_call *call;
    struct tg_stream stream;
    struct tg_driven driven; /* by a topic */
};

/* --- The handle ------------------------------------------------------------------------------- */

static struct events *check(lua_State *L)
{
    return luaL_checkudata(L, 1, EVENTS_TYPE);
}

/* The writer of events at index 1: raises when nothing can be sent any more. */
static struct tg_writer *check_open(lua_State *L)
{
    struct tg_writer *w = check(L)->call->out.writer;
    if (!w)
        tg_failure_raise_closed(L);
    else if (w->ended)
        luaL_error(L, "the stream has ended: events was closed");
    else
        tg_out_check(L, w->failed);
    return w;
}

static int events_gc(lua_State *L)
{
    tg_stream_close(&check(L)->stream);
    return 0;
}

/* What could not have been an id is none. */
static void push_last_id(lua_State *L, const struct tg_call *call)
{
    struct tg_slice id = tg_topic_push_last_id(L, call);
    if (id.p && (id.len > TG_EVENT_FIELD_MAX || strcspn(id.p, "\r\n") < id.len)) {
        lua_pop(L, 1);
        lua_pushnil(L);
    }
}

/* events.last_id, and the methods, which are the upvalue. */
static int events_index(lua_State *L)
{
    const char *name = lua_tostring(L, 2);
    if (name && strcmp(name, "last_id") == 0) {
        check(L);
        lua_getiuservalue(L, 1, LAST_ID);
        return 1;
    }
    lua_settop(L, 2);
    lua_rawget(L, lua_upvalueindex(1));
    return 1;
}

/* --- events:send(event) ----------------------------------------------------------------------- */

/* What send puts on the stack: itself, what it was given, and the parts of that. */
enum { EVENT = 2, NAME, ID, DATA, RETRY };

static void check_fields(lua_State *L)
{
    /* The last three come from a topic's events, and say nothing more here. */
    static const char *const known[] = {"event", "id",   "data",   "retry",
                                        "key",   "json", "missed", NULL};
    lua_pushnil(L);
    while (lua_next(L, EVENT)) {
        const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?";
        size_t i = 0;
        while (known[i] && strcmp(known[i], name) != 0)
            i++;
        if (!known[i])
            luaL_error(L, "send: an event has event, data, id and retry, this has %s", name);
        lua_pop(L, 1);
    }
}

static void spread(lua_State *L)
{
    lua_settop(L, EVENT);
    if (!lua_istable(L, EVENT)) {
        lua_settop(L, RETRY);
        lua_pushvalue(L, EVENT);
        lua_replace(L, DATA);
        return;
    }
    check_fields(L);
    lua_getfield(L, EVENT, "event");
    lua_getfield(L, EVENT, "id");
    lua_getfield(L, EVENT, "data");
    lua_getfield(L, EVENT, "retry");
}

static struct tg_slice text_at(lua_State *L, int index, const char *name)
{
    struct tg_slice text = {NULL, 0};
    int type = lua_type(L, index);
    if (type == LUA_TNIL)
        return text;
    if (type != LUA_TSTRING && type != LUA_TNUMBER)
        luaL_error(L, "send: %s is a string, this is a %s", name, luaL_typename(L, index));
    text.p = lua_tolstring(L, index, &text.len);
    return text;
}

static uint64_t retry_at(lua_State *L)
{
    if (lua_isnil(L, RETRY))
        return TG_EVENT_NO_RETRY;
    lua_Integer ms = lua_isinteger(L, RETRY) ? lua_tointeger(L, RETRY) : -1;
    if (ms < 0)
        luaL_error(L, "send: retry is an integer, milliseconds");
    return (uint64_t)ms;
}

/* Texts as they are; numbers as JSON has them, into room. */
static struct tg_slice data_at(lua_State *L, char room[TG_NUMBER_MAX])
{
    struct tg_slice text = {NULL, 0};
    size_t len;
    switch (lua_type(L, DATA)) {
    case LUA_TSTRING:
        text.p = lua_tolstring(L, DATA, &text.len);
        return text;
    case LUA_TBOOLEAN:
        return lua_toboolean(L, DATA) ? TG_SLICE("true") : TG_SLICE("false");
    case LUA_TNUMBER:
        len = lua_isinteger(L, DATA) ? tg_format_integer(room, lua_tointeger(L, DATA))
                                     : tg_format_number(room, lua_tonumber(L, DATA));
        if (!len)
            luaL_error(L, "send: NaN and the infinities are no data");
        return (struct tg_slice){room, len};
    default: /* nil: what it was else is JSON by now */
        return text;
    }
}

static int went_out(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    tg_task_resumed(L, context);
    check_open(L);
    lua_settop(L, 1);
    return 1;
}

/* Something was written in one piece. */
static int spoke(lua_State *L, struct tg_writer *w)
{
    tg_out_check(L, w->failed);
    tg_stream_spoke(&check(L)->stream);
    if (w->must_wait)
        return tg_out_wait(L, w, went_out);
    lua_settop(L, 1);
    return 1;
}

static int put(lua_State *L)
{
    char room[TG_NUMBER_MAX];
    struct tg_writer *w = check_open(L);
    struct tg_event event = {
        .name = text_at(L, NAME, "event"),
        .id = text_at(L, ID, "id"),
        .data = data_at(L, room),
        .retry = retry_at(L),
    };
    if (event.name.p && !event.data.p)
        event.data = TG_SLICE(""); /* without data no client would see the event */
    if (!event.data.p && !event.id.p && event.retry == TG_EVENT_NO_RETRY)
        return luaL_error(L, "send: there is nothing in this event");
    struct tg_event_pen pen = tg_event_pen_to_writer(w);
    switch (tg_event_print(&pen, &event)) {
    case TG_EINVAL:
        tg_out_check(L, w->failed);
        return luaL_error(L, "send: event and id have no line break and no NUL");
    case TG_ELIMIT:
        tg_out_check(L, w->failed);
        return luaL_error(L, "send: event and id have at most %d bytes each", TG_EVENT_FIELD_MAX);
    default:
        return spoke(L, w);
    }
}

static int encoded(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    (void)context;
    lua_replace(L, DATA);
    return put(L);
}

/* The event goes out whole, whatever else is written to the stream, so its data is made first: that may
 * wait. */
static int l_send(lua_State *L)
{
    check_open(L);
    luaL_checkany(L, EVENT);
    spread(L);
    switch (lua_type(L, DATA)) {
    case LUA_TNIL:
    case LUA_TSTRING:
    case LUA_TNUMBER:
    case LUA_TBOOLEAN:
        return put(L);
    default:
        lua_pushcfunction(L, tg_json_encode);
        lua_pushvalue(L, DATA);
        lua_callk(L, 1, 1, 0, encoded);
        return encoded(L, LUA_OK, 0);
    }
}

/* --- The other methods ------------------------------------------------------------------------ */

static int l_comment(lua_State *L)
{
    struct tg_slice text;
    struct tg_writer *w = check_open(L);
    text.p = luaL_optlstring(L, 2, "", &text.len);
    struct tg_event_pen pen = tg_event_pen_to_writer(w);
    tg_event_comment(&pen, text);
    tg_event_end(&pen);
    return spoke(L, w);
}

static int l_flush(lua_State *L)
{
    struct tg_writer *w = check_open(L);
    tg_out_check(L, tg_writer_flush(w));
    return spoke(L, w);
}

static int l_close(lua_State *L)
{
    struct events *events = check(L);
    struct tg_writer *w = events->call->out.writer;
    if (!w || !events->stream.all)
        return 0;
    tg_driven_stop(&events->driven, TG_OK);
    tg_stream_close(&events->stream);
    tg_out_check(L, tg_writer_end(w));
    return 0;
}

/* The id of options.after at 3, or else the client's: left on the stack; p is NULL for none. */
static struct tg_slice push_after(lua_State *L)
{
    struct tg_slice after = {NULL, 0};
    lua_settop(L, 3);
    if (!lua_isnil(L, 3)) {
        luaL_checktype(L, 3, LUA_TTABLE);
        lua_getfield(L, 3, "after");
        luaL_argcheck(L, lua_isnil(L, 4) || lua_isstring(L, 4) || !lua_toboolean(L, 4), 3,
                      "after is an id, or false");
        lua_replace(L, 3);
    }
    if (lua_isnil(L, 3))
        lua_getiuservalue(L, 1, LAST_ID);
    if (lua_isstring(L, -1))
        after.p = lua_tolstring(L, -1, &after.len);
    return after;
}

static int unsubscribed(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    tg_task_resumed(L, context);
    tg_driven_check(L, &check(L)->driven);
    return 0;
}

static int l_subscribe(lua_State *L)
{
    struct events *events = check(L);
    check_open(L);
    tg_topic_check(L, 2);
    struct tg_slice after = push_after(L);
    tg_driven_prepare(L, &events->driven, events->call);
    struct tg_source *source = tg_topic_start(L, &events->call->out, 2, TG_FORM_STREAM, after);
    return tg_driven_wait(L, &events->driven, source, unsubscribed);
}

/* --- The handler ------------------------------------------------------------------------------ */

/* Its upvalues. */
enum { FUNCTION = 1, RESPONSE, HEARTBEAT, SAID_RETRY, UPVALUES = SAID_RETRY };

static struct events *push_events(lua_State *L, struct tg_call *call, struct tg_streams *streams)
{
    struct events *events = lua_newuserdatauv(L, sizeof *events, LAST_ID);
    *events = (struct events){.call = call};
    luaL_setmetatable(L, EVENTS_TYPE);
    tg_call_push_request(L, call);
    lua_setiuservalue(L, -2, REQUEST);
    push_last_id(L, call);
    lua_setiuservalue(L, -2, LAST_ID);
    uint32_t interval = (uint32_t)lua_tointeger(L, lua_upvalueindex(HEARTBEAT));
    if (tg_stream_open(&events->stream, streams, call->exchange, interval) != TG_OK)
        luaL_error(L, "not enough memory");
    events->stream.retry = (uint32_t)lua_tointeger(L, lua_upvalueindex(SAID_RETRY));
    return events;
}

/* Stack: request, context, events. */
static int handled(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    (void)context;
    lua_pushcfunction(L, l_close);
    lua_pushvalue(L, 3);
    lua_call(L, 1, 0);
    return 0;
}

/* The head has gone. */
static int begun(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    (void)context;
    struct tg_streams *streams = tg_lua_host(L)->streams;
    struct tg_call *call = tg_call_check(L, 2);
    const struct tg_writer *w = call->out.writer;
    if (!w || w->ended) /* HEAD */
        return 0;
    const struct events *events = push_events(L, call, streams);
    lua_toclose(L, 3);
    if (streams->stopping) {
        tg_stream_say_goodbye(&events->stream);
        return handled(L, LUA_OK, 0);
    }
    lua_pushvalue(L, lua_upvalueindex(FUNCTION));
    lua_pushvalue(L, 3);
    lua_pushvalue(L, 2);
    lua_callk(L, 2, 0, 0, handled);
    return handled(L, LUA_OK, 0);
}

static int handle(lua_State *L)
{
    const struct tg_lua_host *host = tg_lua_host(L);
    lua_settop(L, 2);
    tg_call_check(L, 2);
    if (!host || !host->streams)
        return luaL_error(L, "there are no event streams here");
    lua_pushcfunction(L, tg_body_write_response);
    lua_pushvalue(L, 2);
    lua_pushvalue(L, lua_upvalueindex(RESPONSE));
    lua_callk(L, 2, 0, 0, begun);
    return begun(L, LUA_OK, 0);
}

/* _sse(function, response, heartbeat, retry): both in milliseconds, 0 for none */
static int l_sse(lua_State *L)
{
    luaL_checktype(L, FUNCTION, LUA_TFUNCTION);
    luaL_checktype(L, RESPONSE, LUA_TTABLE);
    luaL_checkinteger(L, HEARTBEAT);
    luaL_checkinteger(L, SAID_RETRY);
    lua_settop(L, UPVALUES);
    lua_pushcclosure(L, handle, UPVALUES);
    return 1;
}

void tg_sse_open(lua_State *L)
{
    static const luaL_Reg methods[] = {{"send", l_send},           {"comment", l_comment},
                                       {"subscribe", l_subscribe}, {"flush", l_flush},
                                       {"close", l_close},         {NULL, NULL}};
    static const luaL_Reg metamethods[] = {
        {"__gc", events_gc}, {"__close", events_gc}, {NULL, NULL}};
    luaL_newmetatable(L, EVENTS_TYPE);
    luaL_setfuncs(L, metamethods, 0);
    luaL_newlib(L, methods);
    lua_pushcclosure(L, events_index, 1);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
    lua_pushcfunction(L, l_sse);
    lua_setfield(L, -2, "_sse");
}
