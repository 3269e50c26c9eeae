/* body_kind.h - where a body is written to, and what a type of userdata says about being one. */
#ifndef TG_LUA_BODY_KIND_H
#define TG_LUA_BODY_KIND_H

#include <stdbool.h>
#include <stdint.h>

#include <lua.h>

#include "body/source.h"
#include "body/writer.h"

struct tg_call;
struct tg_format;
struct tg_response_info;
struct tg_serving;

/* Where a body is written to: the response of an exchange, or what a script reads.  Something of Lua's
 * holds it. */
struct tg_out {
    int ref;                  /* in the registry: what holds it */
    struct tg_call *call;     /* the exchange that it is produced for */
    struct tg_writer *writer; /* NULL once nothing can be written any more */
    const struct tg_format *format;
    int choice; /* what describe has decided, for start and write; 0 where it was not called */
    struct tg_serving *serving; /* a file that was described and is not written yet; or NULL */
};

/* What is known of a body before it is produced. */
struct tg_body_about {
    const struct tg_response_info *said; /* by the response's own headers */
    bool part;                           /* other bodies may follow it in the same response */
    uint64_t length;                     /* in bytes; TG_LENGTH_UNKNOWN unless describe sets it */
    const char
        *media_type; /* Content-Type where the response has none; NULL: none.  Good for as long
                             * as the body is */
};

/* A type of userdata that is a body. */
struct tg_body_kind {
    /* Says what is known of the body at index, before anything of the response is committed.  May
     * change the status and the fields of out->call->exchange's head; a Content-Length of the
     * script's counts for nothing then.  May raise, and must not wait.  NULL: nothing is known. */
    void (*describe)(lua_State *L, struct tg_out *out, int index, struct tg_body_about *about);

    /* The media type of the body at index where it stands inside of another one, which is of out's
     * format: it is not described then.  Good for as long as the body is.  May raise where it cannot stand
     * there, and must not wait.  NULL: bytes of any type. */
    const char *(*media_type)(lua_State *L, const struct tg_out *out, int index);

    /* A function of (struct tg_out * as light userdata, the body) that writes all of it, waiting as it
     * has to, and begins no more than that: the writer is ended by its caller. */
    lua_CFunction write;

    /* It will not be written (HEAD, 204, 304), or not to its end.  May be called when there is nothing
     * to let go of, and must not wait.  May be NULL. */
    void (*drop)(lua_State *L, struct tg_out *out, int index);

    /* In the place of write, for a body that goes on by itself, from callbacks of the loop, with no
     * coroutine: begins it.  The writer is flushed by the caller, and ended when the source is done.  May
     * raise, and must not wait. */
    struct tg_source *(*start)(lua_State *L, struct tg_out *out, int index);

    /* Where it stands inside of a table or sequence it is a sequence of what this function of the body
     * returns, until that is nil.  It may wait.  Mostly NULL: it is written there as it is written alone. */
    lua_CFunction next;
};

/* Makes bodies of the userdata whose metatable is on top.  kind is borrowed for good. */
void tg_body_kind_set(lua_State *L, const struct tg_body_kind *kind);

/* What the value at index is, or NULL when it is no userdata that is a body. */
const struct tg_body_kind *tg_body_kind_of(lua_State *L, int index);

#endif
