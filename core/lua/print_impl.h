/* print_impl.h - what the files of the printer share. */
#ifndef TG_LUA_PRINT_IMPL_H
#define TG_LUA_PRINT_IMPL_H

#include <stdbool.h>

#include <lua.h>

#include "lua/print.h"
#include "util/slice.h"

struct tg_task;

enum {
    TG_SMALL_MAP = 24,   /* fields that are kept, and sorted, on the Lua stack */
    TG_FRAMES_FIRST = 1, /* the others are made when they are needed: idle streams have one */
    TG_SHAPES = 4,
    TG_NAME_SHOWN = 32, /* bytes of a name in a path */
};

enum tg_frame_kind {
    TG_FRAME_LIST,
    TG_FRAME_MAP,
    TG_FRAME_LARGE_MAP,
    TG_FRAME_SEQUENCE,
    TG_FRAME_COROUTINE,
    TG_FRAME_GENERATOR,
    TG_FRAME_LEAF, /* a body of another type */
};

/* How rows that look alike are printed. */
struct tg_shape {
    int n;
    struct tg_shape_field {
        const char *key;      /* the ith that lua_next() gives; anchored, so equal means the same */
        struct tg_slice text; /* of the ith when sorted: `{"a":` for the first, then `,"b":` */
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
    unsigned char order[TG_SMALL_MAP];
    unsigned char shown_len;
    char shown
        [TG_NAME_SHOWN]; /* the name of the item that was opened: a copy, for paths outlive it */
};

/* A userdata, at stack place 1 of the function that prints with it.  A generator's elements are
 * printed inside the generator, by a printer of their own. */
struct tg_printer {
    struct tg_writer_watch watch;
    const struct tg_format *format;
    struct tg_printer *parent; /* the generator is a part of what that one prints; or NULL */
    struct tg_task *task;
    struct tg_slice after;  /* follows the value */
    struct tg_slice finish; /* follows that */
    lua_Integer count;      /* elements yielded */
    int above;              /* frames of its parents */
    int depth;
    int size;
    bool yields; /* it is a generator's */
    bool midway; /* a value was begun and has not ended */
    bool plain;  /* no other bodies are to be in it */
    bool alone;  /* its element is not one of a body's */
    bool result; /* what a function of the script has made of an element is on top */
    bool ended;  /* the generator has returned, or failed */
    unsigned misses;
    int shape_count;
    const struct tg_shape *shapes[TG_SHAPES];
    struct tg_frame *frames;
    struct tg_frame first[TG_FRAMES_FIRST];
};

/* Its user values.  What has columns has no shapes. */
enum {
    TG_PRINTER_PARENT = 1,
    TG_PRINTER_FRAMES,
    TG_PRINTER_SHAPES,
    TG_PRINTER_COLUMNS = TG_PRINTER_SHAPES,
};

/* Raises "$.a.b[3]: …". */
int tg_print_fail(lua_State *L, const struct tg_printer *p, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* A frame for the value on top.  Raises where there are too many. */
struct tg_frame *tg_print_push(lua_State *L, struct tg_printer *p, enum tg_frame_kind kind,
                               const struct tg_format *format);

/* A frame for the table on top. */
void tg_print_open_table(lua_State *L, struct tg_printer *p, const struct tg_format *format);

/* A frame for the body on top, which is neither table nor sequence; begins its text. */
void tg_print_open_leaf(lua_State *L, struct tg_printer *p, const struct tg_format *format);
/* Has it write itself, then k called; and then the end of its text. */
void tg_print_call_leaf(lua_State *L, const struct tg_printer *p, const struct tg_frame *f,
                        lua_KFunction k);
void tg_print_end_leaf(lua_State *L, const struct tg_printer *p, const struct tg_frame *f);

/* Whether the table at index prints as a list. */
bool tg_print_is_list(lua_State *L, int index);

/* Writes what stands before a map's next value, and names it in f; returns its stack place. */
int tg_print_map_item(lua_State *L, struct tg_writer *w, struct tg_frame *f);

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
