/* print_event.c - elements as events of text/event-stream (WHATWG HTML, 9.2). */
#include <string.h>

#include <lauxlib.h>

#include "body/event.h"
#include "body/json.h"
#include "lua/bind_sequence.h"
#include "lua/print_impl.h"

static bool is_event_key(const char *key)
{
    static const char *const keys[] = {"data", "event", "id", "retry", "comment"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (strcmp(key, keys[i]) == 0)
            return true;
    return false;
}

/* A table that has fields of an event, and no others. */
static bool is_event(lua_State *L, int index)
{
    bool some = false;
    if (!lua_istable(L, index) || tg_print_is_leaf(L, index))
        return false;
    lua_pushnil(L);
    while (lua_next(L, index)) {
        lua_pop(L, 1);
        if (lua_type(L, -1) != LUA_TSTRING || !is_event_key(lua_tostring(L, -1))) {
            lua_pop(L, 1);
            return false;
        }
        some = true;
    }
    return some;
}

/* The text of a field; p NULL when there is none.  It stays on the stack. */
static struct tg_slice read_field(lua_State *L, const struct tg_printer *p, int event,
                                  const char *name)
{
    struct tg_slice value = {NULL, 0};
    int type = lua_getfield(L, event, name);
    if (type == LUA_TNIL)
        return value;
    if (type != LUA_TSTRING && type != LUA_TNUMBER)
        tg_print_fail(L, p, "%s: a %s, expected a string", name, luaL_typename(L, -1));
    value.p = lua_tolstring(L, -1, &value.len);
    return value;
}

static void put_field(lua_State *L, const struct tg_printer *p, struct tg_event_pen *pen, int event,
                      const char *name,
                      enum tg_status (*put)(struct tg_event_pen *pen, struct tg_slice value))
{
    struct tg_slice value = read_field(L, p, event, name);
    if (value.p) {
        enum tg_status status = put(pen, value);
        if (status == TG_EINVAL && !p->watch.w->failed)
            tg_print_fail(L, p, "%s: it has a line break or a NUL", name);
        if (status == TG_ELIMIT && !p->watch.w->failed)
            tg_print_fail(L, p, "%s: it is longer than %d bytes", name, TG_EVENT_FIELD_MAX);
    }
    lua_pop(L, 1);
}

static void put_retry(lua_State *L, const struct tg_printer *p, struct tg_event_pen *pen, int event)
{
    if (lua_getfield(L, event, "retry") != LUA_TNIL) {
        lua_Integer ms = lua_isinteger(L, -1) ? lua_tointeger(L, -1) : -1;
        if (ms < 0)
            tg_print_fail(L, p, "retry: expected milliseconds, an integer");
        tg_event_retry(pen, (uint64_t)ms);
    }
    lua_pop(L, 1);
}

/* Prints the value on top as data if it is short; else data has begun, and its text is to come. */
static bool put_data(lua_State *L, const struct tg_printer *p, struct tg_event_pen *pen)
{
    struct tg_slice text;
    tg_event_begin_data(pen);
    switch (lua_type(L, -1)) {
    case LUA_TSTRING:
        text.p = lua_tolstring(L, -1, &text.len);
        if (text.len > TG_TEXT_WHOLE)
            return false;
        tg_event_add_data(pen, text);
        return true;
    case LUA_TNUMBER:
        if (lua_isinteger(L, -1))
            tg_json_integer(p->watch.w, lua_tointeger(L, -1));
        else if (tg_json_number(p->watch.w, lua_tonumber(L, -1)) == TG_EINVAL)
            tg_print_fail(L, p, "NaN and the infinities cannot be printed");
        return true;
    case LUA_TBOOLEAN:
        tg_event_add_data(pen, lua_toboolean(L, -1) ? TG_SLICE("true") : TG_SLICE("false"));
        return true;
    default:
        if (!tg_json_is_null(L, -1))
            return false;
        tg_event_add_data(pen, TG_SLICE("null"));
        return true;
    }
}

bool tg_print_event(lua_State *L, const struct tg_printer *p)
{
    int event = lua_gettop(L);
    struct tg_event_pen pen = tg_event_pen_to_writer(p->watch.w);
    luaL_checkstack(L, LUA_MINSTACK, NULL);
    if (!is_event(L, event))
        return put_data(L, p, &pen);
    put_field(L, p, &pen, event, "comment", tg_event_comment);
    put_field(L, p, &pen, event, "event", tg_event_name);
    put_field(L, p, &pen, event, "id", tg_event_id);
    put_retry(L, p, &pen, event);
    bool named = lua_getfield(L, event, "event") != LUA_TNIL;
    lua_getfield(L, event, "data");
    lua_replace(L, event);
    lua_settop(L, event);
    if (!lua_isnil(L, event))
        return put_data(L, p, &pen);
    if (named)
        tg_event_begin_data(&pen); /* without data no client would see the event */
    return true;
}
