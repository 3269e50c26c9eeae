/* response.c - response tables: { status = 200, headers = { … }, body = … }. */
#include "lua/response.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

#include <lauxlib.h>

#include "lua/call.h"
#include "lua/fetch_body.h"
#include "lua/fetch_response.h"
#include "lua/host_body.h"

/* --- Is it one? ------------------------------------------------------------------------------- */

/* The status of the response table at index, or -1.  One whose body comes in parts needs to say none. */
static int status_of(lua_State *L, int index, bool part)
{
    int status = -1;
    int type = lua_getfield(L, index, "status");
    if (type == LUA_TNIL) {
        if (lua_getfield(L, index, "body") != LUA_TNIL || part)
            status = 200;
        lua_pop(L, 1);
    } else if (lua_isinteger(L, -1)) {
        lua_Integer n = lua_tointeger(L, -1);
        status = n >= 200 && n <= 999 ? (int)n : -1;
    }
    lua_pop(L, 1);
    return status;
}

/* The same; raises what is wrong. */
static int check_status(lua_State *L, int index, bool part)
{
    if (!lua_istable(L, index))
        luaL_error(L, "a response is a table, this is a %s", luaL_typename(L, index));
    int status = status_of(L, index, part);
    if (status >= 0)
        return status;
    lua_getfield(L, index, "status");
    if (lua_isnil(L, -1))
        luaL_error(L, "a response has a status or a body, this has neither");
    if (!lua_isnumber(L, -1) || lua_type(L, -1) == LUA_TSTRING)
        return luaL_error(L, "the status of a response is an integer in 200..999, this is a %s",
                          luaL_typename(L, -1));
    return luaL_error(L, "the status of a response is an integer in 200..999, this is %s",
                      luaL_tolstring(L, -1, NULL));
}

void tg_response_check(lua_State *L, struct tg_exchange *x)
{
    x->responded = TG_RESPONDED_NOT; /* until it is seen to be one */
    if (lua_isnil(L, -1))
        return;
    x->response_status = check_status(L, lua_gettop(L), false);
    x->responded = TG_RESPONDED_SCRIPT;
}

static bool same_from(const char *a, const char *b)
{
    return strcasecmp(a, b) == 0;
}

/* Whether it differs by case, or by one letter that is missing, too many, another, or one too early. */
static bool is_nearly(const char *a, const char *b)
{
    while (*a && tolower((unsigned char)*a) == *b) {
        a++;
        b++;
    }
    if (same_from(a, b) || (*a && same_from(a + 1, b)) || (*b && same_from(a, b + 1)))
        return true;
    if (!*a || !*b)
        return false;
    return same_from(a + 1, b + 1) ||
           (a[1] && a[0] == b[1] && a[1] == b[0] && same_from(a + 2, b + 2));
}

/* Scripts may keep what they like in a response, but "header" and "satus" would be lost without a word. */
void tg_response_check_keys(lua_State *L, int index)
{
    static const char *const known[] = {"body", "headers", "status"};
    lua_pushnil(L);
    while (lua_next(L, index)) {
        lua_pop(L, 1);
        const char *key = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "";
        bool exact = false;
        for (size_t i = 0; i < 3; i++)
            exact = exact || strcmp(key, known[i]) == 0;
        for (size_t i = 0; i < 3 && !exact; i++)
            if (is_nearly(key, known[i]))
                luaL_error(L, "a response has no \"%s\", did you mean \"%s\"?", key, known[i]);
    }
}

/* --- From C ----------------------------------------------------------------------------------- */

/* The value on top becomes that of the name below it, or one more in its list. */
static void add_shown(lua_State *L)
{
    lua_pushvalue(L, -2);
    int before = lua_rawget(L, -4);
    if (before == LUA_TNIL) {
        lua_pop(L, 1);
        lua_rawset(L, -3);
        return;
    }
    if (before != LUA_TTABLE) {
        lua_createtable(L, 2, 0);
        lua_insert(L, -2);
        lua_rawseti(L, -2, 1);
        lua_pushvalue(L, -3);
        lua_pushvalue(L, -2);
        lua_rawset(L, -6);
    }
    lua_insert(L, -2);
    lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
    lua_pop(L, 2);
}

static void show_fields(lua_State *L, struct tg_slice fields)
{
    const char *at = fields.p;
    const char *end = fields.p + fields.len;
    lua_newtable(L);
    while (at < end) {
        const char *colon = memchr(at, ':', (size_t)(end - at));
        const char *line_end = memchr(at, '\r', (size_t)(end - at));
        if (!colon || !line_end || colon > line_end)
            return;
        lua_pushlstring(L, at, (size_t)(colon - at));
        lua_pushlstring(L, colon + 2, (size_t)(line_end - colon - 2));
        add_shown(L);
        at = line_end + 2;
    }
}

void tg_response_show_plain(lua_State *L, struct tg_call *call)
{
    struct tg_exchange *x = call->exchange;
    tg_call_push_context(L, call);
    lua_createtable(L, 0, 3);
    lua_pushinteger(L, x->head.status);
    lua_setfield(L, -2, "status");
    show_fields(L, tg_buf_slice(&x->fields));
    if (x->head.close) {
        lua_pushliteral(L, "close");
        lua_setfield(L, -2, "Connection");
    }
    lua_setfield(L, -2, "headers");
    if (x->responded == TG_RESPONDED_HOST) {
        tg_host_body_push(L, x);
        lua_setfield(L, -2, "body");
    } else if (x->plain.len) {
        lua_pushlstring(L, x->plain.p, x->plain.len);
        lua_setfield(L, -2, "body");
    }
    lua_setfield(L, -2, "response");
    lua_pop(L, 1);
}

/* --- To the head ------------------------------------------------------------------------------ */

static struct tg_slice slice_at(lua_State *L, int index)
{
    struct tg_slice slice;
    slice.p = lua_tolstring(L, index, &slice.len);
    return slice;
}

static void add_field(lua_State *L, struct tg_exchange *x, struct tg_slice name,
                      struct tg_slice value)
{
    switch (tg_exchange_add_field(x, name, value)) {
    case TG_OK:
        return;
    case TG_EINVAL:
        if (!tg_is_token(name.p, name.len))
            luaL_error(L, "a header's name is no token: %s", name.p);
        luaL_error(L, "the value of header %s holds a line break or another control character",
                   name.p);
        return;
    case TG_ELIMIT:
        luaL_error(L, "the headers of a response have at most %d bytes", TG_RESPONSE_FIELDS_MAX);
        return;
    default:
        luaL_error(L, "not enough memory");
    }
}

static uint64_t parse_length(lua_State *L, struct tg_slice value)
{
    uint64_t length = 0;
    if (!value.len || value.len > 18 || strspn(value.p, "0123456789") != value.len)
        luaL_error(L, "Content-Length is a decimal number, this is %s", value.p);
    for (size_t i = 0; i < value.len; i++)
        length = length * 10 + (uint64_t)(value.p[i] - '0');
    return length;
}

/* other is a literal, in lower case. */
#define IS(name, other)                                                                            \
    ((name).len == sizeof(other) - 1 && tg_slice_equal_nocase((name), TG_SLICE(other)))

/* Framing is ours: fields that speak of it are read, not sent.  False for those. */
static bool is_to_send(lua_State *L, struct tg_exchange *x, struct tg_slice name,
                       struct tg_slice value, struct tg_response_info *info)
{
    if (IS(name, "content-length")) {
        info->length = parse_length(L, value);
        return false;
    }
    if (IS(name, "connection")) {
        x->head.close = x->head.close || IS(value, "close");
        return IS(value, "upgrade");
    }
    if (IS(name, "transfer-encoding"))
        luaL_error(L, "a response's framing is not the script's: Transfer-Encoding");
    if (IS(name, "content-type") && !info->content_type) {
        info->content_type = value.p;
        info->content_type_len = value.len;
    }
    if (IS(name, "date"))
        x->head.has_date = true;
    return true;
}

/* The value on top is a field's: a string or a number.  Numbers are converted in place. */
static void take_value(lua_State *L, struct tg_exchange *x, struct tg_slice name,
                       struct tg_response_info *info)
{
    int type = lua_type(L, -1);
    if (type != LUA_TSTRING && type != LUA_TNUMBER)
        luaL_error(L, "the value of header %s is a %s, expected a string or a number", name.p,
                   luaL_typename(L, -1));
    struct tg_slice value = slice_at(L, -1);
    if (IS(name, "content-type") && info->content_type)
        luaL_error(L, "a response has one Content-Type, this has %s and %s", info->content_type,
                   value.p);
    if (is_to_send(L, x, name, value, info))
        add_field(L, x, name, value);
}

static void take_list(lua_State *L, struct tg_exchange *x, struct tg_slice name,
                      struct tg_response_info *info)
{
    lua_Integer count = luaL_len(L, -1);
    for (lua_Integer i = 1; i <= count; i++) {
        lua_geti(L, -1, i);
        take_value(L, x, name, info);
        lua_pop(L, 1);
    }
}

static void take_headers(lua_State *L, struct tg_exchange *x, struct tg_response_info *info)
{
    int headers = lua_gettop(L);
    lua_pushnil(L);
    while (lua_next(L, headers)) {
        if (lua_type(L, -2) != LUA_TSTRING)
            luaL_error(L, "a header's name is a string, this is a %s", luaL_typename(L, -2));
        struct tg_slice name = slice_at(L, -2);
        if (lua_istable(L, -1))
            take_list(L, x, name, info);
        else
            take_value(L, x, name, info);
        lua_pop(L, 1);
    }
}

/* The head of another server's response that nobody has looked at: without a table in between. */
static void take_untouched(lua_State *L, struct tg_exchange *x, const struct tg_fetch_body *body,
                           struct tg_response_info *info)
{
    struct tg_fetch_field field;
    size_t n = 0;
    while (tg_fetch_response_field(body, &n, &field))
        if (is_to_send(L, x, field.name, field.value, info))
            add_field(L, x, field.name, field.value);
}

/* What interceptors in C have set for whatever the answer is. */
static void add_host_fields(lua_State *L, struct tg_exchange *x)
{
    enum tg_status status = x->host ? x->host_ops->fields(x) : TG_OK;
    if (status != TG_OK)
        luaL_error(L, "the headers that the host has set: %s", tg_status_text(status));
}

void tg_response_take(lua_State *L, struct tg_exchange *x, int index, bool part,
                      struct tg_response_info *info)
{
    index = lua_absindex(L, index);
    int status = check_status(L, index, part);
    *info = (struct tg_response_info){.length = TG_LENGTH_UNKNOWN};
    tg_buf_clear(&x->fields);
    x->head = (struct tg_response_head){.status = status};
    const struct tg_fetch_body *untouched = tg_fetch_response_untouched(L, index);
    if (untouched) {
        take_untouched(L, x, untouched, info);
        add_host_fields(L, x);
        return;
    }
    int type = lua_getfield(L, index, "headers");
    info->headless = type == LUA_TNIL;
    if (type == LUA_TTABLE)
        take_headers(L, x, info);
    else if (!info->headless)
        luaL_error(L, "the headers of a response are a table, these are a %s",
                   luaL_typename(L, -1));
    lua_pop(L, 1);
    add_host_fields(L, x);
}
