/* print_row.c - elements as rows of CSV (RFC 4180).
 *
 * The first row settles the columns: the sorted names of a map, which are the header, or so many cells.
 * A row that has less is filled with empty cells; one that has more is an error.
 */
#include <stdlib.h>
#include <string.h>

#include <lauxlib.h>

#include "body/csv.h"
#include "body/json.h"
#include "lua/bind_sequence.h"
#include "lua/print_impl.h"

/* --- Columns ---------------------------------------------------------------------------------- */

static char separator_of(const struct tg_printer *p)
{
    if (p->csv)
        return p->csv->separator;
    return ',';
}

static struct tg_slice slice_at(lua_State *L, int index)
{
    struct tg_slice s;
    s.p = lua_tolstring(L, index, &s.len);
    return s;
}

static int compare_names(const void *a, const void *b)
{
    const struct tg_slice *x = a;
    const struct tg_slice *y = b;
    int order = memcmp(x->p, y->p, x->len < y->len ? x->len : y->len);
    return order ? order : (x->len > y->len) - (x->len < y->len);
}

/* Pushes the sorted names of the map at row, n of them, as a list. */
static void push_names(lua_State *L, int row, lua_Integer n)
{
    lua_Integer filled = 0;
    struct tg_slice *names = lua_newuserdatauv(L, (size_t)n * sizeof *names, 0);
    lua_createtable(L, (int)n, 0);
    for (lua_pushnil(L); lua_next(L, row); filled++) {
        lua_pop(L, 1);
        names[filled] = slice_at(L, -1);
    }
    qsort(names, (size_t)n, sizeof *names, compare_names);
    for (lua_Integer i = 0; i < n; i++) {
        lua_pushlstring(L, names[i].p, names[i].len);
        lua_rawseti(L, -2, i + 1);
    }
    lua_remove(L, -2);
}

/* Keeps the list of names on top, and pops it. */
static void keep_names(lua_State *L, struct tg_printer *p)
{
    p->columns = (int)lua_rawlen(L, -1);
    p->named = true;
    lua_setiuservalue(L, 1, TG_PRINTER_COLUMNS);
}

void tg_print_use_csv(lua_State *L, struct tg_printer *p, int index)
{
    p->csv = lua_touserdata(L, index);
    lua_pushvalue(L, index);
    lua_setiuservalue(L, 1, TG_PRINTER_CSV);
    if (lua_getiuservalue(L, index, TG_CSV_COLUMNS) == LUA_TTABLE)
        keep_names(L, p);
    else
        lua_pop(L, 1);
}

void tg_print_header(lua_State *L, struct tg_printer *p, const struct tg_format *format)
{
    struct tg_writer *w = p->watch.w;
    char separator = separator_of(p);
    p->headed = true;
    if (!p->named || format->bare || (p->csv && !p->csv->header))
        return;
    lua_getiuservalue(L, 1, TG_PRINTER_COLUMNS);
    for (int i = 1; i <= p->columns; i++) {
        if (i > 1)
            tg_writer_write(w, &separator, 1);
        lua_rawgeti(L, -1, i);
        tg_csv_cell(w, slice_at(L, -1), separator);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    tg_print_put(w, format->after);
}

/* --- Rows ------------------------------------------------------------------------------------- */

/* What keys a row has. */
struct keys {
    lua_Integer names;
    lua_Integer most; /* the largest number */
};

static struct keys read_keys(lua_State *L, const struct tg_printer *p, int row)
{
    struct keys keys = {0, 0};
    for (lua_pushnil(L); lua_next(L, row);) {
        lua_pop(L, 1);
        lua_Integer number = lua_isinteger(L, -1) ? lua_tointeger(L, -1) : 0;
        keys.most = number > keys.most ? number : keys.most;
        if (lua_type(L, -1) == LUA_TSTRING)
            keys.names++;
        else if (number < 1)
            tg_print_fail(L, p, "a column has a name or a number from 1 on, this is a %s",
                          luaL_typename(L, -1));
    }
    if (keys.names && keys.most)
        tg_print_fail(L, p, "the row is neither a list nor a map");
    if (keys.names > TG_COLUMNS_MAX || keys.most > TG_COLUMNS_MAX)
        tg_print_fail(L, p, "the row has more than %d columns", TG_COLUMNS_MAX);
    return keys;
}

/* Whether the map at row is of columns that are known. */
static bool is_known(lua_State *L, const struct tg_printer *p, int names, int name)
{
    for (int i = 1; i <= p->columns; i++) {
        lua_rawgeti(L, names, i);
        bool same = lua_rawequal(L, -1, name);
        lua_pop(L, 1);
        if (same)
            return true;
    }
    return false;
}

static void refuse_others(lua_State *L, const struct tg_printer *p, int row, int names)
{
    for (lua_pushnil(L); lua_next(L, row);) {
        lua_pop(L, 1);
        if (!is_known(L, p, names, lua_gettop(L)))
            tg_print_fail(L, p, "%.60s is none of the columns, which the first row has settled",
                          lua_tostring(L, -1));
    }
}

/* Puts the values of a map's columns on the stack. */
static void spread_map(lua_State *L, struct tg_printer *p, int row, lua_Integer n)
{
    lua_Integer found = 0;
    if (!p->columns && p->alone)
        tg_print_fail(L, p, "a row that is printed by itself is a list");
    if (!p->columns) {
        push_names(L, row, n);
        keep_names(L, p);
    }
    if (!p->named)
        tg_print_fail(L, p, "the row is a map, and the first one is a list");
    luaL_checkstack(L, p->columns + LUA_MINSTACK, "too many columns");
    lua_getiuservalue(L, 1, TG_PRINTER_COLUMNS);
    for (int i = 1; i <= p->columns; i++) {
        lua_rawgeti(L, row + 1, i);
        found += lua_rawget(L, row) != LUA_TNIL;
    }
    if (found < n && !(p->csv && p->csv->chosen))
        refuse_others(L, p, row, row + 1);
    lua_remove(L, row + 1);
}

static void spread_list(lua_State *L, struct tg_printer *p, int row, lua_Integer most)
{
    if (!p->columns)
        p->columns = (int)most;
    else if (p->named && !(p->csv && p->csv->chosen))
        tg_print_fail(L, p, "the row is a list, and the first one is a map");
    if (most > p->columns && !p->alone)
        tg_print_fail(L, p, "the row has %d cells, the first one has %d", (int)most, p->columns);
    luaL_checkstack(L, p->columns + LUA_MINSTACK, "too many columns");
    for (int i = 1; i <= p->columns; i++)
        lua_rawgeti(L, row, i);
}

/* Puts the cells of the row on the stack. */
static void spread(lua_State *L, struct tg_printer *p, int row)
{
    if (!lua_istable(L, row) || tg_print_is_leaf(L, row)) { /* a row of one cell */
        lua_createtable(L, 1, 0);
        lua_pushvalue(L, row);
        lua_rawseti(L, -2, 1);
        lua_replace(L, row);
    }
    struct keys keys = read_keys(L, p, row);
    if (!keys.names && !keys.most && !p->columns)
        tg_print_fail(L, p, "the first row is empty: it would have no columns");
    bool map = keys.names || (!keys.most && p->named);
    if (map)
        spread_map(L, p, row, keys.names);
    else
        spread_list(L, p, row, keys.most);
}

/* Stack: row, cells. */
void tg_print_open_row(lua_State *L, struct tg_printer *p, const struct tg_format *format)
{
    int row = lua_gettop(L);
    luaL_checkstack(L, LUA_MINSTACK, "nested too deeply");
    spread(L, p, row);
    if (!p->headed)
        tg_print_header(L, p, format);
    struct tg_frame *f = tg_print_push(L, p, TG_FRAME_ROW, format);
    f->n = f->base - row;
    f->base = row;
}

/* --- Cells ------------------------------------------------------------------------------------ */

/* Prints the cell at index; false when it takes a frame, or is none. */
static bool put_cell(lua_State *L, const struct tg_printer *p, int index)
{
    struct tg_writer *w = p->watch.w;
    struct tg_slice text;
    switch (lua_type(L, index)) {
    case LUA_TSTRING:
        text = slice_at(L, index);
        if (text.len > TG_TEXT_WHOLE)
            return false;
        tg_csv_cell(w, text, separator_of(p));
        return true;
    case LUA_TNUMBER:
        if (lua_isinteger(L, index))
            tg_json_integer(w, lua_tointeger(L, index));
        else
            return tg_json_number(w, lua_tonumber(L, index)) != TG_EINVAL;
        return true;
    case LUA_TBOOLEAN:
        tg_print_put(w, lua_toboolean(L, index) ? TG_SLICE("true") : TG_SLICE("false"));
        return true;
    case LUA_TNIL:
        return true;
    default:
        return tg_json_is_null(L, index);
    }
}

/* A frame for the cell on top, the last that f has begun. */
static void open_cell(lua_State *L, struct tg_printer *p, struct tg_frame *f)
{
    const struct tg_format *format = f->format;
    if (p->named) {
        lua_getiuservalue(L, 1, TG_PRINTER_COLUMNS);
        lua_rawgeti(L, -1, f->count);
        f->name = slice_at(L, -1);
        tg_print_show_name(f);
        lua_pop(L, 2);
    }
    if (lua_type(L, -1) == LUA_TSTRING)
        tg_print_open_text(L, p, format);
    else if (tg_print_is_leaf(L, -1))
        tg_print_open_leaf(L, p, format);
    else if (lua_type(L, -1) == LUA_TNUMBER)
        tg_print_fail(L, p, "NaN and the infinities cannot be printed");
    else
        tg_print_fail(L, p, "a %s cannot be a cell of a row", luaL_typename(L, -1));
}

bool tg_print_step_row(lua_State *L, struct tg_printer *p, struct tg_frame *f)
{
    struct tg_writer *w = p->watch.w;
    char separator = separator_of(p);
    while (f->count < f->n) {
        if (f->count)
            tg_writer_write(w, &separator, 1);
        int cell = f->base + (int)++f->count;
        if (!put_cell(L, p, cell)) {
            lua_pushvalue(L, cell);
            open_cell(L, p, f);
            return false;
        }
        if (w->must_wait || w->failed)
            return false;
    }
    if (f->n == 1 && (lua_isnil(L, f->base + 1) || tg_json_is_null(L, f->base + 1)))
        tg_print_put(w, TG_SLICE("\"\"")); /* an empty line would be no row */
    return true;
}
