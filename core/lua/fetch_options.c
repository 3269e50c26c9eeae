/* fetch_options.c - reads tg.fetch's options; an unknown one is a mistake of the script's. */
#include "lua/fetch_options.h"

#include <string.h>

#include <lauxlib.h>

#include "engine/trace.h"
#include "http/head.h"
#include "lua/body.h"
#include "lua/body_reader.h"
#include "lua/call.h"
#include "lua/fetch_body.h"
#include "lua/forward.h"
#include "lua/request_body.h"
#include "upstream/hop.h"

static const double seconds_max = 1e9;

enum option {
    O_METHOD = 1,
    O_HEADERS,
    O_BODY,
    O_TIMEOUT,
    O_CONNECT_TIMEOUT,
    O_IDLE_TIMEOUT,
    O_UNIX,
    O_CA,
    O_INSECURE,
    O_VERSION,
    O_REDIRECTS,
    O_DECODE,
    O_LOAD,
    O_REQUEST,
    O_TRACE,
};

static const struct {
    const char *name;
    enum option option;
} names[] = {
    {"method", O_METHOD},
    {"headers", O_HEADERS},
    {"body", O_BODY},
    {"timeout", O_TIMEOUT},
    {"connect_timeout", O_CONNECT_TIMEOUT},
    {"idle_timeout", O_IDLE_TIMEOUT},
    {"unix", O_UNIX},
    {"ca", O_CA},
    {"insecure", O_INSECURE},
    {"version", O_VERSION},
    {"redirects", O_REDIRECTS},
    {"decode", O_DECODE},
    {"load", O_LOAD},
    {"request", O_REQUEST},
    {"trace", O_TRACE},
};

static int wrong(lua_State *L, const char *option, const char *expected)
{
    return luaL_error(L, "fetch: %s: expected %s, got a %s", option, expected,
                      luaL_typename(L, -1));
}

/* --- Values ----------------------------------------------------------------------------------- */

static const char *text(lua_State *L, const char *option)
{
    size_t len;
    if (lua_type(L, -1) != LUA_TSTRING)
        wrong(L, option, "a string");
    const char *s = lua_tolstring(L, -1, &len);
    if (!len || strlen(s) != len)
        luaL_error(L, "fetch: %s is empty, or has a NUL in it", option);
    return s;
}

static uint64_t milliseconds(lua_State *L, const char *option)
{
    int is_number;
    double seconds = lua_tonumberx(L, -1, &is_number);
    if (!is_number || !(seconds >= 0))
        wrong(L, option, "seconds of zero or more");
    if (seconds > seconds_max)
        seconds = seconds_max;
    return seconds > 0 && seconds < 0.001 ? 1 : (uint64_t)(seconds * 1000);
}

static bool truth(lua_State *L, const char *option)
{
    if (!lua_isboolean(L, -1))
        wrong(L, option, "true or false");
    return lua_toboolean(L, -1) != 0;
}

/* Whether it is HTTP/1.0. */
static bool is_old(lua_State *L)
{
    const char *s = text(L, "version");
    bool old = strcmp(s, "1.0") == 0;
    if (!old && strcmp(s, "1.1") != 0)
        luaL_error(L, "fetch: version: expected \"1.0\" or \"1.1\", got \"%s\"", s);
    return old;
}

static lua_Integer count(lua_State *L, const char *option)
{
    int is_integer;
    lua_Integer n = lua_tointegerx(L, -1, &is_integer);
    if (!is_integer || n < 0)
        wrong(L, option, "an integer of zero or more");
    return n;
}

/* --- Headers ---------------------------------------------------------------------------------- */

static struct tg_slice slice_at(lua_State *L, int index)
{
    struct tg_slice slice;
    slice.p = lua_tolstring(L, index, &slice.len);
    return slice;
}

/* Host is the script's to set; what else speaks of the connection or the framing is not. */
static bool is_ours(struct tg_slice name)
{
    return tg_hop_by_hop(name) || tg_slice_equal_nocase(name, TG_SLICE("expect"));
}

static uint64_t length_of(lua_State *L, struct tg_slice value)
{
    uint64_t n = 0;
    if (!value.len || value.len > 18 || strspn(value.p, "0123456789") != value.len)
        luaL_error(L, "fetch: Content-Length is a decimal number, this is %s", value.p);
    for (size_t i = 0; i < value.len; i++)
        n = n * 10 + (uint64_t)(value.p[i] - '0');
    return n;
}

static void check_field(lua_State *L, struct tg_slice name, struct tg_slice value)
{
    if (!tg_is_token(name.p, name.len))
        luaL_error(L, "fetch: a header's name is no token: %s", name.p);
    if (!tg_is_field_value(value.p, value.len))
        luaL_error(L,
                   "fetch: the value of header %s holds a line break or another control character",
                   name.p);
}

static void add_one(lua_State *L, struct tg_fetch_options *o, struct tg_slice name,
                    struct tg_slice value)
{
    struct tg_fetch_request *request = &o->request;
    o->text += name.len + value.len;
    o->has_type = o->has_type || tg_slice_equal_nocase(name, TG_SLICE("content-type"));
    if (request->field_count == TG_FETCH_REQUEST_FIELDS_MAX ||
        o->text > TG_FETCH_REQUEST_BYTES_MAX / 2)
        luaL_error(L, "fetch: too many headers");
    o->fields[request->field_count++] = (struct tg_fetch_field){name, value};
}

/* The value is on top.  A number becomes a string that the scratch table keeps. */
static void add_field(lua_State *L, struct tg_fetch_options *o, struct tg_slice name)
{
    struct tg_fetch_request *request = &o->request;
    int type = lua_type(L, -1);
    if (type != LUA_TSTRING && type != LUA_TNUMBER)
        luaL_error(L, "fetch: the value of header %s is a %s, expected a string or a number",
                   name.p, luaL_typename(L, -1));
    struct tg_slice value = slice_at(L, -1);
    if (type == LUA_TNUMBER) {
        lua_pushvalue(L, -1);
        lua_rawseti(L, o->scratch, (lua_Integer)lua_rawlen(L, o->scratch) + 1);
    }
    check_field(L, name, value);
    if (is_ours(name))
        luaL_error(L, "fetch: the header %s is of the connection, not the script's", name.p);
    if (tg_slice_equal_nocase(name, TG_SLICE("content-length"))) {
        request->length = length_of(L, value);
        return;
    }
    add_one(L, o, name, value);
}

static void add_list(lua_State *L, struct tg_fetch_options *o, struct tg_slice name)
{
    lua_Integer n = (lua_Integer)lua_rawlen(L, -1);
    for (lua_Integer i = 1; i <= n; i++) {
        lua_rawgeti(L, -1, i);
        add_field(L, o, name);
        lua_pop(L, 1);
    }
}

struct forwarding {
    lua_State *L;
    struct tg_fetch_options *o;
};

static void add_forwarded(void *arg, struct tg_slice name, struct tg_slice value)
{
    const struct forwarding *f = arg;
    check_field(f->L, name, value); /* the script may have set it */
    add_one(f->L, f->o, name, value);
}

static void read_headers(lua_State *L, struct tg_fetch_options *o)
{
    if (luaL_testudata(L, -1, TG_FORWARD_TYPE)) {
        struct forwarding f = {L, o};
        tg_forward_each(L, lua_gettop(L), o->scratch, add_forwarded, &f);
        return;
    }
    if (!lua_istable(L, -1))
        wrong(L, "headers", "a table");
    int headers = lua_gettop(L);
    lua_pushnil(L);
    while (lua_next(L, headers)) {
        if (lua_type(L, -2) != LUA_TSTRING)
            luaL_error(L, "fetch: a header's name is a string, this is a %s", luaL_typename(L, -2));
        struct tg_slice name = slice_at(L, -2);
        if (lua_istable(L, -1))
            add_list(L, o, name);
        else
            add_field(L, o, name);
        lua_pop(L, 1);
    }
}

/* The client's request, which is passed on: its method and body, and where the script names no
 * headers, its headers. */
static void read_request(lua_State *L, struct tg_fetch_options *o)
{
    struct tg_call *call = tg_request_check(L, -1);
    if (!call->exchange)
        luaL_error(L, "the exchange is over");
    o->call = call;
    o->passes_on = true;
}

/* --- All of them ------------------------------------------------------------------------------ */

static void read_option(lua_State *L, struct tg_fetch_options *o, enum option option,
                        const char *name)
{
    struct tg_fetch_request *request = &o->request;
    switch (option) {
    case O_METHOD:
        request->method = text(L, name);
        return;
    case O_HEADERS:
        read_headers(L, o);
        o->has_headers = true;
        return;
    case O_BODY:
        return; /* once the headers are known */
    case O_TIMEOUT:
        request->head_timeout = milliseconds(L, name);
        return;
    case O_CONNECT_TIMEOUT:
        request->connect_timeout = milliseconds(L, name);
        return;
    case O_IDLE_TIMEOUT:
        request->idle_timeout = milliseconds(L, name);
        return;
    case O_UNIX:
        request->unix_path = text(L, name);
        return;
    case O_CA:
        request->ca_file = text(L, name);
        return;
    case O_INSECURE:
        request->insecure = truth(L, name);
        return;
    case O_VERSION:
        request->old = is_old(L);
        return;
    case O_REDIRECTS:
        request->redirects = (unsigned)count(L, name) % 1000;
        return;
    case O_DECODE:
        request->decode_max = lua_isboolean(L, -1) ? (truth(L, name) ? UINT64_C(1) << 30 : 0)
                                                   : (uint64_t)count(L, name);
        return;
    case O_LOAD:
        o->load = luaL_checkudata(L, -1, TG_FETCH_LOAD_TYPE);
        lua_pushvalue(L, -1);
        lua_rawseti(L, o->scratch, (lua_Integer)lua_rawlen(L, o->scratch) + 1);
        return;
    case O_REQUEST:
        read_request(L, o);
        return;
    case O_TRACE:
        o->untraced = !truth(L, name);
        return;
    }
}

static void pass_on(lua_State *L, struct tg_fetch_options *o)
{
    struct tg_conn *conn = o->call->exchange->conn;
    if (!o->request.method) {
        struct tg_slice method = tg_conn_span(conn, tg_conn_head(conn)->method);
        lua_pushlstring(L, method.p, method.len);
        o->request.method = lua_tostring(L, -1);
        lua_rawseti(L, o->scratch, (lua_Integer)lua_rawlen(L, o->scratch) + 1);
    }
    if (!o->body)
        o->streams = o->call;
    if (o->has_headers)
        return;
    lua_getfield(L, 2, "request");
    tg_forward_push(L, -1);
    read_headers(L, o);
    lua_pop(L, 2);
}

static void read_named(lua_State *L, struct tg_fetch_options *o, const char *name)
{
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(names[i].name, name) == 0) {
            read_option(L, o, names[i].option, name);
            return;
        }
    }
    luaL_error(L, "fetch: unknown option \"%s\"", name);
}

static void read_body(lua_State *L, struct tg_fetch_options *o)
{
    uint64_t said = o->request.length;
    o->request.length = 0;
    if (lua_getfield(L, 2, "body") == LUA_TNIL) {
        if (said != TG_FETCH_LENGTH_UNKNOWN && said)
            luaL_error(L, "fetch: a Content-Length and no body");
        return;
    }
    o->body = lua_gettop(L);
    o->request.length = said;
    if (lua_type(L, -1) == LUA_TSTRING) {
        o->request.length = lua_rawlen(L, -1);
        if (said != TG_FETCH_LENGTH_UNKNOWN && said != o->request.length)
            luaL_error(L, "fetch: the body does not have the length that its Content-Length says");
    } else if (luaL_testudata(L, -1, TG_REQUEST_BODY_TYPE)) {
        o->call = tg_request_body_call(L, o->body);
        o->streams = o->call;
    } else {
        o->reader = luaL_checkudata(L, 3, TG_BODY_READER_TYPE);
        if (tg_body_is_printed(L, o->body) && !o->has_type)
            add_one(L, o, TG_SLICE("Content-Type"), TG_SLICE("application/json"));
    }
}

/* --- The trace -------------------------------------------------------------------------------- */

static bool names_trace(const struct tg_fetch_request *request)
{
    for (size_t i = 0; i < request->field_count; i++)
        if (tg_trace_is_field(request->fields[i].name))
            return true;
    return false;
}

/* What the exchange asks for belongs to the trace of its own request.  A request that is passed on has
 * it among its headers. */
static void add_trace(lua_State *L, struct tg_fetch_options *o)
{
    const struct tg_call *call = tg_call_current(L);
    const struct tg_exchange *x = call ? call->exchange : NULL;
    if (!x || o->passes_on || o->untraced || names_trace(&o->request) || !tg_trace_of(x->conn).p)
        return;
    const struct tg_field *fields = tg_conn_fields(x->conn);
    size_t count = tg_conn_head(x->conn)->field_count;
    for (size_t i = 0; i < count; i++) {
        struct tg_slice name = tg_conn_field_name(x->conn, &fields[i]);
        if (tg_trace_is_field(name))
            add_one(L, o, name, tg_conn_field_value(x->conn, &fields[i]));
    }
}

void tg_fetch_options_read(lua_State *L, struct tg_fetch_options *o)
{
    o->request = (struct tg_fetch_request){
        .url = luaL_checkstring(L, 1),
        .method = NULL,
        .fields = o->fields,
        .length = TG_FETCH_LENGTH_UNKNOWN,
        .connect_timeout = 10000,
        .head_timeout = 30000,
        .idle_timeout = 60000,
    };
    o->text = 0;
    o->body = 0;
    o->call = NULL;
    o->streams = NULL;
    o->passes_on = false;
    o->has_headers = false;
    o->untraced = false;
    o->load = NULL;
    o->reader = NULL;
    o->has_type = false;
    o->scratch = 0;
    luaL_argcheck(L, strlen(o->request.url) == lua_rawlen(L, 1), 1, "a URL has no NUL");
    if (lua_isnil(L, 2)) {
        o->request.method = "GET";
        o->request.length = 0;
        add_trace(L, o);
        return;
    }
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_newtable(L);
    o->scratch = lua_gettop(L);
    lua_pushnil(L);
    while (lua_next(L, 2)) {
        if (lua_type(L, -2) != LUA_TSTRING)
            luaL_error(L, "fetch: options are named, this is a %s", luaL_typename(L, -2));
        read_named(L, o, lua_tostring(L, -2));
        lua_pop(L, 1);
    }
    read_body(L, o);
    if (o->passes_on)
        pass_on(L, o);
    if (!o->request.method)
        o->request.method = o->body ? "POST" : "GET";
    add_trace(L, o);
}
