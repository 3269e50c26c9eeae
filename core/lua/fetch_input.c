/* fetch_input.c - where the body of a request to another server comes from. */
#include "lua/fetch_input.h"

#include <stdbool.h>
#include <string.h>

#include <lauxlib.h>

#include "lua/bind_format.h"
#include "lua/body.h"
#include "lua/body_reader.h"
#include "lua/call.h"
#include "lua/fetch_body.h"
#include "lua/fetch_options.h"
#include "lua/request_body.h"

/* --- In memory -------------------------------------------------------------------------------- */

static long pull_bytes(void *arg, char *buffer, size_t size)
{
    struct tg_fetch_input *input = &((struct tg_fetch_body *)arg)->input;
    size_t n = input->len - input->at;
    if (n > size)
        n = size;
    memcpy(buffer, input->bytes + input->at, n);
    input->at += n;
    return (long)n;
}

static void rewind_bytes(void *arg)
{
    ((struct tg_fetch_body *)arg)->input.at = 0;
}

static const struct tg_fetch_source bytes_source = {pull_bytes, rewind_bytes};

/* --- As the client sends it ------------------------------------------------------------------- */

static void on_more(void *arg)
{
    struct tg_fetch_body *body = arg;
    body->input.waiting = false;
    tg_fetch_source_ready(body->fetch);
}

/* There is nothing of the client's body just now: what that means. */
static long pull_later(struct tg_fetch_body *body, enum tg_body_state state)
{
    struct tg_fetch_input *input = &body->input;
    if (state == TG_BODY_END) {
        input->call->body_over = input->call->body_begun;
        return 0;
    }
    if (state != TG_BODY_WAIT) {
        input->status = state == TG_BODY_TOO_LARGE ? 413 : 400;
        return TG_FETCH_BROKEN;
    }
    input->waiting = true;
    tg_conn_body_wait(input->call->exchange->conn, on_more, body);
    return TG_FETCH_LATER;
}

/* What has come of the client's body; without Lua, and without a copy of its own. */
static long pull_request(void *arg, char *buffer, size_t size)
{
    struct tg_fetch_body *body = arg;
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
        body->input.call->body_begun = true;
        body->input.call->body_over =
            tg_conn_body_left(conn) == 0; /* nobody asks for the end then */
        n += k;
    }
    return (long)n;
}

static const struct tg_fetch_source request_source = {pull_request, NULL};

static void take_request(lua_State *L, struct tg_fetch_options *o, struct tg_fetch_input *input)
{
    struct tg_conn *conn = o->streams->exchange->conn;
    if (tg_conn_head(conn)->framing == TG_FRAMING_NONE) {
        o->request.length = 0;
        return;
    }
    if (o->streams->streamed || o->streams->reader)
        luaL_error(L, "fetch: another task reads the request's body");
    tg_request_body_check_unread(L, o->streams);
    o->request.length = tg_conn_body_left(conn);
    o->request.source = &request_source;
    o->streams->streamed = true;
    input->call = o->streams;
}

/* --- As it is produced ------------------------------------------------------------------------ */

static long pull_produced(void *arg, char *buffer, size_t size)
{
    struct tg_fetch_body *body = arg;
    struct tg_pipe *pipe = tg_body_reader_pipe(body->input.reader);
    size_t n = 0;
    while (n < size) {
        struct tg_slice data;
        enum tg_pipe_state state = tg_pipe_peek(pipe, &data);
        if (state == TG_PIPE_DATA) {
            size_t k = data.len < size - n ? data.len : size - n;
            memcpy(buffer + n, data.p, k);
            tg_pipe_consume(pipe, k);
            n += k;
        } else if (n || state == TG_PIPE_END) {
            break;
        } else if (state == TG_PIPE_FAILED) {
            return TG_FETCH_BROKEN;
        } else {
            body->input.waiting = true;
            tg_pipe_wait(pipe, on_more, body);
            return TG_FETCH_LATER;
        }
    }
    return (long)n;
}

static const struct tg_fetch_source produced_source = {pull_produced, NULL};

/* The Content-Type that the options' headers say, on the stack; none when they are no table. */
static struct tg_slice push_content_type(lua_State *L, int options)
{
    struct tg_slice type = {NULL, 0};
    struct tg_slice wanted = TG_SLICE("content-type");
    bool found = false;
    if (lua_getfield(L, options, "headers") != LUA_TTABLE)
        return type;
    int headers = lua_gettop(L);
    lua_pushnil(L);
    while (!found && lua_next(L, headers)) {
        if (lua_type(L, -2) == LUA_TSTRING && lua_type(L, -1) == LUA_TSTRING) {
            struct tg_slice name = {lua_tostring(L, -2), lua_rawlen(L, -2)};
            found = tg_slice_equal_nocase(name, wanted);
        }
        if (!found)
            lua_pop(L, 1);
    }
    if (found)
        type.p = lua_tolstring(L, -1, &type.len);
    return type;
}

static void choose_format(lua_State *L, struct tg_out *out, int options, int body)
{
    struct tg_slice type = push_content_type(L, options);
    const struct tg_format *format = type.p ? tg_formats_find(L, type) : NULL;
    if (type.p && !format && tg_body_is_printed(L, body))
        luaL_error(L, "fetch: no format prints a table or sequence as %s", type.p);
    if (format)
        out->format = format;
}

void tg_fetch_input_push_reader(lua_State *L, int index)
{
    int top = lua_gettop(L);
    int type = lua_istable(L, index) ? lua_getfield(L, index, "body") : LUA_TNIL;
    if (type == LUA_TNIL || type == LUA_TSTRING || luaL_testudata(L, -1, TG_REQUEST_BODY_TYPE)) {
        lua_settop(L, top);
        lua_pushnil(L);
        return;
    }
    int body = lua_gettop(L);
    if (type == LUA_TBOOLEAN || type == LUA_TNUMBER)
        luaL_error(L, "fetch: body: expected a string or a body, got a %s", luaL_typename(L, body));
    struct tg_body_reader *reader = tg_body_reader_new(L, body);
    int made = lua_gettop(L);
    choose_format(L, tg_body_reader_out(reader), index, body);
    tg_body_reader_start(L, made);
    lua_pushvalue(L, made);
    lua_replace(L, top + 1);
    lua_settop(L, top + 1);
}

/* A body that is over before anything of it was sent says its length. */
bool tg_fetch_input_is_ready(lua_State *L)
{
    struct tg_slice data;
    if (lua_isnil(L, 3))
        return true;
    struct tg_body_reader *reader = luaL_checkudata(L, 3, TG_BODY_READER_TYPE);
    enum tg_pipe_state state = tg_pipe_peek(tg_body_reader_pipe(reader), &data);
    if (state == TG_PIPE_FAILED)
        tg_body_reader_raise(L, 3);
    return state != TG_PIPE_WAIT;
}

static void wake(void *arg)
{
    tg_task_wake(arg);
}

static void stop_waiting(void *arg)
{
    tg_pipe_wait(tg_body_reader_pipe(arg), NULL, NULL); /* closing is news, too */
    tg_body_reader_close(arg);
}

int tg_fetch_input_wait(lua_State *L, lua_KFunction k)
{
    struct tg_body_reader *reader = luaL_checkudata(L, 3, TG_BODY_READER_TYPE);
    struct tg_task_wait wait = {stop_waiting, reader};
    struct tg_task *task = tg_task_check(L);
    tg_pipe_wait(tg_body_reader_pipe(reader), wake, task);
    return tg_task_wait(L, &wait, k);
}

/* --- Whichever it is -------------------------------------------------------------------------- */

static void take_reader(struct tg_fetch_options *o, struct tg_fetch_input *input)
{
    const struct tg_pipe *pipe = tg_body_reader_pipe(o->reader);
    uint64_t said = o->request.length;
    o->request.length = pipe->length != TG_LENGTH_UNKNOWN ? pipe->length : said;
    o->request.source = &produced_source;
    input->reader = o->reader;
}

void tg_fetch_input_take(lua_State *L, struct tg_fetch_options *o, struct tg_fetch_body *body,
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
    if (o->streams) {
        take_request(L, o, input);
        return;
    }
    lua_pushvalue(L, o->reader ? 3 : o->body);
    lua_setiuservalue(L, index, TG_FETCH_BODY_ANCHOR);
    if (o->reader) {
        take_reader(o, input);
        return;
    }
    input->bytes = lua_tolstring(L, o->body, &input->len);
    request->source = &bytes_source;
}

void tg_fetch_input_close(struct tg_fetch_body *body)
{
    struct tg_fetch_input *input = &body->input;
    if (input->reader) {
        tg_pipe_wait(tg_body_reader_pipe(input->reader), NULL, NULL);
        tg_body_reader_close(input->reader);
    }
    input->reader = NULL;
    if (input->call && input->waiting)
        tg_conn_body_wait(input->call->exchange->conn, NULL, NULL);
    if (input->call)
        input->call->streamed = false;
    input->call = NULL;
    input->waiting = false;
}
