/* print_table.c - what a table is, and its fields in order. */
#include <stdlib.h>
#include <string.h>

#include <lauxlib.h>

#include "body/edn.h"
#include "body/json.h"
#include "lua/bind_sequence.h"
#include "lua/print_impl.h"

enum {
    MISSES = 8,       /* maps of no known shape before one is kept */
    SHAPE_TEXT = 512, /* bytes of a shape's names that are worth keeping */
    FIELD_MARKS = 6,  /* bytes around a name, at the most */
};

/* --- Names ------------------------------------------------------------------------------------ */

static struct tg_slice slice_at(lua_State *L, int index)
{
    struct tg_slice s;
    s.p = lua_tolstring(L, index, &s.len);
    return s;
}

/* By bytes.  Most names differ in the first one: memcmp() would be a call for it. */
static inline int compare(struct tg_slice a, struct tg_slice b)
{
    if (*a.p != *b.p) /* both end in NUL */
        return (unsigned char)*a.p < (unsigned char)*b.p ? -1 : 1;
    int order = memcmp(a.p, b.p, a.len < b.len ? a.len : b.len);
    return order ? order : (a.len > b.len) - (a.len < b.len);
}

/* The key at index becomes a string: numbers as they print, others are refused. */
static void name_key(lua_State *L, const struct tg_printer *p, int index)
{
    char text[TG_NUMBER_MAX];
    size_t len = 0;
    if (lua_type(L, index) == LUA_TSTRING)
        return;
    if (lua_isinteger(L, index))
        len = tg_format_integer(text, lua_tointeger(L, index));
    else if (lua_type(L, index) == LUA_TNUMBER)
        len = tg_format_number(text, lua_tonumber(L, index));
    else
        tg_print_fail(L, p, "a %s as a key cannot be printed", luaL_typename(L, index));
    if (!len)
        tg_print_fail(L, p, "an infinity as a key cannot be printed");
    lua_pushlstring(L, text, len);
    lua_replace(L, index);
}

static void refuse_twins(lua_State *L, const struct tg_printer *p, struct tg_slice a,
                         struct tg_slice b)
{
    if (tg_slice_equal(a, b))
        tg_print_fail(L, p, "two keys, a number and a string, would both be \"%.40s\"", a.p);
}

/* --- Small maps ------------------------------------------------------------------------------- */

/* Sorts by insertion.  Names are those of the keys at base + 1, base + 3, … */
static void sort_small(lua_State *L, const struct tg_printer *p, struct tg_frame *f)
{
    struct tg_slice names[TG_SMALL_MAP];
    bool numbers = false;
    int n = (int)f->n;
    for (int i = 0; i < n; i++) {
        int key = f->base + 1 + 2 * i;
        numbers = numbers || lua_type(L, key) != LUA_TSTRING;
        name_key(L, p, key);
        names[i] = slice_at(L, key);
        int at = i;
        for (; at > 0 && compare(names[f->order[at - 1]], names[i]) > 0; at--)
            f->order[at] = f->order[at - 1];
        f->order[at] = (unsigned char)i;
    }
    for (int i = 1; numbers && i < n; i++)
        refuse_twins(L, p, names[f->order[i - 1]], names[f->order[i]]);
}

/* Whether the keys on the stack are the shape's, as lua_next() has given them. */
static bool has_keys(lua_State *L, const struct tg_shape *shape, const struct tg_frame *f)
{
    if (shape->n != f->n)
        return false;
    for (int i = 0; i < shape->n; i++)
        if (shape->fields[i].key != lua_topointer(L, f->base + 1 + 2 * i))
            return false;
    return true;
}

static const struct tg_shape *find_shape(lua_State *L, const struct tg_printer *p,
                                         const struct tg_frame *f)
{
    for (int i = 0; i < p->shape_count; i++)
        if (has_keys(L, p->shapes[i], f))
            return p->shapes[i];
    return NULL;
}

/* The shape that a map may have with that first key; or NULL. */
static const struct tg_shape *guess_shape(const struct tg_printer *p, const void *key)
{
    for (int i = 0; i < p->shape_count; i++)
        if (p->shapes[i]->fields[0].key == key)
            return p->shapes[i];
    return NULL;
}

static bool has_names(lua_State *L, const struct tg_frame *f)
{
    for (int i = 0; i < (int)f->n; i++)
        if (lua_type(L, f->base + 1 + 2 * i) != LUA_TSTRING)
            return false;
    return true;
}

static bool is_simple(struct tg_slice name)
{
    for (size_t i = 0; i < name.len; i++) {
        unsigned char c = (unsigned char)name.p[i];
        if (c < 0x20 || c >= 0x7f || c == '"' || c == '\\')
            return false;
    }
    return true;
}

/* Bytes of all texts; 0 when they are too many, or a name would have to be escaped. */
static size_t measure_texts(lua_State *L, const struct tg_frame *f)
{
    size_t size = 0;
    for (int i = 0; i < (int)f->n; i++) {
        struct tg_slice name = slice_at(L, f->base + 1 + 2 * i);
        size += name.len + FIELD_MARKS;
        if (size > SHAPE_TEXT || !is_simple(name))
            return 0;
    }
    return size;
}

static size_t add(char *out, size_t at, struct tg_slice text)
{
    memcpy(out + at, text.p, text.len);
    return at + text.len;
}

/* As put_name() does.  Returns how long it is. */
static size_t write_field(struct tg_shape_field *field, char *out, struct tg_slice name,
                          const struct tg_format *format, bool first)
{
    bool edn = format->dialect == TG_DIALECT_EDN;
    bool keyword = edn && tg_edn_is_keyword(name);
    size_t len = 0;
    if (first)
        len = add(out, len, TG_SLICE("{"));
    else
        len = add(out, len, edn ? TG_SLICE(", ") : TG_SLICE(","));
    len = add(out, len, keyword ? TG_SLICE(":") : TG_SLICE("\""));
    field->name = (struct tg_slice){out + len, name.len};
    len = add(out, len, name);
    if (!keyword)
        len = add(out, len, TG_SLICE("\""));
    len = add(out, len, edn ? TG_SLICE(" ") : TG_SLICE(":"));
    field->text = (struct tg_slice){out, len};
    return len;
}

/* Keeps the shape of a map that has been sorted, and its keys alive, in a list. */
static void keep_shape(lua_State *L, struct tg_printer *p, const struct tg_frame *f)
{
    size_t size = measure_texts(L, f);
    int n = (int)f->n;
    p->misses = 0;
    if (!size)
        return;
    if (lua_getiuservalue(L, 1, TG_PRINTER_SHAPES) != LUA_TTABLE) {
        lua_createtable(L, n + 1, 0);
        lua_pushvalue(L, -1);
        lua_setiuservalue(L, 1, TG_PRINTER_SHAPES);
    }
    int list = lua_gettop(L);
    size_t fields = (size_t)n * sizeof(struct tg_shape_field);
    struct tg_shape *shape = lua_newuserdatauv(L, sizeof *shape + fields + size + TG_TEXT_SLACK, 0);
    char *text = (char *)shape + sizeof *shape + fields;
    lua_rawseti(L, list, (lua_Integer)lua_rawlen(L, list) + 1);
    shape->n = n;
    for (int i = 0; i < n; i++) {
        struct tg_shape_field *field = &shape->fields[i];
        field->key = lua_topointer(L, f->base + 1 + 2 * i);
        field->place = f->order[i];
        struct tg_slice name = slice_at(L, f->base + 1 + 2 * f->order[i]);
        text += write_field(field, text, name, f->format, i == 0);
        lua_pushvalue(L, f->base + 1 + 2 * i);
        lua_rawseti(L, list, (lua_Integer)lua_rawlen(L, list) + 1);
    }
    p->shapes[p->shape_count++] = shape;
    lua_settop(L, list - 1);
}

static void order_small(lua_State *L, struct tg_printer *p, struct tg_frame *f)
{
    f->shape = find_shape(L, p, f);
    if (f->shape)
        return;
    bool names = has_names(L, f);
    sort_small(L, p, f);
    if (names && p->shape_count < TG_SHAPES && ++p->misses > MISSES)
        keep_shape(L, p, f);
}

/* --- Large maps ------------------------------------------------------------------------------- */

/* Stack: table, list of keys as they are (names of numbers follow them), entries. */
struct entry {
    struct tg_slice name;
    lua_Integer at; /* in the list */
};

static int compare_entries(const void *a, const void *b)
{
    return compare(((const struct entry *)a)->name, ((const struct entry *)b)->name);
}

static lua_Integer count_fields(lua_State *L, int table)
{
    lua_Integer n = 0;
    lua_pushnil(L);
    for (; lua_next(L, table); n++)
        lua_pop(L, 1);
    return n;
}

static void open_large(lua_State *L, const struct tg_printer *p, struct tg_frame *f)
{
    int base = f->base;
    bool numbers = false;
    lua_Integer n = count_fields(L, base);
    lua_Integer filled = 0;
    lua_createtable(L, 0, 0);
    struct entry *entries = lua_newuserdatauv(L, (size_t)n * sizeof *entries, 0);
    lua_pushnil(L);
    while (filled < n && lua_next(L, base)) {
        struct entry *entry = &entries[filled++];
        entry->at = filled;
        lua_pop(L, 1);
        lua_pushvalue(L, -1);
        lua_pushvalue(L, -1);
        lua_rawseti(L, base + 1, filled);
        if (lua_type(L, -1) != LUA_TSTRING) {
            numbers = true;
            name_key(L, p, lua_gettop(L));
            lua_pushvalue(L, -1);
            lua_rawseti(L, base + 1, n + filled);
        }
        entry->name = slice_at(L, -1);
        lua_pop(L, 1);
    }
    lua_settop(L, base + 2);
    f->kind = TG_FRAME_LARGE_MAP;
    f->n = filled;
    qsort(entries, (size_t)filled, sizeof *entries, compare_entries);
    for (lua_Integer i = 1; numbers && i < filled; i++)
        refuse_twins(L, p, entries[i - 1].name, entries[i].name);
}

/* --- Maps ------------------------------------------------------------------------------------- */

/* Stack: table, n fields, and if more the next key and value.  Returns how many there are; -1: too
 * many, and none is on the stack. */
static int push_fields(lua_State *L, int table, int n, bool more)
{
    for (; more; more = lua_next(L, table)) {
        if (n == TG_SMALL_MAP) {
            lua_settop(L, table);
            return -1;
        }
        n++;
        lua_pushvalue(L, -2);
    }
    return n;
}

struct tg_fields tg_print_push_known(lua_State *L, const struct tg_printer *p, int table,
                                     const void *key)
{
    int n = 0;
    bool more = true;
    const struct tg_shape *shape = guess_shape(p, key);
    if (!shape) {
        lua_settop(L, table);
        return (struct tg_fields){.n = -1};
    }
    luaL_checkstack(L, 2 * TG_SMALL_MAP + LUA_MINSTACK, "nested too deeply");
    while (more && n < shape->n && shape->fields[n].key == lua_topointer(L, -2)) {
        n++;
        lua_pushvalue(L, -2);
        more = lua_next(L, table);
    }
    if (!more && n == shape->n)
        return (struct tg_fields){n, shape};
    return (struct tg_fields){.n = push_fields(L, table, n, more)};
}

static void open_map(lua_State *L, struct tg_printer *p, struct tg_frame *f,
                     const struct tg_fields *known)
{
    struct tg_fields fields = *known;
    if (fields.n < 0) {
        luaL_checkstack(L, 2 * TG_SMALL_MAP + LUA_MINSTACK, "nested too deeply");
        lua_pushnil(L);
        fields.n = push_fields(L, f->base, 0, lua_next(L, f->base));
    }
    f->n = fields.n;
    f->shape = fields.shape;
    if (fields.n < 0)
        open_large(L, p, f);
    else if (fields.n && !fields.shape)
        order_small(L, p, f);
}

static void put_name(struct tg_writer *w, const struct tg_frame *f)
{
    if (f->format->dialect == TG_DIALECT_EDN) {
        tg_print_put(w, f->count ? TG_SLICE(", ") : TG_SLICE("{"));
        tg_edn_name(w, f->name);
        tg_print_put(w, TG_SLICE(" "));
        return;
    }
    tg_print_put(w, f->count ? TG_SLICE(",") : TG_SLICE("{"));
    tg_json_string(w, f->name.p, f->name.len);
    tg_print_put(w, TG_SLICE(":"));
}

int tg_print_map_item(lua_State *L, struct tg_writer *w, struct tg_frame *f)
{
    lua_Integer i = f->count;
    if (f->kind == TG_FRAME_MAP) {
        int key = f->base + 1 + 2 * f->order[i];
        f->name = slice_at(L, key);
        put_name(w, f);
        f->count++;
        return key + 1;
    }
    const struct entry *entry = (const struct entry *)lua_touserdata(L, f->base + 2) + i;
    f->name = entry->name;
    put_name(w, f);
    f->count++;
    lua_settop(L, f->base + 2);
    lua_rawgeti(L, f->base + 1, entry->at);
    lua_rawget(L, f->base);
    return f->base + 3;
}

/* --- Tables ----------------------------------------------------------------------------------- */

static void check_list(lua_State *L, const struct tg_printer *p, int table, lua_Integer n)
{
    lua_Integer count = 0;
    lua_pushnil(L);
    for (; lua_next(L, table); count++) {
        lua_settop(L, table + 1);
        lua_Integer key = lua_isinteger(L, -1) ? lua_tointegerx(L, -1, NULL) : 0;
        if (key < 1 || key > n)
            tg_print_fail(
                L, p,
                "the table is neither a list nor a map: it has items from 1 on and other keys");
    }
    if (count < n)
        tg_print_fail(L, p, "the list has holes (tg.json.null prints as null)");
}

/* *n is set for lists. */
static bool is_list(lua_State *L, int table, enum tg_json_mark mark, lua_Integer *n)
{
    *n = mark == TG_JSON_OBJECT ? 0 : (lua_Integer)lua_rawlen(L, table);
    if (mark != TG_JSON_UNMARKED || !*n)
        return mark == TG_JSON_ARRAY;
    bool first = lua_rawgeti(L, table, 1) != LUA_TNIL;
    lua_settop(L, -2);
    return first;
}

bool tg_print_is_list(lua_State *L, int index)
{
    index = lua_absindex(L, index);
    enum tg_json_mark mark = tg_json_mark(L, index);
    lua_Integer n;
    bool empty = lua_rawlen(L, index) == 0 && mark == TG_JSON_UNMARKED;
    if (empty) {
        lua_pushnil(L);
        empty = !lua_next(L, index);
        if (!empty)
            lua_pop(L, 2);
    }
    return empty || is_list(L, index, mark, &n);
}

static void check_cycle(lua_State *L, const struct tg_printer *innermost, const void *table)
{
    for (const struct tg_printer *p = innermost; p; p = p->parent)
        for (int i = 0; i < p->depth; i++)
            if (p->frames[i].table == table)
                tg_print_fail(L, innermost, "the table contains itself");
}

void tg_print_open_table(lua_State *L, struct tg_printer *p, const struct tg_format *format,
                         enum tg_json_mark mark)
{
    struct tg_fields fields = {.n = -1};
    lua_Integer n = 0;
    int table = lua_gettop(L);
    const void *address = lua_topointer(L, table);
    check_cycle(L, p, address);
    lua_pushnil(L);
    if (mark == TG_JSON_UNMARKED && lua_next(L, table)) {
        const void *key = lua_topointer(L, table + 1);
        if (key)
            fields = tg_print_push_known(L, p, table, key);
        if ((fields.shape || !key) && tg_print_flat(L, p, format, table, fields.shape))
            return;
        lua_settop(L, table + 2 * (fields.n > 0 ? fields.n : 0));
    }
    bool list = !fields.shape && is_list(L, table, mark, &n);
    if (list || fields.n < 0)
        lua_settop(L, table);
    if (list)
        check_list(L, p, table, n);

    struct tg_frame *f = tg_print_push(L, p, list ? TG_FRAME_LIST : TG_FRAME_MAP, format);
    f->base = table;
    f->n = n;
    f->table = address;
    if (list)
        return;
    p->depth--; /* while it opens: its path is that of where it stands */
    open_map(L, p, f, &fields);
    p->depth++;
    if (f->kind == TG_FRAME_MAP && !f->n && mark == TG_JSON_UNMARKED)
        f->kind = TG_FRAME_LIST;
}
