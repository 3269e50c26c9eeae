/* bind_request.c - request.method, .path, .query, .headers and the rest; request.body. */
#include "lua/bind_request.h"

#include <stdio.h>
#include <string.h>

#include <lauxlib.h>

#include "engine/trace.h"
#include "lua/bind_sequence.h"
#include "lua/call.h"
#include "lua/failure.h"
#include "lua/request_body.h"
#include "util/mem.h"
#include "util/percent.h"

#define HEADERS_TYPE "tidegate.Headers"

static const struct tg_head *head_of(const struct tg_call *call)
{
    return tg_conn_head(call->exchange->conn);
}

static void push_span(lua_State *L, const struct tg_call *call, struct tg_span span)
{
    struct tg_slice slice = tg_conn_span(call->exchange->conn, span);
    lua_pushlstring(L, slice.p, slice.len);
}

/* --- Headers ---------------------------------------------------------------------------------- */

/* Pushes the values of the fields called name, joined (RFC 9110, 5.3); nil when there is none. */
static void push_joined(lua_State *L, const struct tg_call *call, struct tg_slice name)
{
    struct tg_conn *conn = call->exchange->conn;
    const struct tg_field *fields = tg_conn_fields(conn);
    size_t count = head_of(call)->field_count;
    /* Pairs of a cookie string are parted by "; " (RFC 6265, 5.4). */
    const char *joint = tg_slice_equal_nocase(name, TG_SLICE("cookie")) ? "; " : ", ";
    int parts = 0;

    for (size_t i = 0; i < count; i++) {
        if (!tg_slice_equal_nocase(tg_conn_field_name(conn, &fields[i]), name))
            continue;
        struct tg_slice value = tg_conn_field_value(conn, &fields[i]);
        if (parts)
            lua_pushstring(L, joint);
        lua_pushlstring(L, value.p, value.len);
        if (parts)
            lua_concat(L, 3);
        parts = 1;
    }
    if (!parts)
        lua_pushnil(L);
}

/* The headers' user values. */
enum {
    HEADERS_REQUEST = 1,
    HEADERS_FOUND, /* what was looked at, under the names that it was asked for by */
    HEADERS_SET, /* what the script has set, each name in one case: strings, false for nil; or nil */
};

static struct tg_call *headers_call(lua_State *L, int index)
{
    lua_getiuservalue(L, index, HEADERS_REQUEST);
    struct tg_call *call = lua_touserdata(L, -1);
    lua_pop(L, 1);
    return call;
}

/* Pushes the name under which it was set, and what to (in any case); false and nothing when it was
 * not.  set is the index of HEADERS_SET. */
static bool push_set(lua_State *L, int set, struct tg_slice name)
{
    lua_pushnil(L);
    while (lua_next(L, set)) {
        struct tg_slice other;
        other.p = lua_tolstring(L, -2, &other.len);
        if (tg_slice_equal_nocase(other, name))
            return true;
        lua_pop(L, 1);
    }
    return false;
}

/* headers[name], in any case.  What was found is kept, so that it outlives the exchange. */
static int headers_index(lua_State *L)
{
    const struct tg_call *call = headers_call(L, 1);
    struct tg_slice name;
    lua_settop(L, 2);
    name.p = luaL_checklstring(L, 2, &name.len);
    if (lua_getiuservalue(L, 1, HEADERS_SET) == LUA_TTABLE && push_set(L, 3, name)) {
        if (!lua_toboolean(L, -1))
            lua_pushnil(L);
        return 1;
    }
    lua_settop(L, 2);
    lua_getiuservalue(L, 1, HEADERS_FOUND);
    lua_pushvalue(L, 2);
    if (lua_rawget(L, -2) != LUA_TNIL || !call->exchange)
        return 1;
    lua_pop(L, 1);
    push_joined(L, call, name);
    lua_pushvalue(L, 2);
    lua_pushvalue(L, -2);
    lua_rawset(L, 3);
    return 1;
}

/* Beside what was looked at: a proxy asks what was set. */
static int headers_newindex(lua_State *L)
{
    struct tg_slice name;
    luaL_checktype(L, 2, LUA_TSTRING);
    name.p = lua_tolstring(L, 2, &name.len);
    lua_settop(L, 3);
    if (lua_getiuservalue(L, 1, HEADERS_SET) != LUA_TTABLE) {
        lua_pop(L, 1);
        lua_newtable(L);
        lua_pushvalue(L, -1);
        lua_setiuservalue(L, 1, HEADERS_SET);
    }
    if (push_set(L, 4, name)) {
        lua_pop(L, 1);
        lua_pushnil(L);
        lua_rawset(L, 4);
    }
    lua_pushvalue(L, 2);
    if (lua_isnil(L, 3))
        lua_pushboolean(L, 0);
    else
        luaL_tolstring(L, 3, NULL);
    lua_rawset(L, 4);
    return 0;
}

bool tg_request_push_set_headers(lua_State *L, const struct tg_call *call)
{
    int top = lua_gettop(L);
    tg_call_push_request(L, call);
    if (lua_getiuservalue(L, -1, TG_CALL_CACHE) == LUA_TTABLE) {
        lua_pushliteral(L, "headers");
        lua_rawget(L, -2);
        if (luaL_testudata(L, -1, HEADERS_TYPE) &&
            lua_getiuservalue(L, -1, HEADERS_SET) == LUA_TTABLE) {
            lua_replace(L, top + 1);
            lua_settop(L, top + 1);
            return true;
        }
    }
    lua_settop(L, top);
    return false;
}

static void push_lower(lua_State *L, struct tg_slice name)
{
    luaL_Buffer buffer;
    char *out = luaL_buffinitsize(L, &buffer, name.len);
    for (size_t i = 0; i < name.len; i++) {
        char c = name.p[i];
        out[i] = (char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
    }
    luaL_pushresultsize(&buffer, name.len);
}

/* Puts what was set into the table on top. */
static void show_set(lua_State *L)
{
    int top = lua_gettop(L);
    if (lua_getiuservalue(L, 1, HEADERS_SET) == LUA_TTABLE) {
        lua_pushnil(L);
        while (lua_next(L, top + 1)) {
            struct tg_slice name;
            name.p = lua_tolstring(L, -2, &name.len);
            push_lower(L, name);
            if (lua_toboolean(L, -2))
                lua_pushvalue(L, -2);
            else
                lua_pushnil(L);
            lua_rawset(L, top);
            lua_pop(L, 1);
        }
    }
    lua_settop(L, top);
}

/* pairs(request.headers): names in lower case, each once. */
static int headers_pairs(lua_State *L)
{
    const struct tg_call *call = headers_call(L, 1);
    lua_getglobal(L, "next");
    lua_newtable(L);
    if (call->exchange) {
        struct tg_conn *conn = call->exchange->conn;
        const struct tg_field *fields = tg_conn_fields(conn);
        for (size_t i = 0; i < head_of(call)->field_count; i++) {
            struct tg_slice name = tg_conn_field_name(conn, &fields[i]);
            push_lower(L, name);
            push_joined(L, call, name);
            lua_rawset(L, -3);
        }
    }
    show_set(L);
    lua_pushnil(L);
    return 3;
}

static void push_headers(lua_State *L, const struct tg_call *call)
{
    lua_newuserdatauv(L, 0, HEADERS_SET);
    tg_call_push_request(L, call);
    lua_setiuservalue(L, -2, HEADERS_REQUEST);
    lua_newtable(L);
    lua_setiuservalue(L, -2, HEADERS_FOUND);
    luaL_setmetatable(L, HEADERS_TYPE);
}

/* --- The query -------------------------------------------------------------------------------- */

static void push_decoded(lua_State *L, struct tg_slice text, bool form)
{
    luaL_Buffer buffer;
    char *out = luaL_buffinitsize(L, &buffer, text.len);
    size_t len = tg_percent_decode(text.p, text.len, form, out);
    luaL_pushresultsize(&buffer, len);
}

/* Stack: table, name, nil. */
static void add_first(lua_State *L, struct tg_slice value, bool lists)
{
    lua_pop(L, 1);
    if (lists) {
        lua_createtable(L, 1, 0);
        push_decoded(L, value, true);
        lua_rawseti(L, -2, 1);
    } else {
        push_decoded(L, value, true);
    }
    lua_rawset(L, -3);
}

/* Stack: table, name, list. */
static void add_another(lua_State *L, struct tg_slice value)
{
    push_decoded(L, value, true);
    lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
}

/* A new table, which prints as an object when it is empty, too. */
static void push_object(lua_State *L, int size)
{
    lua_createtable(L, 0, size);
    tg_json_push_object(L);
    lua_setmetatable(L, -2);
}

/* The pairs of rest, decoded, in one table: the first value of each name, or lists of them all.  Returns
 * how many there were, most + 1 when there are more. */
static lua_Integer push_pairs(lua_State *L, struct tg_slice rest, bool lists, lua_Integer most)
{
    struct tg_slice name;
    struct tg_slice value;
    lua_Integer count = 0;
    push_object(L, 0);
    int table = lua_gettop(L);
    while (count <= most && tg_query_next(&rest, &name, &value)) {
        count++;
        push_decoded(L, name, true);
        lua_pushvalue(L, -1);
        bool is_new = lua_rawget(L, -3) == LUA_TNIL;
        if (is_new)
            add_first(L, value, lists);
        else if (lists)
            add_another(L, value);
        lua_settop(L, table);
    }
    return count;
}

static void push_query(lua_State *L, const struct tg_call *call, bool lists)
{
    struct tg_slice rest = tg_conn_span(call->exchange->conn, head_of(call)->query);
    push_pairs(L, rest, lists, LUA_MAXINTEGER - 1);
}

int tg_parse_form(lua_State *L)
{
    struct tg_slice text;
    text.p = luaL_checklstring(L, 1, &text.len);
    bool lists = lua_toboolean(L, 2);
    lua_Integer most = luaL_checkinteger(L, 3);
    if (push_pairs(L, text, lists, most) > most)
        lua_pushnil(L);
    return 1;
}

static void push_params(lua_State *L, const struct tg_call *call)
{
    const struct tg_exchange *x = call->exchange;
    push_object(L, (int)x->param_count);
    for (size_t i = 0; i < x->param_count; i++) {
        lua_pushlstring(L, x->params[i].name.p, x->params[i].name.len);
        push_decoded(L, x->params[i].value, false);
        lua_rawset(L, -3);
    }
}

/* --- The rest --------------------------------------------------------------------------------- */

static struct tg_slice split_authority(const struct tg_call *call, struct tg_slice *port)
{
    struct tg_slice authority = tg_conn_span(call->exchange->conn, head_of(call)->authority);
    size_t n = authority.len;
    *port = (struct tg_slice){NULL, 0};
    while (n && authority.p[n - 1] >= '0' && authority.p[n - 1] <= '9')
        n--;
    if (!n || authority.p[n - 1] != ':')
        return authority;
    *port = (struct tg_slice){authority.p + n, authority.len - n};
    return (struct tg_slice){authority.p, n - 1};
}

static void push_host(lua_State *L, const struct tg_call *call)
{
    struct tg_slice port;
    struct tg_slice host = split_authority(call, &port);
    lua_pushlstring(L, host.p, host.len);
}

static bool is_secure(const struct tg_call *call)
{
    return tg_conn_secure(call->exchange->conn) || head_of(call)->secure;
}

/* The port that the client named, else the one it came in by. */
static void push_port(lua_State *L, const struct tg_call *call)
{
    struct tg_slice port;
    split_authority(call, &port);
    lua_Integer n = 0;
    for (size_t i = 0; i < port.len && i < 5; i++)
        n = n * 10 + (port.p[i] - '0');
    if (!port.len)
        n = tg_conn_local_port(call->exchange->conn);
    lua_pushinteger(L, n);
}

/* nil without a valid traceparent. */
static void push_trace_id(lua_State *L, const struct tg_call *call)
{
    struct tg_slice parent = tg_trace_of(call->exchange->conn);
    if (!parent.p) {
        lua_pushnil(L);
        return;
    }
    struct tg_slice id = tg_trace_id(parent);
    lua_pushlstring(L, id.p, id.len);
}

static void push_id(lua_State *L, const struct tg_call *call)
{
    char id[TG_EXCHANGE_ID_SIZE];
    int len = tg_exchange_print_id(call->exchange, id);
    lua_pushlstring(L, id, (size_t)len);
}

enum field {
    F_METHOD = 1,
    F_TARGET,
    F_PATH,
    F_QUERY,
    F_QUERY_LIST,
    F_QUERY_STRING,
    F_HEADERS,
    F_PATH_PARAMS,
    F_SCHEME,
    F_HOST,
    F_PORT,
    F_PROTOCOL,
    F_REMOTE_ADDR,
    F_REMOTE_PORT,
    F_ID,
    F_ROUTE_NAME,
    F_TRACE_ID,
    F_BODY,
};

static const struct {
    const char *name;
    enum field field;
} field_names[] = {
    {"method", F_METHOD},
    {"target", F_TARGET},
    {"path", F_PATH},
    {"query", F_QUERY},
    {"query_list", F_QUERY_LIST},
    {"query_string", F_QUERY_STRING},
    {"headers", F_HEADERS},
    {"path_params", F_PATH_PARAMS},
    {"scheme", F_SCHEME},
    {"host", F_HOST},
    {"port", F_PORT},
    {"protocol", F_PROTOCOL},
    {"remote_addr", F_REMOTE_ADDR},
    {"remote_port", F_REMOTE_PORT},
    {"id", F_ID},
    {"route_name", F_ROUTE_NAME},
    {"trace_id", F_TRACE_ID},
    {"body", F_BODY},
};

/* Pushes a field that is not kept: a short string or a number. */
static void push_plain(lua_State *L, const struct tg_call *call, enum field field)
{
    uint16_t port;
    const struct tg_head *head = head_of(call);
    switch (field) {
    case F_METHOD:
        push_span(L, call, head->method);
        return;
    case F_TARGET:
        push_span(L, call, head->target);
        return;
    case F_PATH:
        push_span(L, call, head->path);
        return;
    case F_QUERY_STRING:
        push_span(L, call, head->query);
        return;
    case F_SCHEME:
        lua_pushstring(L, is_secure(call) ? "https" : "http");
        return;
    case F_HOST:
        push_host(L, call);
        return;
    case F_PORT:
        push_port(L, call);
        return;
    case F_PROTOCOL:
        lua_pushstring(L, head->minor ? "HTTP/1.1" : "HTTP/1.0");
        return;
    case F_REMOTE_ADDR:
        lua_pushstring(L, tg_conn_peer(call->exchange->conn, &port));
        return;
    case F_REMOTE_PORT:
        tg_conn_peer(call->exchange->conn, &port);
        lua_pushinteger(L, port);
        return;
    case F_ID:
        push_id(L, call);
        return;
    case F_TRACE_ID:
        push_trace_id(L, call);
        return;
    case F_ROUTE_NAME:
        lua_pushstring(L, call->exchange->chain->route_name);
        return;
    default:
        lua_pushnil(L);
    }
}

/* Pushes a field that is made once and kept; false when it is none of them. */
static bool push_kept(lua_State *L, const struct tg_call *call, enum field field)
{
    switch (field) {
    case F_QUERY:
    case F_QUERY_LIST:
        push_query(L, call, field == F_QUERY_LIST);
        return true;
    case F_HEADERS:
        push_headers(L, call);
        return true;
    case F_PATH_PARAMS:
        push_params(L, call);
        return true;
    case F_BODY:
        tg_request_body_push(L, call);
        return true;
    default:
        return false;
    }
}

/* Pushes the table of what is kept, made when there is none. */
static void push_cache(lua_State *L, int request)
{
    if (lua_getiuservalue(L, request, TG_CALL_CACHE) == LUA_TTABLE)
        return;
    lua_pop(L, 1);
    lua_newtable(L);
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, request, TG_CALL_CACHE);
}

static int request_index(lua_State *L)
{
    const struct tg_call *call = tg_request_check(L, 1);
    if (lua_getiuservalue(L, 1, TG_CALL_CACHE) == LUA_TTABLE) {
        lua_pushvalue(L, 2);
        if (lua_rawget(L, -2) != LUA_TNIL)
            return 1;
    }
    lua_settop(L, 2);
    lua_pushvalue(L, 2);
    lua_rawget(L, lua_upvalueindex(1));
    enum field field = (enum field)lua_tointeger(L, -1);
    lua_settop(L, 2);
    if (!field || !call->exchange) {
        lua_pushnil(L); /* over, and it was not looked at in time */
        return 1;
    }
    if (!push_kept(L, call, field)) {
        push_plain(L, call, field);
        return 1;
    }
    push_cache(L, 1);
    lua_pushvalue(L, 2);
    lua_pushvalue(L, 3);
    lua_rawset(L, -3);
    lua_settop(L, 3);
    return 1;
}

static int request_newindex(lua_State *L)
{
    tg_request_check(L, 1);
    push_cache(L, 1);
    lua_insert(L, 2);
    lua_rawset(L, 2);
    return 0;
}

void tg_request_open(lua_State *L)
{
    luaL_newmetatable(L, TG_REQUEST_TYPE);
    lua_newtable(L);
    for (size_t i = 0; i < sizeof field_names / sizeof *field_names; i++) {
        lua_pushinteger(L, field_names[i].field);
        lua_setfield(L, -2, field_names[i].name);
    }
    lua_pushcclosure(L, request_index, 1);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, request_newindex);
    lua_setfield(L, -2, "__newindex");
    lua_pop(L, 1);

    static const luaL_Reg headers[] = {{"__index", headers_index},
                                       {"__newindex", headers_newindex},
                                       {"__pairs", headers_pairs},
                                       {NULL, NULL}};
    luaL_newmetatable(L, HEADERS_TYPE);
    luaL_setfuncs(L, headers, 0);
    lua_pop(L, 1);
    tg_request_body_open(L);
}
