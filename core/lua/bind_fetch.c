/* bind_fetch.c - tg.fetch: begins a request to another server and waits for its response's head. */
#include "lua/bind_fetch.h"

#include <string.h>

#include <lauxlib.h>

#include "http/head.h"
#include "lua/call.h"
#include "lua/failure.h"
#include "lua/fetch_body.h"
#include "lua/fetch_options.h"
#include "lua/fetch_response.h"
#include "lua/fields.h"
#include "lua/forward.h"
#include "lua/task.h"

/* --- Waiting for the head ---------------------------------------------------------------------- */

/* nil, a message, and an error that may be raised: { message, status, kind, sent }. */
static int push_failure(lua_State *L, struct tg_fetch_body *body)
{
    const struct tg_fetch *fetch = body->fetch;
    enum tg_fetch_failure failure = tg_fetch_failure(fetch);
    if (failure == TG_FETCH_URL)
        return luaL_error(L, "fetch: %s", tg_fetch_message(fetch));
    if (failure == TG_FETCH_BODY)
        return tg_fetch_body_raise(L, body);
    lua_pushnil(L);
    lua_pushstring(L, tg_fetch_message(fetch));
    tg_failure_push_status(L, tg_fetch_failure_status(failure), lua_tostring(L, -1));
    lua_pushstring(L, tg_fetch_failure_name(failure));
    lua_setfield(L, -2, "kind");
    lua_pushboolean(L, tg_fetch_sent(fetch));
    lua_setfield(L, -2, "sent");
    tg_fetch_body_close(body);
    return 3;
}

static void on_news(void *arg)
{
    struct tg_fetch_body *body = arg;
    struct tg_task *task = body->task;
    body->task = NULL;
    tg_task_wake(task);
}

static void stop_waiting(void *arg)
{
    struct tg_fetch_body *body = arg;
    body->task = NULL;
    tg_fetch_body_close(body);
}

/* Stack: url, options, body. */
static int wait_for_head(lua_State *L);

static int head_resumed(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    tg_task_resumed(L, context);
    return wait_for_head(L);
}

static int wait_for_head(lua_State *L)
{
    struct tg_fetch_body *body = lua_touserdata(L, 3);
    struct tg_slice data;
    if (!body->fetch)
        return luaL_error(L, "the exchange is over");
    if (tg_fetch_status(body->fetch)) {
        tg_fetch_body_answered(body);
        tg_fetch_response_push(L, body, 3);
        return 1;
    }
    if (tg_fetch_peek(body->fetch, &data) == TG_FETCH_FAILED) {
        tg_fetch_body_answered(body);
        return push_failure(L, body);
    }
    struct tg_task_wait wait = {stop_waiting, body};
    body->task = tg_task_check(L);
    tg_fetch_wait(body->fetch, on_news, body);
    return tg_task_wait(L, &wait, head_resumed);
}

/* --- The request's body ----------------------------------------------------------------------- */

static long pull_bytes(struct tg_fetch_input *input, char *buffer, size_t size)
{
    size_t n = input->len - input->at;
    if (n > size)
        n = size;
    memcpy(buffer, input->bytes + input->at, n);
    input->at += n;
    return (long)n;
}

static void on_request_body(void *arg)
{
    struct tg_fetch_body *body = arg;
    body->input.waiting = false;
    tg_fetch_source_ready(body->fetch);
}

/* There is nothing of the client's body just now: what that means. */
static long pull_later(struct tg_fetch_body *body, enum tg_body_state state)
{
    struct tg_fetch_input *input = &body->input;
    if (state == TG_BODY_END)
        return 0;
    if (state != TG_BODY_WAIT) {
        input->status = state == TG_BODY_TOO_LARGE ? 413 : 400;
        return TG_FETCH_BROKEN;
    }
    input->waiting = true;
    tg_conn_body_wait(input->call->exchange->conn, on_request_body, body);
    return TG_FETCH_LATER;
}

/* What has come of the client's body; without Lua, and without a copy of its own. */
static long pull_request(struct tg_fetch_body *body, char *buffer, size_t size)
{
    struct tg_conn *conn = body->input.call->exchange->conn;
    size_t n = 0;
    while (n < size) {
        struct tg_slice data;
        enum tg_body_state state = tg_conn_body_peek(conn, &data);
        if (state != TG_BODY_DATA)
            return n ? (long)n : pull_later(body, state);
        size_t k = data.len < size - n ? data.len : size - n;
        memcpy(buffer + n, data.p, k);
        tg_conn_body_consume(conn, k);
        n += k;
    }
    return (long)n;
}

static long pull(void *arg, char *buffer, size_t size)
{
    struct tg_fetch_body *body = arg;
    return body->input.call ? pull_request(body, buffer, size)
                            : pull_bytes(&body->input, buffer, size);
}

static void rewind_bytes(void *arg)
{
    ((struct tg_fetch_body *)arg)->input.at = 0;
}

static const struct tg_fetch_source bytes_source = {pull, rewind_bytes};
static const struct tg_fetch_source request_source = {pull, NULL};

static void take_input(lua_State *L, struct tg_fetch_options *o, struct tg_fetch_body *body,
                       int index)
{
    struct tg_fetch_input *input = &body->input;
    struct tg_fetch_request *request = &o->request;
    bool is_head = strcmp(request->method, "HEAD") == 0; /* RFC 9110, 9.3.2: a body means nothing */
    request->source_arg = body;
    if (is_head || (!o->body && !o->streams)) {
        request->length = 0;
        return;
    }
    if (!o->streams) {
        lua_pushvalue(L, o->body);
        lua_setiuservalue(L, index, TG_FETCH_BODY_ANCHOR);
        input->bytes = lua_tolstring(L, o->body, &input->len);
        request->source = &bytes_source;
        return;
    }
    struct tg_conn *conn = o->streams->exchange->conn;
    if (tg_conn_head(conn)->framing == TG_FRAMING_NONE) {
        request->length = 0;
        return;
    }
    request->length = tg_conn_body_left(conn);
    if (o->streams->streamed || o->streams->reader)
        luaL_error(L, "fetch: another task reads the request's body");
    o->streams->streamed = true;
    input->call = o->streams;
    request->source = &request_source;
}

/* --- tg.fetch --------------------------------------------------------------------------------- */

static void start(lua_State *L, struct tg_upstream *upstream)
{
    struct tg_fetch_options o;
    tg_fetch_options_read(L, &o);
    struct tg_call *call = o.call ? o.call : tg_call_current(L);
    struct tg_fetch_body *body = tg_fetch_body_new(L, call);
    take_input(L, &o, body, lua_gettop(L));
    if (o.load) {
        lua_pushvalue(L, o.scratch);
        lua_setiuservalue(L, -2, TG_FETCH_BODY_KEPT);
    }
    if (body->exchange) {
        body->exchange->upstreams++;
        body->awaited = true;
    }
    enum tg_status status = tg_fetch_start(&body->fetch, upstream, &o.request);
    if (status != TG_OK)
        tg_fetch_body_close(body);
    switch (status) {
    case TG_OK:
        body->load = o.load;
        if (o.load)
            o.load->count++;
        return;
    case TG_EINVAL:
        luaL_error(L,
                   "fetch: expected an http or https URL of visible ASCII, and a method that is "
                   "not CONNECT: %s %s",
                   o.request.method, o.request.url);
        return;
    case TG_ELIMIT:
        luaL_error(L, "fetch: too many headers");
        return;
    default:
        luaL_error(L, "not enough memory");
    }
}

static int l_fetch(lua_State *L)
{
    struct tg_upstream *upstream = tg_lua_upstream(tg_lua_of(L));
    if (!upstream)
        return luaL_error(L, "fetch: there is no upstream client here");
    lua_settop(L, 2);
    tg_task_check(L);
    start(L, upstream);
    lua_insert(L, 3);
    lua_settop(L, 3);
    return wait_for_head(L);
}

void tg_fetch_open(lua_State *L)
{
    lua_pushcfunction(L, l_fetch);
    lua_setfield(L, -2, "fetch");
    lua_pushcfunction(L, tg_fetch_load_new);
    lua_setfield(L, -2, "fetch_load");

    tg_fields_open(L);
    tg_forward_open(L);
    tg_fetch_response_open(L);
    tg_fetch_body_open(L);
}
