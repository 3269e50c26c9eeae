/* print_impl.h - what the files of the printer share. */
#ifndef TG_LUA_PRINT_IMPL_H
#define TG_LUA_PRINT_IMPL_H

#include <stdbool.h>
#include <string.h>

#include <lua.h>

#include "lua/bind_sequence.h"
#include "lua/print.h"
#include "util/slice.h"

struct tg_call;
struct tg_task;

enum {
    TG_SMALL_MAP = 24,  /* fields that are kept, and sorted, on the Lua stack */
    TG_FRAMES_MORE = 4, /* when the first ones are too few: idle streams have none or one */
    TG_SHAPES = 4,
    TG_NAME_SHOWN = 32,    /* bytes of a name in a path */
    TG_TEXT_WHOLE = 32768, /* bytes of a string that are printed in one go */
    TG_COLUMNS_MAX = 4096,
    TG_TEXT_SLACK =
        16, /* bytes that may be read behind a shape's texts: they are copied by so many */
};

enum tg_frame_kind {
    TG_FRAME_LIST,
    TG_FRAME_MAP,
    TG_FRAME_LARGE_MAP,
    TG_FRAME_SEQUENCE,
    TG_FRAME_COROUTINE,
    TG_FRAME_GENERATOR,
    TG_FRAME_TEXT,   /* a long string */
    TG_FRAME_LEAF,   /* a body of another type */
    TG_FRAME_ROW,    /* an element of CSV */
    TG_FRAME_MADE,   /* an element of a format of the script's */
    TG_FRAME_FINISH, /* what such a format puts at the end */
};

/* How rows that look alike are printed. */
struct tg_shape {
    int n;
    struct tg_shape_field {
        const void *key;      /* the ith that lua_next() gives; anchored, so equal means the same */
        struct tg_slice text; /* of the ith when sorted: `{"a":` for the first, then `,"b":` */
        struct tg_slice name; /* in that text */
        int place;            /* of that one, as lua_next() gives them */
    } fields[];
};

/* A table or sequence that is being printed. */
struct tg_frame {
    enum tg_frame_kind kind;
    int base;                       /* its place on the stack; what it needs besides is above */
    const struct tg_format *format; /* of its items: JSON inside an element */
    lua_Integer count;              /* items begun */
    lua_Integer n;                  /* items in all; of lists and maps */
    const void *table;              /* finds cycles; NULL for sequences */
    const struct tg_shape *shape;   /* of a map; may be NULL */
    struct tg_slice name;           /* of a map's item, while it is begun */
    bool open;                      /* what follows the item is still to be written */
    bool called;                    /* what the iterator returned is on top */
    unsigned char uneven;           /* of its items, in succession: see print_flat.c */
    unsigned char order[TG_SMALL_MAP];
    unsigned char shown_len;
    char shown
        [TG_NAME_SHOWN]; /* the name of the item that was opened: a copy, for paths outlive it */
};

/* How tg.csv() wants its rows. */
struct tg_csv {
    char separator;
    bool header;
    bool chosen; /* the columns are the script's: rows may have more */
};

enum { TG_CSV_COLUMNS = 1, TG_CSV_ROWS }; /* user values of the userdata that it is */

/* A userdata, at stack place 1 of the function that prints with it.  A generator's elements are
 * printed inside the generator, by a printer of their own. */
struct tg_printer {
    struct tg_writer_watch watch;
    const struct tg_format *format;
    struct tg_printer *parent; /* the generator is a part of what that one prints; or NULL */
    struct tg_task *task;
    struct tg_call *call;     /* other bodies in it are written for this; NULL: they are refused */
    const struct tg_csv *csv; /* NULL: as usual */
    struct tg_slice after;    /* follows the value */
    lua_Integer count;        /* elements yielded */
    int above;                /* frames of its parents */
    int depth;
    int size;
    int columns;          /* of rows, once they are known */
    bool named;           /* they have names */
    bool headed;          /* the header is printed, or not to be */
    bool yields;          /* it is a generator's */
    bool midway;          /* a value was begun and has not ended */
    bool alone;           /* its element is not one of a body's */
    bool ended;           /* the generator has returned, or failed */
    unsigned char uneven; /* of the elements of a generator, in succession */
    unsigned char misses;
    unsigned char shape_count;
    const struct tg_shape *shapes[TG_SHAPES];
    struct tg_frame *frames;
    struct tg_frame first[];
};

/* Its user values.  What has columns has no shapes, and what has rows of its own no parent. */
enum {
    TG_PRINTER_PARENT = 1,
    TG_PRINTER_FRAMES,
    TG_PRINTER_SHAPES,
    TG_PRINTER_VALUES = TG_PRINTER_SHAPES,
    TG_PRINTER_CSV = TG_PRINTER_PARENT,
    TG_PRINTER_OUT = TG_PRINTER_PARENT, /* what a format of the script's writes through */
    TG_PRINTER_COLUMNS = TG_PRINTER_SHAPES,
};

/* Raises "$.a.b[3]: …". */
int tg_print_fail(lua_State *L, const struct tg_printer *p, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* A frame for the value on top.  Raises where there are too many. */
struct tg_frame *tg_print_push(lua_State *L, struct tg_printer *p, enum tg_frame_kind kind,
                               const struct tg_format *format);

/* A frame for the table on top; or none, and it is printed. */
void tg_print_open_table(lua_State *L, struct tg_printer *p, const struct tg_format *format,
                         enum tg_json_mark mark);

/* Prints the value at index if it is a scalar, and no long one: w->failed says how that went. Not for
 * formats whose elements are special. */
bool tg_print_scalar(lua_State *L, struct tg_writer *w, const struct tg_format *format, int index);

/* A map's fields on the stack: table, key, value, key, value, … Values stay as they are now, whatever
 * waits come. */
struct tg_fields {
    int n;                        /* -1: they are not there */
    const struct tg_shape *shape; /* which they are known to have; or NULL */
};

/* Stack: table, its first key, which is no number, and value.  The fields follow the table then; none does
 * when that key begins no known shape. */
struct tg_fields tg_print_push_known(lua_State *L, const struct tg_printer *p, int table,
                                     const void *key);

/* Prints the table in one go, and pops it and what is above it.  Stack: table, and its fields, which have
 * the shape; or, without a shape, its first key and value.  False: it has to have a frame, and what is
 * above the first fields on the stack means nothing. */
bool tg_print_flat(lua_State *L, struct tg_printer *p, const struct tg_format *format, int table,
                   const struct tg_shape *shape);

/* Raises what is wrong with the value at index, which has no text. */
int tg_print_refuse(lua_State *L, const struct tg_printer *p, int index);

/* Keeps f->name for paths: f has just begun it. */
void tg_print_show_name(struct tg_frame *f);

static inline struct tg_slice tg_print_null(const struct tg_format *format)
{
    return format->dialect == TG_DIALECT_EDN ? TG_SLICE("nil") : TG_SLICE("null");
}

/* Frames for what is on top, which begin it, and their steps, which say whether it is printed to its
 * end: the string, ... */
void tg_print_open_text(lua_State *L, struct tg_printer *p, const struct tg_format *format);
bool tg_print_step_text(lua_State *L, struct tg_printer *p, struct tg_frame *f);

/* ... the body of another type, which may wait: k is called when it has been written, ... */
bool tg_print_is_leaf(lua_State *L, int index);
void tg_print_open_leaf(lua_State *L, struct tg_printer *p, const struct tg_format *format);
bool tg_print_step_leaf(lua_State *L, struct tg_printer *p, struct tg_frame *f, lua_KFunction k);

/* ... the row. */
void tg_print_open_row(lua_State *L, struct tg_printer *p, const struct tg_format *format);
bool tg_print_step_row(lua_State *L, struct tg_printer *p, struct tg_frame *f);

/* The header, where there are rows with names, before the first of them, or in the place of any. */
void tg_print_header(lua_State *L, struct tg_printer *p, const struct tg_format *format);

/* Takes the columns and the ways of what tg.csv() has made, at index. */
void tg_print_use_csv(lua_State *L, struct tg_printer *p, int index);

/* Prints what can be printed at once of the event on top.  False: its data has begun, and is on top
 * in its place. */
bool tg_print_event(lua_State *L, const struct tg_printer *p);

/* Whether the table at index prints as a list. */
bool tg_print_is_list(lua_State *L, int index);

/* Writes what stands before the next value of a map of no shape, and names it in f; returns its stack
 * place. */
int tg_print_map_item(lua_State *L, struct tg_writer *w, struct tg_frame *f);

/* Of a shape.  Out has room for the slack, too. */
static inline void tg_print_copy_name(char *out, struct tg_slice text)
{
    memcpy(out, text.p, TG_TEXT_SLACK);
    if (text.len > TG_TEXT_SLACK)
        memcpy(out + TG_TEXT_SLACK, text.p + TG_TEXT_SLACK, text.len - TG_TEXT_SLACK);
}

static inline void tg_print_put_name(struct tg_writer *w, struct tg_slice text)
{
    char *out = tg_writer_room(w, text.len < TG_TEXT_SLACK ? TG_TEXT_SLACK : text.len);
    if (!out)
        return; /* w->failed says why */
    tg_print_copy_name(out, text);
    tg_writer_advance(w, text.len);
}

static inline void tg_print_put(struct tg_writer *w, struct tg_slice s)
{
    if (!s.len)
        return;
    char *out = tg_writer_room(w, s.len);
    if (!out)
        return; /* w->failed says why */
    if (s.len == 1)
        *out = *s.p;
    else
        memcpy(out, s.p, s.len);
    tg_writer_advance(w, s.len);
}

#endif
