/* probe_http.c - opens heads and body framing to specs.  Never installed. */
#include <lauxlib.h>
#include <lua.h>

#include "http/framing.h"
#include "http/head.h"
#include "util/mem.h"

#define FRAMING "probe.Framing"

enum { FIELDS = 128 };

/* The bytes in a block of their own, so that a sanitizer sees a read past their end. */
static char *exact_copy(lua_State *L, int index, size_t *len)
{
    const char *bytes = luaL_checklstring(L, index, len);
    char *copy = tg_malloc(*len);
    if (*len && !copy)
        luaL_error(L, "not enough memory");
    else if (*len)
        memcpy(copy, bytes, *len);
    return copy;
}

static void set_span(lua_State *L, const char *name, const char *bytes, struct tg_span span)
{
    lua_pushlstring(L, bytes + span.at, span.len);
    lua_setfield(L, -2, name);
}

static void set_flag(lua_State *L, const char *name, bool value)
{
    lua_pushboolean(L, value);
    lua_setfield(L, -2, name);
}

static void set_integer(lua_State *L, const char *name, lua_Integer value)
{
    lua_pushinteger(L, value);
    lua_setfield(L, -2, name);
}

static void push_fields(lua_State *L, const char *bytes, const struct tg_field *fields, size_t n)
{
    lua_createtable(L, (int)n, 0);
    for (size_t i = 0; i < n; i++) {
        lua_createtable(L, 2, 0);
        lua_pushlstring(L, bytes + fields[i].name, fields[i].name_len);
        lua_rawseti(L, -2, 1);
        lua_pushlstring(L, bytes + fields[i].value, fields[i].value_len);
        lua_rawseti(L, -2, 2);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
}

static const char *const kinds[] = {"none", "length", "chunked", NULL};

static void push_head(lua_State *L, const char *bytes, const struct tg_head *head,
                      const struct tg_field *fields)
{
    lua_newtable(L);
    set_span(L, "method", bytes, head->method);
    set_span(L, "target", bytes, head->target);
    set_span(L, "path", bytes, head->path);
    set_span(L, "authority", bytes, head->authority);
    if (head->has_query)
        set_span(L, "query", bytes, head->query);
    set_flag(L, "secure", head->secure);
    set_flag(L, "close", head->close);
    set_flag(L, "expect_continue", head->expect_continue);
    set_integer(L, "minor", head->minor);
    set_integer(L, "length", (lua_Integer)head->length);
    lua_pushstring(L, kinds[head->framing]);
    lua_setfield(L, -2, "framing");
    push_fields(L, bytes, fields, head->field_count);
    lua_setfield(L, -2, "fields");
}

/* head_parse(bytes[, fields_max[, target_max]]) -> what was parsed, or the status that refuses it */
static int p_head_parse(lua_State *L)
{
    struct tg_head_limits limits = {(size_t)luaL_optinteger(L, 2, 0),
                                    (size_t)luaL_optinteger(L, 3, 0)};
    struct tg_field fields[FIELDS];
    struct tg_head head;
    size_t len;
    char *bytes = exact_copy(L, 1, &len);
    int status = tg_head_parse(bytes, len, &limits, &head, fields, FIELDS);
    if (status)
        lua_pushinteger(L, status);
    else
        push_head(L, bytes, &head, fields);
    tg_free(bytes);
    return 1;
}

/* repeat_parse(n, bytes): for timing, without Lua's own cost */
static int p_repeat_parse(lua_State *L)
{
    struct tg_head_limits limits = {0, 0};
    struct tg_field fields[FIELDS];
    struct tg_head head;
    size_t len;
    const char *bytes = luaL_checklstring(L, 2, &len);
    int status = 0;
    for (lua_Integer n = luaL_checkinteger(L, 1); n > 0; n--)
        status |= tg_head_parse(bytes, len, &limits, &head, fields, FIELDS);
    lua_pushinteger(L, status);
    return 1;
}

/* find_end(bytes[, scanned]) -> the head's length, 0 or -1; scanned */
static int p_find_end(lua_State *L)
{
    size_t len;
    size_t scanned = (size_t)luaL_optinteger(L, 2, 0);
    char *bytes = exact_copy(L, 1, &len);
    lua_pushinteger(L, tg_head_find_end(bytes, len, &scanned));
    lua_pushinteger(L, (lua_Integer)scanned);
    tg_free(bytes);
    return 2;
}

static int p_blank(lua_State *L)
{
    size_t len;
    char *bytes = exact_copy(L, 1, &len);
    lua_pushinteger(L, (lua_Integer)tg_head_blank(bytes, len));
    tg_free(bytes);
    return 1;
}

static int p_is_token(lua_State *L)
{
    size_t len;
    const char *bytes = luaL_checklstring(L, 1, &len);
    lua_pushboolean(L, tg_is_token(bytes, len));
    return 1;
}

static int p_is_field_value(lua_State *L)
{
    size_t len;
    const char *bytes = luaL_checklstring(L, 1, &len);
    lua_pushboolean(L, tg_is_field_value(bytes, len));
    return 1;
}

/* framing(kind[, length]) */
static int p_framing(lua_State *L)
{
    int kind = luaL_checkoption(L, 1, NULL, kinds);
    uint64_t length = (uint64_t)luaL_optinteger(L, 2, 0);
    tg_framing_init(lua_newuserdatauv(L, sizeof(struct tg_framing), 0), kind, length);
    luaL_setmetatable(L, FRAMING);
    return 1;
}

static const char *state_name(const struct tg_framing *framing)
{
    static const char *const names[] = {"more", "done", "broken"};
    return names[tg_framing_state(framing)];
}

/* framing:feed(bytes) -> payload, state, bytes used, runs of payload */
static int p_feed(lua_State *L)
{
    struct tg_framing *framing = luaL_checkudata(L, 1, FRAMING);
    size_t len;
    size_t at = 0;
    lua_Integer runs = 0;
    char *bytes = exact_copy(L, 2, &len);
    luaL_Buffer payload;
    luaL_buffinit(L, &payload);
    while (tg_framing_state(framing) == TG_FRAMING_MORE) {
        struct tg_slice data;
        size_t used = tg_framing_next(framing, bytes + at, len - at, &data);
        if (!used)
            break;
        at += used;
        runs += data.len > 0;
        if (data.len)
            luaL_addlstring(&payload, data.p, data.len);
    }
    tg_free(bytes);
    luaL_pushresult(&payload);
    lua_pushstring(L, state_name(framing));
    lua_pushinteger(L, (lua_Integer)at);
    lua_pushinteger(L, runs);
    return 4;
}

static int p_state(lua_State *L)
{
    lua_pushstring(L, state_name(luaL_checkudata(L, 1, FRAMING)));
    return 1;
}

__attribute__((visibility("default"))) int luaopen_probe_http(lua_State *L);
int luaopen_probe_http(lua_State *L)
{
    static const luaL_Reg methods[] = {{"feed", p_feed}, {"state", p_state}, {NULL, NULL}};
    static const luaL_Reg functions[] = {
        {"head_parse", p_head_parse}, {"repeat_parse", p_repeat_parse},
        {"find_end", p_find_end},     {"blank", p_blank},
        {"is_token", p_is_token},     {"is_field_value", p_is_field_value},
        {"framing", p_framing},       {NULL, NULL},
    };
    luaL_newmetatable(L, FRAMING);
    luaL_setfuncs(L, methods, 0);
    lua_pushvalue(L, -1);
    lua_setfield(L, -2, "__index");
    luaL_newlib(L, functions);
    return 1;
}
