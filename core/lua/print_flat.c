/* print_flat.c - small tables printed in one go, into what room the gathered bytes leave: most rows are
 * such, and a frame and its steps would cost as much as what they print. */
#include <string.h>

#include "body/json.h"
#include "lua/print_impl.h"

enum {
    DEPTH = 4,        /* tables within each other */
    SCALAR_ROOM = 64, /* bytes that suffice for any but a string */
    MISSES = 32,      /* tables in succession that were not flat before there is a pause */
};

/* What is printed so far is taken by the writer at the end, or never: a table that turns out to be of
 * another kind is begun anew by a frame. */
struct flat {
    lua_State *L;
    const struct tg_printer *p;
    const struct tg_format *format;
    char *out;
    char *end;
    int depth;
};

static bool print_fields(struct flat *flat, int table, const struct tg_shape *shape);
static bool print_list(struct flat *flat, int table);

static bool print_table(struct flat *flat, int index)
{
    lua_State *L = flat->L;
    bool printed;
    if (flat->depth == DEPTH || lua_getmetatable(L, index) ||
        !lua_checkstack(L, 2 * TG_SMALL_MAP + LUA_MINSTACK))
        return false;
    lua_pushvalue(L, index);
    int table = lua_gettop(L);
    lua_pushnil(L);
    if (!lua_next(L, table))
        return false;
    flat->depth++;
    const void *key = lua_topointer(L, table + 1);
    if (key) {
        struct tg_fields fields = tg_print_push_known(L, flat->p, table, key);
        printed = fields.shape && print_fields(flat, table, fields.shape);
    } else {
        printed = print_list(flat, table);
    }
    flat->depth--;
    lua_settop(L, table - 1);
    return printed;
}

static bool print_value(struct flat *flat, int index)
{
    lua_State *L = flat->L;
    size_t len;
    const char *text;
    if (flat->end - flat->out < SCALAR_ROOM)
        return false;
    switch (lua_type(L, index)) {
    case LUA_TSTRING:
        text = lua_tolstring(L, index, &len);
        len = tg_json_quote(flat->out, (size_t)(flat->end - flat->out), text, len);
        break;
    case LUA_TNUMBER:
        len = lua_isinteger(L, index) ? tg_format_integer(flat->out, lua_tointeger(L, index))
                                      : tg_format_number(flat->out, lua_tonumber(L, index));
        break;
    case LUA_TBOOLEAN:
        len = lua_toboolean(L, index) ? 4 : 5;
        memcpy(flat->out, len == 4 ? "true\0" : "false", 5);
        break;
    case LUA_TTABLE:
        return print_table(flat, index);
    default:
        return false;
    }
    flat->out += len;
    return len != 0;
}

/* Stack: table, key, value, key, value, … */
static bool print_fields(struct flat *flat, int table, const struct tg_shape *shape)
{
    for (int i = 0; i < shape->n; i++) {
        struct tg_slice text = shape->fields[i].text;
        if ((size_t)(flat->end - flat->out) < text.len + TG_TEXT_SLACK)
            return false;
        tg_print_copy_name(flat->out, text);
        flat->out += text.len;
        if (!print_value(flat, table + 2 + 2 * shape->fields[i].place))
            return false;
    }
    if (flat->out == flat->end)
        return false;
    *flat->out++ = '}';
    return true;
}

/* Stack: table, its first key and value.  Only what lua_next() gives in order, and no other key, is known
 * to be a list here. */
static bool print_list(struct flat *flat, int table)
{
    lua_State *L = flat->L;
    char between = *flat->format->begin.p;
    lua_Integer n = 0;
    do {
        if (!lua_isinteger(L, table + 1) || lua_tointeger(L, table + 1) != ++n ||
            flat->out == flat->end)
            return false;
        *flat->out++ = between;
        between = *flat->format->between.p;
        if (!print_value(flat, table + 2))
            return false;
        lua_settop(L, table + 1);
    } while (lua_next(L, table));
    if (flat->out == flat->end)
        return false;
    *flat->out++ = *flat->format->end.p;
    return true;
}

/* Where tables that are not flat are counted: beside their siblings. */
static unsigned char *count_of(struct tg_printer *p)
{
    return p->depth ? &p->frames[p->depth - 1].uneven : &p->uneven;
}

bool tg_print_flat(lua_State *L, struct tg_printer *p, const struct tg_format *format, int table,
                   const struct tg_shape *shape)
{
    struct tg_writer *w = p->watch.w;
    struct flat flat = {.L = L, .p = p, .format = format};
    size_t size;
    unsigned char *uneven = count_of(p);
    bool whole = !p->depth && !p->yields; /* its frame is looked at */
    if (whole || p->above + p->depth + DEPTH >= TG_PRINT_DEPTH_MAX)
        return false;
    if (*uneven >= MISSES) {
        ++*uneven; /* which comes round */
        return false;
    }
    flat.out = tg_writer_spare(w, &size);
    if (!flat.out)
        return false;
    flat.end = flat.out + size;
    char *begin = flat.out;
    bool printed = shape ? print_fields(&flat, table, shape) : print_list(&flat, table);
    if (!printed) {
        ++*uneven;
        return false;
    }
    *uneven = 0;
    tg_writer_advance(w, (size_t)(flat.out - begin));
    lua_settop(L, table - 1);
    return true;
}
