/* forward.c - which of a client's headers go on, and what a proxy adds (RFC 9110, 7.6; RFC 7239). */
#include "lua/forward.h"

#include <stdbool.h>

#include <lauxlib.h>

#include "engine/trace.h"
#include "lua/bind_request.h"
#include "lua/call.h"
#include "lua/fields.h"
#include "upstream/hop.h"

enum style { STYLE_X, STYLE_FORWARDED, STYLE_NONE };
enum host { HOST_UPSTREAM, HOST_PRESERVE, HOST_LITERAL };

/* User values. */
enum { REQUEST = 1, VIA, HOST, VALUES = HOST };

struct forward {
    const struct tg_call *call;
    enum style style;
    enum host host;
    bool trust;
    bool via;
};

/* Where fields go, and what is needed on the way. */
struct walk {
    lua_State *L;
    int index;
    int scratch;
    int set; /* index of what the script has set; 0: nothing */
    const struct forward *forward;
    struct tg_conn *conn;
    void (*add)(void *arg, struct tg_slice name, struct tg_slice value);
    void *arg;
};

static bool is(struct tg_slice name, const char *other)
{
    return tg_slice_equal_nocase(name, (struct tg_slice){other, strlen(other)});
}

/* --- The client's fields ------------------------------------------------------------------------ */

static size_t field_count(const struct walk *w)
{
    return tg_conn_head(w->conn)->field_count;
}

static struct tg_slice field_name(const struct walk *w, size_t i)
{
    return tg_conn_field_name(w->conn, &tg_conn_fields(w->conn)[i]);
}

static struct tg_slice field_value(const struct walk *w, size_t i)
{
    return tg_conn_field_value(w->conn, &tg_conn_fields(w->conn)[i]);
}

/* What the client says of proxies before us is believed only on demand. */
static bool is_about_proxies(struct tg_slice name)
{
    return is(name, "forwarded") ||
           (name.len > 12 &&
            tg_slice_equal_nocase((struct tg_slice){name.p, 12}, TG_SLICE("x-forwarded-")));
}

/* Host, lengths and the connection's own are made anew. */
static bool is_dropped(const struct walk *w, struct tg_slice name)
{
    if (tg_hop_by_hop(name) || is(name, "host") || is(name, "content-length") || is(name, "expect"))
        return true;
    for (size_t i = 0; i < field_count(w); i++)
        if (is(field_name(w, i), "connection") && tg_hop_names(field_value(w, i), name))
            return true;
    return false;
}

static bool is_ours(const struct walk *w, struct tg_slice name)
{
    const struct forward *f = w->forward;
    if (!is_about_proxies(name))
        return false;
    return !f->trust || (f->style == STYLE_X && is(name, "x-forwarded-for"));
}

/* What the script has set takes the place of what the client sent. */
static bool is_set(const struct walk *w, struct tg_slice name)
{
    lua_State *L = w->L;
    bool found = false;
    if (!w->set)
        return false;
    lua_pushnil(L);
    while (!found && lua_next(L, w->set)) {
        struct tg_slice key = {lua_tostring(L, -2), lua_rawlen(L, -2)};
        found = tg_slice_equal_nocase(key, name);
        lua_pop(L, 1);
    }
    if (found)
        lua_pop(L, 1);
    return found;
}

static void add_sent(const struct walk *w)
{
    bool traced = tg_trace_of(w->conn).p != NULL;
    for (size_t i = 0; i < field_count(w); i++) {
        struct tg_slice name = field_name(w, i);
        if (!traced && tg_trace_is_field(name))
            continue; /* a trace that cannot be followed is none (Trace Context, 4.3) */
        if (!is_dropped(w, name) && !is_ours(w, name) && !is_set(w, name))
            w->add(w->arg, name, field_value(w, i));
    }
}

static void add_set(const struct walk *w)
{
    lua_State *L = w->L;
    if (!w->set)
        return;
    lua_pushnil(L);
    while (lua_next(L, w->set)) {
        struct tg_slice name = {lua_tostring(L, -2), lua_rawlen(L, -2)};
        struct tg_slice value = {NULL, 0};
        if (lua_type(L, -1) == LUA_TSTRING)
            value.p = lua_tolstring(L, -1, &value.len);
        if (value.p && !is_dropped(w, name))
            w->add(w->arg, name, value);
        lua_pop(L, 1);
    }
}

/* --- Ours ------------------------------------------------------------------------------------- */

/* The string on top, which the scratch table keeps from now on. */
static struct tg_slice keep(const struct walk *w)
{
    struct tg_slice slice;
    slice.p = lua_tolstring(w->L, -1, &slice.len);
    lua_rawseti(w->L, w->scratch, (lua_Integer)lua_rawlen(w->L, w->scratch) + 1);
    return slice;
}

static bool was_sent(const struct walk *w, const char *name)
{
    for (size_t i = 0; i < field_count(w); i++)
        if (is(field_name(w, i), name))
            return true;
    return false;
}

static const char *peer(const struct walk *w)
{
    uint16_t port;
    const char *address = tg_conn_peer(w->conn, &port);
    return strncmp(address, "unix:", 5) == 0 ? "unknown" : address;
}

static const char *scheme(const struct walk *w)
{
    return tg_conn_secure(w->conn) || tg_conn_head(w->conn)->secure ? "https" : "http";
}

static struct tg_slice authority(const struct walk *w)
{
    return tg_conn_span(w->conn, tg_conn_head(w->conn)->authority);
}

/* In one field, whatever they came in: readers of it differ in which of several they look at. */
static void add_x_for(const struct walk *w)
{
    luaL_Buffer list;
    luaL_buffinit(w->L, &list);
    for (size_t i = 0; w->forward->trust && i < field_count(w); i++) {
        if (!is(field_name(w, i), "x-forwarded-for"))
            continue;
        luaL_addlstring(&list, field_value(w, i).p, field_value(w, i).len);
        luaL_addlstring(&list, ", ", 2);
    }
    luaL_addstring(&list, peer(w));
    luaL_pushresult(&list);
    w->add(w->arg, TG_SLICE("X-Forwarded-For"), keep(w));
}

static void add_x(const struct walk *w)
{
    bool trust = w->forward->trust;
    const char *proto = scheme(w);
    add_x_for(w);
    if (!trust || !was_sent(w, "x-forwarded-proto"))
        w->add(w->arg, TG_SLICE("X-Forwarded-Proto"), (struct tg_slice){proto, strlen(proto)});
    if (authority(w).len && (!trust || !was_sent(w, "x-forwarded-host")))
        w->add(w->arg, TG_SLICE("X-Forwarded-Host"), authority(w));
}

/* An IPv6 address is no token, and so in quotes and brackets (RFC 7239, 6). */
static void add_forwarded(const struct walk *w)
{
    const char *address = peer(w);
    struct tg_slice host = authority(w);
    bool v6 = strchr(address, ':') != NULL;
    lua_pushlstring(w->L, host.p, host.len);
    lua_pushfstring(w->L, "for=%s%s%s;host=\"%s\";proto=%s", v6 ? "\"[" : "", address,
                    v6 ? "]\"" : "", lua_tostring(w->L, -1), scheme(w));
    lua_remove(w->L, -2);
    w->add(w->arg, TG_SLICE("Forwarded"), keep(w));
}

static void add_via(const struct walk *w)
{
    lua_getiuservalue(w->L, w->index, VIA);
    lua_pushfstring(w->L, "1.%d %s", tg_conn_head(w->conn)->minor, lua_tostring(w->L, -1));
    lua_remove(w->L, -2);
    w->add(w->arg, TG_SLICE("Via"), keep(w));
}

static void add_host(const struct walk *w)
{
    struct tg_slice host = authority(w);
    if (w->forward->host == HOST_LITERAL) {
        lua_getiuservalue(w->L, w->index, HOST);
        host = keep(w);
    }
    if (host.len)
        w->add(w->arg, TG_SLICE("Host"), host);
}

void tg_forward_each(lua_State *L, int index, int scratch,
                     void (*add)(void *arg, struct tg_slice name, struct tg_slice value), void *arg)
{
    const struct forward *f = luaL_checkudata(L, index, TG_FORWARD_TYPE);
    if (!f->call->exchange) {
        luaL_error(L, "the exchange is over");
        return; /* it does not come here */
    }
    struct walk w = {
        .L = L,
        .index = lua_absindex(L, index),
        .scratch = scratch,
        .forward = f,
        .conn = f->call->exchange->conn,
        .add = add,
        .arg = arg,
    };
    int top = lua_gettop(L);
    if (tg_request_push_set_headers(L, f->call))
        w.set = top + 1;
    add_sent(&w);
    add_set(&w);
    if (f->host != HOST_UPSTREAM)
        add_host(&w);
    if (f->style == STYLE_X)
        add_x(&w);
    else if (f->style == STYLE_FORWARDED)
        add_forwarded(&w);
    if (f->via)
        add_via(&w);
    lua_settop(L, top);
}

/* --- tg.forward --------------------------------------------------------------------------------- */

static void read_host(lua_State *L, struct forward *f, int policy, int made)
{
    if (lua_getfield(L, policy, "host") == LUA_TNIL) {
        lua_pop(L, 1);
        return;
    }
    const char *host = luaL_checkstring(L, -1);
    if (strcmp(host, "preserve") == 0)
        f->host = HOST_PRESERVE;
    else if (strcmp(host, "upstream") != 0)
        f->host = HOST_LITERAL;
    lua_setiuservalue(L, made, HOST);
}

static void read_style(lua_State *L, struct forward *f, int policy)
{
    static const char *const styles[] = {"x", "forwarded", "none", NULL};
    if (lua_getfield(L, policy, "forwarded") != LUA_TNIL)
        f->style = (enum style)luaL_checkoption(L, -1, NULL, styles);
    lua_pop(L, 1);
}

static void read_via(lua_State *L, struct forward *f, int policy, int made)
{
    int type = lua_getfield(L, policy, "via");
    if (type == LUA_TSTRING)
        lua_setiuservalue(L, made, VIA);
    else if (type == LUA_TBOOLEAN && !lua_toboolean(L, -1))
        f->via = false;
}

void tg_forward_push(lua_State *L, int index)
{
    index = lua_absindex(L, index);
    const struct tg_call *call = tg_request_check(L, index);
    struct forward *f = lua_newuserdatauv(L, sizeof *f, VALUES);
    *f = (struct forward){.call = call, .via = true};
    lua_pushvalue(L, index);
    lua_setiuservalue(L, -2, REQUEST);
    lua_pushliteral(L, "tidegate");
    lua_setiuservalue(L, -2, VIA);
    luaL_setmetatable(L, TG_FORWARD_TYPE);
}

static int l_forward(lua_State *L)
{
    tg_forward_push(L, 1);
    int made = lua_gettop(L);
    struct forward *f = lua_touserdata(L, made);
    if (lua_istable(L, 2)) {
        read_host(L, f, 2, made);
        read_style(L, f, 2);
        read_via(L, f, 2, made);
        lua_getfield(L, 2, "trust");
        f->trust = lua_toboolean(L, -1);
    }
    lua_settop(L, made);
    return 1;
}

/* --- As a table --------------------------------------------------------------------------------- */

static void add_to_table(void *arg, struct tg_slice name, struct tg_slice value)
{
    tg_fields_add(arg, 2, name, value);
}

/* forward:table(): to be edited, and then given to tg.fetch. */
static int l_table(lua_State *L)
{
    luaL_checkudata(L, 1, TG_FORWARD_TYPE);
    lua_settop(L, 1);
    tg_fields_push(L);
    lua_newtable(L);
    tg_forward_each(L, 1, 3, add_to_table, L);
    lua_settop(L, 2);
    return 1;
}

void tg_forward_open(lua_State *L)
{
    static const luaL_Reg methods[] = {{"table", l_table}, {NULL, NULL}};
    lua_pushcfunction(L, l_forward);
    lua_setfield(L, -2, "forward");
    luaL_newmetatable(L, TG_FORWARD_TYPE);
    luaL_newlib(L, methods);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
}
