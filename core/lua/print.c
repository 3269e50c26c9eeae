/* print.c - values to text: tables by explicit frames, sequences as they come.
 *
 * Three C functions that scripts never see call each other with lua_callk(), each with the writer and
 * the format as its first two arguments: print_value (a value inside an element, as JSON),
 * print_elements (a sequence) and print_lines (a list, an element a line).  Each suspends where the
 * writer says so.  Nothing is ever a string of more than a scalar.
 */
#include "lua/print.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <lauxlib.h>

#include "body/json.h"
#include "lua/bind_coroutine.h"
#include "lua/bind_sequence.h"
#include "lua/bind_writer.h"
#include "lua/task.h"

static int print_value(lua_State *L);
static int print_elements(lua_State *L);

static struct tg_writer *writer_of(lua_State *L)
{
    return lua_touserdata(L, 1);
}

static void put(lua_State *L, struct tg_writer *w, struct tg_slice text)
{
    if (text.len)
        tg_out_check(L, tg_writer_write(w, text.p, text.len));
}

/* --- Tables ------------------------------------------------------------------------------------- */

enum { SORTED_MAX = 24, FIRST_FRAMES = 8, KEY_MAX = 40 };

enum frame_kind { LIST, SMALL_MAP, LARGE_MAP };

/* A table that is being printed.  On the Lua stack, from `base` on: the table, and then
 * LIST: the last key of lua_next(); SMALL_MAP: its keys and values, unsorted; LARGE_MAP: its keys. */
struct frame {
    enum frame_kind kind;
    int base;
    int64_t at; /* how many are printed */
    int64_t
        count; /* of a map; for a list, -1 while lua_next() gives it in order, else its length */
    unsigned char order[SORTED_MAX];
};

struct printer {
    size_t depth;
    size_t size;
    struct frame frames[];
};

enum { PRINTER = 3, VALUE = 4 }; /* stack places in print_value; 1 and 2: writer, format */

static struct printer *printer_of(lua_State *L)
{
    return lua_touserdata(L, PRINTER);
}

static void add_key(lua_State *L, luaL_Buffer *path, const struct frame *frame)
{
    char text[KEY_MAX];
    if (frame->kind == LIST) {
        snprintf(text, sizeof text, "[%lld]", (long long)frame->at);
        luaL_addstring(path, text);
        return;
    }
    int key = frame->base + 1;
    if (frame->kind == SMALL_MAP && frame->at)
        key += 2 * frame->order[frame->at - 1];
    if (frame->kind == LARGE_MAP)
        return;
    luaL_addchar(path, '.');
    if (lua_type(L, key) == LUA_TSTRING)
        luaL_addstring(path, lua_tostring(L, key));
    else
        luaL_addstring(path, "?");
}

/* Raises "what at $.a.b[3]". */
static int fail_at(lua_State *L, const char *what)
{
    const struct printer *p = printer_of(L);
    luaL_Buffer path;
    luaL_checkstack(L, LUA_MINSTACK, NULL);
    luaL_buffinit(L, &path);
    luaL_addstring(&path, "$");
    for (size_t i = 0; p && i < p->depth; i++)
        add_key(L, &path, &p->frames[i]);
    luaL_pushresult(&path);
    return luaL_error(L, "cannot print %s at %s", what, lua_tostring(L, -1));
}

static struct frame *push_frame(lua_State *L)
{
    struct printer *p = printer_of(L);
    if (p && p->depth == TG_PRINT_DEPTH_MAX)
        fail_at(L, "tables nested so deeply");
    if (!p || p->depth == p->size) {
        size_t size = p ? p->size * 2 : FIRST_FRAMES;
        struct printer *larger = lua_newuserdatauv(L, sizeof *p + size * sizeof(struct frame), 0);
        if (p)
            memcpy(larger, p, sizeof *p + p->depth * sizeof(struct frame));
        else
            larger->depth = 0;
        larger->size = size;
        lua_replace(L, PRINTER);
        p = larger;
    }
    return &p->frames[p->depth++];
}

static void check_cycle(lua_State *L, int table)
{
    struct printer *p = printer_of(L);
    const void *address = lua_topointer(L, table);
    for (size_t i = 0; p && i + 1 < p->depth; i++)
        if (lua_topointer(L, p->frames[i].base) == address) {
            p->depth--; /* the path of where it stands, not of itself */
            fail_at(L, "a table that holds itself");
        }
}

static int compare_keys(lua_State *L, int a, int b)
{
    size_t a_len;
    size_t b_len;
    const char *a_text = lua_tolstring(L, a, &a_len);
    const char *b_text = lua_tolstring(L, b, &b_len);
    int order = memcmp(a_text, b_text, a_len < b_len ? a_len : b_len);
    return order ? order : (a_len > b_len) - (a_len < b_len);
}

/* The key on top becomes a string if it is a number; others cannot be. */
static void check_key(lua_State *L, int key)
{
    char text[TG_NUMBER_MAX + 2];
    size_t len;
    if (lua_type(L, key) == LUA_TSTRING)
        return;
    if (lua_type(L, key) != LUA_TNUMBER) {
        printer_of(L)->depth--;
        fail_at(L, "a key that is neither a string nor a number, in the table");
    }
    if (lua_isinteger(L, key))
        len = tg_format_integer(text, lua_tointeger(L, key));
    else
        len = tg_format_number(text, lua_tonumber(L, key));
    lua_pushlstring(L, text, len);
    lua_replace(L, key);
}

/* Keys and values stay on the stack, the order is sorted by insertion. */
static void open_small_map(lua_State *L, struct frame *frame)
{
    int table = frame->base;
    int count = (int)frame->count;
    for (int i = 0; i < count; i++) {
        int key = table + 1 + 2 * i;
        check_key(L, key);
        int at = i;
        while (at > 0 && compare_keys(L, table + 1 + 2 * frame->order[at - 1], key) > 0) {
            frame->order[at] = frame->order[at - 1];
            at--;
        }
        frame->order[at] = (unsigned char)i;
    }
}

static int sort_less(lua_State *L)
{
    lua_pushboolean(L, compare_keys(L, 1, 2) < 0);
    return 1;
}

/* table.sort() of a list of the keys as strings; and a table that leads back to the keys. */
static void open_large_map(lua_State *L, struct frame *frame)
{
    int table = frame->base;
    frame->kind = LARGE_MAP;
    lua_settop(L, table);
    lua_newtable(L);
    lua_newtable(L);
    lua_Integer count = 0;
    lua_pushnil(L);
    while (lua_next(L, table)) {
        lua_pop(L, 1);
        lua_pushvalue(L, -1);
        check_key(L, lua_gettop(L));
        lua_pushvalue(L, -1);
        lua_rawseti(L, table + 1, ++count);
        lua_pushvalue(L, -2);
        lua_rawset(L, table + 2);
    }
    frame->count = count;
    lua_getglobal(L, "table");
    lua_getfield(L, -1, "sort");
    lua_remove(L, -2);
    lua_pushvalue(L, table + 1);
    lua_pushcfunction(L, sort_less);
    lua_call(L, 2, 0);
}

static void open_map(lua_State *L, struct frame *frame)
{
    int table = frame->base;
    frame->kind = SMALL_MAP;
    frame->count = 0;
    lua_pushnil(L);
    while (lua_next(L, table)) {
        if (frame->count++ == SORTED_MAX) {
            open_large_map(L, frame);
            return;
        }
        lua_pushvalue(L, -2); /* stays below as a key, goes on above as one */
    }
    open_small_map(L, frame);
}

/* Opens the table on top; it stays until its frame is closed. */
static void open_table(lua_State *L, struct tg_writer *w)
{
    int table = lua_gettop(L);
    luaL_checkstack(L, 2 * SORTED_MAX + LUA_MINSTACK, "tables nested so deeply");
    struct frame *frame = push_frame(L);
    frame->base = table;
    frame->at = 0;
    check_cycle(L, table);
    enum tg_json_mark mark = tg_json_mark(L, table);
    bool list = mark == TG_JSON_ARRAY || (mark == TG_JSON_UNMARKED && lua_rawlen(L, table) > 0);
    if (list && mark == TG_JSON_UNMARKED) {
        list = lua_rawgeti(L, table, 1) != LUA_TNIL;
        lua_pop(L, 1);
    }
    if (list) {
        frame->kind = LIST;
        frame->count = -1;
        lua_pushnil(L);
        tg_out_check(L, tg_writer_write(w, "[", 1));
        return;
    }
    open_map(L, frame);
    if (frame->count == 0 && mark == TG_JSON_UNMARKED) {
        tg_out_check(L, tg_writer_write(w, "[]", 2));
        printer_of(L)->depth--;
        lua_settop(L, table - 1);
        return;
    }
    tg_out_check(L, tg_writer_write(w, "{", 1));
}

/* lua_next() did not give the list in order: counts it, and goes on by index. */
static void count_list(lua_State *L, struct frame *frame)
{
    int64_t count = 0;
    lua_settop(L, frame->base);
    lua_pushnil(L);
    while (lua_next(L, frame->base)) {
        lua_pop(L, 1);
        count++;
    }
    frame->count = (int64_t)lua_rawlen(L, frame->base);
    if (count != frame->count) {
        printer_of(L)->depth--;
        fail_at(L, "a list with holes, or with other keys,");
    }
    lua_pushnil(L);
}

/* Pushes the list's next item; false at its end. */
static bool next_item(lua_State *L, struct frame *frame)
{
    int key = frame->base + 1;
    if (frame->count < 0) {
        lua_settop(L, key);
        if (!lua_next(L, frame->base)) {
            lua_pushnil(L);
            return false;
        }
        if (lua_isinteger(L, key) && lua_tointeger(L, key) == frame->at + 1) {
            frame->at++;
            return true;
        }
        count_list(L, frame);
    }
    if (frame->at == frame->count)
        return false;
    lua_rawgeti(L, frame->base, ++frame->at);
    return true;
}

static void print_key(lua_State *L, struct tg_writer *w, int index, bool first)
{
    size_t len;
    const char *key = lua_tolstring(L, index, &len);
    if (!first)
        tg_out_check(L, tg_writer_write(w, ",", 1));
    tg_out_check(L, tg_json_string(w, key, len));
    tg_out_check(L, tg_writer_write(w, ":", 1));
}

/* Prints the map's next key and pushes its value; false at its end. */
static bool next_pair(lua_State *L, struct tg_writer *w, struct frame *frame)
{
    if (frame->at == frame->count)
        return false;
    int64_t at = frame->at++;
    if (frame->kind == SMALL_MAP) {
        int key = frame->base + 1 + 2 * frame->order[at];
        print_key(L, w, key, at == 0);
        lua_pushvalue(L, key + 1);
        return true;
    }
    lua_rawgeti(L, frame->base + 1, at + 1);
    print_key(L, w, lua_gettop(L), at == 0);
    lua_rawget(L, frame->base + 2);
    lua_rawget(L, frame->base);
    return true;
}

static bool next_value(lua_State *L, struct tg_writer *w, struct frame *frame)
{
    if (frame->kind != LIST)
        return next_pair(L, w, frame);
    if (!next_item(L, frame))
        return false;
    if (frame->at > 1)
        tg_out_check(L, tg_writer_write(w, ",", 1));
    return true;
}

/* --- Values ------------------------------------------------------------------------------------- */

static bool is_nested_sequence(lua_State *L, int index)
{
    return lua_isthread(L, index) || (lua_isuserdata(L, index) && tg_is_sequence(L, index));
}

/* Prints the value at index when it is a scalar. */
static bool print_scalar(lua_State *L, struct tg_writer *w, int index)
{
    size_t len;
    const char *text;
    switch (lua_type(L, index)) {
    case LUA_TSTRING:
        text = lua_tolstring(L, index, &len);
        tg_out_check(L, tg_json_string(w, text, len));
        return true;
    case LUA_TNUMBER:
        if (lua_isinteger(L, index)) {
            tg_out_check(L, tg_json_integer(w, lua_tointeger(L, index)));
            return true;
        }
        enum tg_status status = tg_json_number(w, lua_tonumber(L, index));
        if (status == TG_EINVAL)
            return false;
        tg_out_check(L, status);
        return true;
    case LUA_TBOOLEAN:
        put(L, w, lua_toboolean(L, index) ? TG_SLICE("true") : TG_SLICE("false"));
        return true;
    case LUA_TNIL:
        put(L, w, TG_SLICE("null"));
        return true;
    case LUA_TLIGHTUSERDATA:
        if (!tg_json_is_null(L, index))
            return false;
        put(L, w, TG_SLICE("null"));
        return true;
    default:
        return false;
    }
}

static int refuse(lua_State *L, int index)
{
    char what[64];
    if (lua_type(L, index) == LUA_TNUMBER)
        return fail_at(L, "NaN or an infinity");
    snprintf(what, sizeof what, "a %s", luaL_typename(L, index));
    return fail_at(L, what);
}

static int go_on(lua_State *L, int status, lua_KContext context);

static int value_waited(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    tg_task_resumed(L, context);
    tg_out_check(L, writer_of(L)->failed);
    return go_on(L, LUA_OK, 0);
}

/* Prints the sequence on top, in place. */
static void call_elements(lua_State *L)
{
    lua_pushcfunction(L, print_elements);
    lua_insert(L, -2);
    lua_pushvalue(L, 1);
    lua_insert(L, -2);
    lua_pushlightuserdata(L, (void *)(uintptr_t)&tg_format_json);
    lua_insert(L, -2);
    lua_callk(L, 3, 0, 0, go_on);
}

/* The value on top is a part of the innermost table, or the root. */
static void print_part(lua_State *L, struct tg_writer *w)
{
    int top = lua_gettop(L);
    if (lua_istable(L, top)) {
        open_table(L, w);
    } else if (is_nested_sequence(L, top)) {
        call_elements(L);
    } else {
        if (!print_scalar(L, w, top))
            refuse(L, top);
        lua_settop(L, top - 1);
    }
}

static void close_table(lua_State *L, struct tg_writer *w, const struct frame *frame)
{
    put(L, w, frame->kind == LIST ? TG_SLICE("]") : TG_SLICE("}"));
    lua_settop(L, frame->base - 1);
    printer_of(L)->depth--;
}

static int go_on(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    (void)context;
    struct tg_writer *w = writer_of(L);
    for (;;) {
        struct printer *p = printer_of(L);
        if (w->must_wait)
            return tg_out_wait(L, w, value_waited);
        if (!p || !p->depth)
            return 0;
        struct frame *frame = &p->frames[p->depth - 1];
        if (next_value(L, w, frame))
            print_part(L, w);
        else
            close_table(L, w, frame);
    }
}

/* (writer, format, value): the value as JSON. */
static int print_value(lua_State *L)
{
    lua_settop(L, 3);
    lua_pushnil(L); /* the printer's place: a userdata once there is a table */
    lua_insert(L, PRINTER);
    print_part(L, writer_of(L));
    return go_on(L, LUA_OK, 0);
}

/* --- Elements ----------------------------------------------------------------------------------- */

/* An element that needs no call: a scalar, or a string that stands as it is. */
static bool print_plain_element(lua_State *L, struct tg_writer *w, const struct tg_format *format,
                                int index)
{
    if (format->raw && lua_type(L, index) == LUA_TSTRING) {
        size_t len;
        const char *text = lua_tolstring(L, index, &len);
        tg_out_check(L, tg_writer_write(w, text, len));
        return true;
    }
    return print_scalar(L, w, index);
}

static void push_print_value(lua_State *L, struct tg_writer *w, const struct tg_format *format,
                             int index)
{
    index = lua_absindex(L, index);
    lua_pushcfunction(L, print_value);
    lua_pushlightuserdata(L, w);
    lua_pushlightuserdata(L, (void *)(uintptr_t)format);
    lua_pushvalue(L, index);
}

/* --- Generators: the element is printed where it is yielded ---------------------------------------- */

struct generation {
    struct tg_writer *w;
    const struct tg_format *format;
    int64_t count;
    bool over;
};

static struct generation *generation_of(lua_State *L)
{
    return lua_touserdata(L, lua_upvalueindex(1));
}

static int yielded(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    tg_task_resumed(L, context);
    tg_out_check(L, generation_of(L)->w->failed);
    return 0;
}

static int element_ended(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    (void)context;
    const struct generation *g = generation_of(L);
    put(L, g->w, g->format->after);
    return g->w->must_wait ? tg_out_wait(L, g->w, yielded) : 0;
}

static int l_yield(lua_State *L)
{
    struct generation *g = generation_of(L);
    if (g->over)
        return luaL_error(L, "yield was called after its generator had ended");
    luaL_checkany(L, 1);
    if (g->count++)
        put(L, g->w, g->format->between);
    if (!print_plain_element(L, g->w, g->format, 1)) {
        push_print_value(L, g->w, g->format, 1);
        lua_callk(L, 3, 0, 0, element_ended);
    }
    return element_ended(L, LUA_OK, 0);
}

static int generation_close(lua_State *L)
{
    struct generation *g = lua_touserdata(L, 1);
    g->over = true;
    return 0;
}

static int generated(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    (void)context;
    const struct tg_format *format = lua_touserdata(L, 2);
    put(L, writer_of(L), format->end);
    return 0;
}

/* Stack: writer, format, generator. */
static int run_generator(lua_State *L)
{
    struct generation *g = lua_newuserdatauv(L, sizeof *g, 0);
    *g = (struct generation){writer_of(L), lua_touserdata(L, 2), 0, false};
    if (luaL_newmetatable(L, "tidegate.Generation")) {
        lua_pushcfunction(L, generation_close);
        lua_setfield(L, -2, "__close");
    }
    lua_setmetatable(L, -2);
    lua_toclose(L, 4);
    lua_getiuservalue(L, 3, 1);
    lua_pushvalue(L, 4);
    lua_pushcclosure(L, l_yield, 1);
    lua_callk(L, 1, 0, 0, generated);
    return generated(L, LUA_OK, 0);
}

/* --- Iterators and coroutines -------------------------------------------------------------------- */

enum { AT_NEXT, AT_VALUE, AT_PRINTED };                /* where elements_on() goes on */
enum { ITERATOR = 4, STATE, CONTROL, COUNT, ELEMENT }; /* stack places */

static int elements_on(lua_State *L, int status, lua_KContext context);

static int elements_waited(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    tg_task_resumed(L, context);
    tg_out_check(L, writer_of(L)->failed);
    return elements_on(L, LUA_OK, AT_NEXT);
}

static void call_iterator(lua_State *L)
{
    lua_settop(L, COUNT);
    lua_pushvalue(L, ITERATOR);
    if (lua_isthread(L, 3)) {
        lua_pushvalue(L, 3);
        lua_callk(L, 1, 2, AT_VALUE, elements_on);
    } else {
        lua_pushvalue(L, STATE);
        lua_pushvalue(L, CONTROL);
        lua_callk(L, 2, 1, AT_VALUE, elements_on);
    }
}

/* What the iterator gave, as the element at ELEMENT; false at the end. */
static bool take_element(lua_State *L)
{
    if (lua_isthread(L, 3)) {
        bool fine = lua_toboolean(L, ELEMENT);
        lua_remove(L, ELEMENT);
        if (!fine)
            lua_error(L);
        /* A coroutine's last results are its return values: no element. */
        return lua_status(lua_tothread(L, 3)) == LUA_YIELD;
    }
    if (lua_isnil(L, ELEMENT))
        return false;
    lua_pushvalue(L, ELEMENT);
    lua_replace(L, CONTROL);
    return true;
}

/* True when it is printed; else a call was made and has ended. */
static void print_one(lua_State *L, struct tg_writer *w, const struct tg_format *format)
{
    lua_Integer count = lua_tointeger(L, COUNT);
    if (count)
        put(L, w, format->between);
    lua_pushinteger(L, count + 1);
    lua_replace(L, COUNT);
    if (print_plain_element(L, w, format, ELEMENT))
        return;
    push_print_value(L, w, format, ELEMENT);
    lua_callk(L, 3, 0, AT_PRINTED, elements_on);
}

static int elements_on(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    struct tg_writer *w = writer_of(L);
    const struct tg_format *format = lua_touserdata(L, 2);
    for (int at = (int)context;; at = AT_NEXT) {
        if (at == AT_NEXT)
            call_iterator(L);
        if (at != AT_PRINTED && !take_element(L)) {
            put(L, w, format->end);
            return 0;
        }
        if (at != AT_PRINTED)
            print_one(L, w, format);
        put(L, w, format->after);
        if (w->must_wait)
            return tg_out_wait(L, w, elements_waited);
    }
}

/* (writer, format, sequence): the elements, framed as the format does. */
static int print_elements(lua_State *L)
{
    const struct tg_format *format = lua_touserdata(L, 2);
    put(L, writer_of(L), format->begin);
    if (luaL_testudata(L, 3, TG_GENERATOR_TYPE))
        return run_generator(L);
    if (lua_isthread(L, 3)) {
        lua_pushcfunction(L, tg_coroutine_resume);
        lua_pushnil(L);
        lua_pushnil(L);
    } else {
        lua_getiuservalue(L, 3, 1);
        lua_getiuservalue(L, 3, 2);
        lua_getiuservalue(L, 3, 3);
    }
    lua_pushinteger(L, 0);
    return elements_on(L, LUA_OK, AT_NEXT);
}

/* --- Lists, a line each --------------------------------------------------------------------------- */

/* An iterator over a list: (list, control) to the next item, by the count of calls. */
static int next_line(lua_State *L)
{
    lua_Integer at = lua_tointeger(L, lua_upvalueindex(1)) + 1;
    lua_pushinteger(L, at);
    lua_replace(L, lua_upvalueindex(1));
    lua_rawgeti(L, lua_upvalueindex(2), at);
    return 1;
}

static bool is_list(lua_State *L, int index)
{
    return lua_istable(L, index) && tg_json_mark(L, index) != TG_JSON_OBJECT &&
           (lua_rawlen(L, index) > 0 || tg_json_mark(L, index) == TG_JSON_ARRAY);
}

/* (writer, format, list) */
static int print_lines(lua_State *L)
{
    const struct tg_format *format = lua_touserdata(L, 2);
    put(L, writer_of(L), format->begin);
    lua_pushinteger(L, 0);
    lua_pushvalue(L, 3);
    lua_pushcclosure(L, next_line, 2);
    lua_pushnil(L);
    lua_pushnil(L);
    lua_pushinteger(L, 0);
    return elements_on(L, LUA_OK, AT_NEXT);
}

/* --- For body.c and bind_writer.c ------------------------------------------------------------------ */

/* The writer is on top. */
static int element_waited(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    tg_task_resumed(L, context);
    const struct tg_writer *w = lua_touserdata(L, -1);
    tg_out_check(L, w->failed);
    return 0;
}

static int element_after(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    const struct tg_format *format = (const struct tg_format *)context;
    struct tg_writer *w = lua_touserdata(L, -1);
    put(L, w, format->after);
    return w->must_wait ? tg_out_wait(L, w, element_waited) : 0;
}

/* Goes on in its caller's place, on a stack as if it had been called: one level less of Lua's stack for
 * every stream that waits. */
int tg_print_body(lua_State *L, struct tg_writer *w, const struct tg_format *format, int index)
{
    lua_CFunction way = print_value;
    if (is_nested_sequence(L, index))
        way = print_elements;
    else if (format->lines && is_list(L, index))
        way = print_lines;
    else if (format->lines)
        return tg_print_element(L, w, format, index);
    lua_pushvalue(L, index);
    lua_replace(L, 1);
    lua_settop(L, 1);
    lua_pushlightuserdata(L, w);
    lua_insert(L, 1);
    lua_pushlightuserdata(L, (void *)(uintptr_t)format);
    lua_insert(L, 2);
    return way(L);
}

int tg_print_element(lua_State *L, struct tg_writer *w, const struct tg_format *format, int index)
{
    index = lua_absindex(L, index);
    lua_pushlightuserdata(L, w); /* for element_after */
    if (!print_plain_element(L, w, format, index)) {
        push_print_value(L, w, format, index);
        lua_callk(L, 3, 0, (lua_KContext)format, element_after);
    }
    return element_after(L, LUA_OK, (lua_KContext)format);
}
