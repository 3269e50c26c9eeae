/* print_element.c - rows of CSV (RFC 4180), events, and what a function of the script makes. */
#include "lua/print_element.h"

#include <stdlib.h>
#include <string.h>

#include <lauxlib.h>

#include "body/event.h"
#include "body/json.h"
#include "lua/bind_format.h"
#include "lua/bind_sequence.h"

enum { COLUMNS_MAX = 4096 };

/* --- Cells ------------------------------------------------------------------------------------ */

static void put_text(struct tg_writer *w, const char *text, size_t len)
{
    const char *end = text + len;
    bool quoted = memchr(text, '"', len) || memchr(text, ',', len) || memchr(text, '\n', len) ||
                  memchr(text, '\r', len);
    if (!quoted) {
        tg_writer_write(w, text, len);
        return;
    }
    tg_writer_write(w, "\"", 1);
    while (text < end) {
        const char *quote = memchr(text, '"', (size_t)(end - text));
        size_t piece = (size_t)((quote ? quote + 1 : end) - text);
        tg_writer_write(w, text, piece);
        if (quote)
            tg_writer_write(w, "\"", 1);
        text += piece;
    }
    tg_writer_write(w, "\"", 1);
}

/* The value on top, as a cell; pops it. */
static void put_cell(lua_State *L, struct tg_printer *p)
{
    struct tg_writer *w = p->watch.w;
    size_t len;
    const char *text;
    switch (lua_type(L, -1)) {
    case LUA_TSTRING:
        text = lua_tolstring(L, -1, &len);
        put_text(w, text, len);
        break;
    case LUA_TNUMBER:
        if (lua_isinteger(L, -1))
            tg_json_integer(w, lua_tointeger(L, -1));
        else if (tg_json_number(w, lua_tonumber(L, -1)) == TG_EINVAL)
            tg_print_fail(L, p, "NaN and the infinities cannot be printed");
        break;
    case LUA_TBOOLEAN:
        tg_print_put(w, lua_toboolean(L, -1) ? TG_SLICE("true") : TG_SLICE("false"));
        break;
    case LUA_TNIL:
        break;
    default:
        if (!tg_json_is_null(L, -1))
            tg_print_fail(L, p, "a %s cannot be a cell of a row", luaL_typename(L, -1));
    }
    lua_pop(L, 1);
}

/* --- Rows ------------------------------------------------------------------------------------- */

static bool is_list_row(lua_State *L, int row)
{
    bool first = lua_rawgeti(L, row, 1) != LUA_TNIL;
    lua_pop(L, 1);
    return first || tg_json_mark(L, row) == TG_JSON_ARRAY;
}

static int compare_names(const void *a, const void *b)
{
    const struct tg_slice *x = a;
    const struct tg_slice *y = b;
    int order = memcmp(x->p, y->p, x->len < y->len ? x->len : y->len);
    return order ? order : (x->len > y->len) - (x->len < y->len);
}

static lua_Integer count_keys(lua_State *L, const struct tg_printer *p, int row)
{
    lua_Integer n = 0;
    lua_pushnil(L);
    for (; lua_next(L, row); n++) {
        lua_pop(L, 1);
        if (lua_type(L, -1) != LUA_TSTRING)
            tg_print_fail(L, p, "a %s as the name of a column", luaL_typename(L, -1));
    }
    if (n > COLUMNS_MAX)
        tg_print_fail(L, p, "more than %d columns", COLUMNS_MAX);
    return n;
}

/* Pushes the sorted names of the first row's fields, a list, and keeps it. */
static void make_columns(lua_State *L, const struct tg_printer *p, int row)
{
    lua_Integer n = count_keys(L, p, row);
    lua_Integer filled = 0;
    if (!n)
        tg_print_fail(L, p, "the first row is empty: it would have no columns");
    struct tg_slice *names = lua_newuserdatauv(L, (size_t)n * sizeof *names, 0);
    lua_pushnil(L);
    while (filled < n && lua_next(L, row)) {
        names[filled].p = lua_tolstring(L, -2, &names[filled].len);
        filled++;
        lua_pop(L, 1);
    }
    if (filled == n && lua_next(L, row))
        lua_pop(L, 2);
    qsort(names, (size_t)filled, sizeof *names, compare_names);
    lua_createtable(L, (int)filled, 0);
    for (lua_Integer i = 0; i < filled; i++) {
        lua_pushlstring(L, names[i].p, names[i].len);
        lua_rawseti(L, -2, i + 1);
    }
    lua_remove(L, -2);
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, 1, TG_PRINTER_COLUMNS);
}

static void put_header(lua_State *L, struct tg_printer *p, int columns, lua_Integer count)
{
    for (lua_Integer i = 1; i <= count; i++) {
        if (i > 1)
            tg_print_put(p->watch.w, TG_SLICE(","));
        lua_rawgeti(L, columns, i);
        put_cell(L, p);
    }
    tg_print_put(p->watch.w, TG_SLICE("\r\n"));
}

static bool is_column(lua_State *L, int columns, lua_Integer count, int name)
{
    bool found = false;
    for (lua_Integer i = 1; i <= count && !found; i++) {
        lua_rawgeti(L, columns, i);
        found = lua_rawequal(L, -1, name);
        lua_pop(L, 1);
    }
    return found;
}

static void refuse_others(lua_State *L, const struct tg_printer *p, int row, int columns,
                          lua_Integer count)
{
    lua_pushnil(L);
    while (lua_next(L, row)) {
        lua_pop(L, 1);
        if (!is_column(L, columns, count, lua_gettop(L)))
            tg_print_fail(L, p, "the first row has no column %.60s",
                          lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1)
                                                         : luaL_typename(L, -1));
    }
}

static void put_map_row(lua_State *L, struct tg_printer *p, const struct tg_format *format, int row)
{
    lua_Integer found = 0;
    lua_Integer fields = count_keys(L, p, row);
    bool first = lua_getiuservalue(L, 1, TG_PRINTER_COLUMNS) != LUA_TTABLE;
    if (first) {
        lua_pop(L, 1);
        if (p->alone)
            tg_print_fail(L, p, "a row that is printed by hand is a list");
        make_columns(L, p, row);
    }
    int columns = lua_gettop(L);
    lua_Integer count = (lua_Integer)lua_rawlen(L, columns);
    if (first && !format->bare)
        put_header(L, p, columns, count);
    for (lua_Integer i = 1; i <= count; i++) {
        if (i > 1)
            tg_print_put(p->watch.w, TG_SLICE(","));
        lua_rawgeti(L, columns, i);
        found += lua_rawget(L, row) != LUA_TNIL;
        put_cell(L, p);
    }
    if (found < fields)
        refuse_others(L, p, row, columns, count);
    lua_settop(L, row);
}

static void put_row(lua_State *L, struct tg_printer *p, const struct tg_format *format)
{
    int row = lua_gettop(L);
    luaL_checkstack(L, LUA_MINSTACK, NULL);
    if (!lua_istable(L, row)) {
        lua_pushvalue(L, row);
        put_cell(L, p);
        return;
    }
    if (!is_list_row(L, row)) {
        put_map_row(L, p, format, row);
        return;
    }
    lua_Integer count = (lua_Integer)lua_rawlen(L, row);
    for (lua_Integer i = 1; i <= count; i++) {
        if (i > 1)
            tg_print_put(p->watch.w, TG_SLICE(","));
        lua_rawgeti(L, row, i);
        put_cell(L, p);
    }
}

/* --- Events ----------------------------------------------------------------------------------- */

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
    if (!lua_istable(L, index))
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

static void put_field(lua_State *L, const struct tg_printer *p, struct tg_event_pen *pen, int event,
                      const char *name,
                      enum tg_status (*put)(struct tg_event_pen *pen, struct tg_slice value))
{
    struct tg_slice value;
    if (lua_getfield(L, event, name) != LUA_TNIL) {
        if (!lua_isstring(L, -1))
            tg_print_fail(L, p, "%s: a %s, expected a string", name, luaL_typename(L, -1));
        value.p = lua_tolstring(L, -1, &value.len);
        enum tg_status status = put(pen, value);
        if (status == TG_EINVAL)
            tg_print_fail(L, p, "%s: it has a line break or a NUL", name);
        if (status == TG_ELIMIT && !p->watch.w->failed)
            tg_print_fail(L, p, "%s: it is longer than %d bytes", name, TG_EVENT_FIELD_MAX);
    }
    lua_pop(L, 1);
}

static void put_comment(lua_State *L, struct tg_event_pen *pen, int event)
{
    struct tg_slice text;
    if (lua_getfield(L, event, "comment") == LUA_TSTRING) {
        text.p = lua_tolstring(L, -1, &text.len);
        tg_event_comment(pen, text);
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

/* The value on top, as data. */
static enum tg_element put_data(lua_State *L, const struct tg_printer *p, struct tg_event_pen *pen)
{
    struct tg_slice text;
    switch (lua_type(L, -1)) {
    case LUA_TSTRING:
        text.p = lua_tolstring(L, -1, &text.len);
        tg_event_data(pen, text);
        return TG_ELEMENT_DONE;
    case LUA_TNUMBER:
        tg_event_begin_data(pen);
        if (lua_isinteger(L, -1))
            tg_json_integer(p->watch.w, lua_tointeger(L, -1));
        else if (tg_json_number(p->watch.w, lua_tonumber(L, -1)) == TG_EINVAL)
            tg_print_fail(L, p, "NaN and the infinities cannot be printed");
        return TG_ELEMENT_DONE;
    case LUA_TBOOLEAN:
        tg_event_data(pen, lua_toboolean(L, -1) ? TG_SLICE("true") : TG_SLICE("false"));
        return TG_ELEMENT_DONE;
    default:
        if (tg_json_is_null(L, -1)) {
            tg_event_data(pen, TG_SLICE("null"));
            return TG_ELEMENT_DONE;
        }
        tg_event_begin_data(pen);
        return TG_ELEMENT_OPEN;
    }
}

static enum tg_element put_event(lua_State *L, const struct tg_printer *p)
{
    int event = lua_gettop(L);
    struct tg_event_pen pen = tg_event_pen_to_writer(p->watch.w);
    luaL_checkstack(L, LUA_MINSTACK, NULL);
    if (!is_event(L, event))
        return put_data(L, p, &pen);
    put_comment(L, &pen, event);
    put_field(L, p, &pen, event, "event", tg_event_name);
    put_field(L, p, &pen, event, "id", tg_event_id);
    put_retry(L, p, &pen, event);
    if (lua_getfield(L, event, "data") == LUA_TNIL) {
        if (lua_getfield(L, event, "event") != LUA_TNIL)
            tg_event_begin_data(&pen); /* without data no client would see the event */
        lua_pop(L, 2);
        return TG_ELEMENT_DONE;
    }
    enum tg_element element = put_data(L, p, &pen);
    lua_replace(L, event);
    return element;
}

/* --- All of them ------------------------------------------------------------------------------ */

enum tg_element tg_print_special(lua_State *L, struct tg_printer *p, const struct tg_format *format,
                                 lua_Integer n)
{
    switch (format->dialect) {
    case TG_DIALECT_CSV:
        put_row(L, p, format);
        return TG_ELEMENT_DONE;
    case TG_DIALECT_EVENT:
        return put_event(L, p);
    case TG_DIALECT_SCRIPT:
        tg_format_push_element(L, format);
        lua_insert(L, -2);
        lua_pushinteger(L, n);
        return TG_ELEMENT_CALL;
    case TG_DIALECT_JSON:
    case TG_DIALECT_EDN:
        break;
    }
    return TG_ELEMENT_OPEN;
}
