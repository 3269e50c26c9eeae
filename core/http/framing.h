/* framing.h - finds the bytes of a request body between its framing (RFC 9112, 6 and 7).
 *
 * A state machine over bytes: it allocates nothing.  Strict: chunk sizes are hex digits and nothing
 * else before an optional extension, every line ends in CRLF, trailers are checked and dropped.
 */
#ifndef TG_HTTP_FRAMING_H
#define TG_HTTP_FRAMING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "http/head.h"
#include "util/slice.h"

enum {
    TG_CHUNK_LINE_MAX = 256, /* bytes of a chunk's size and extensions */
    TG_TRAILERS_MAX = 4096,  /* bytes of trailers */
};

enum tg_framing_state {
    TG_FRAMING_MORE, /* wants more bytes */
    TG_FRAMING_DONE,
    TG_FRAMING_BROKEN, /* 400, and nothing after it can be trusted */
};

struct tg_framing {
    enum tg_framing_kind kind;
    int at; /* where in the grammar */
    uint64_t left;
    size_t line; /* bytes of the line so far */
    size_t trailers;
};

void tg_framing_init(struct tg_framing *framing, enum tg_framing_kind kind, uint64_t length);

/* Reads from bytes[0..len): returns how many it has used, and in *data the payload among them, one
 * run at the most (len 0 when none).  Call it again with the rest until it uses nothing, or the
 * state is not TG_FRAMING_MORE. */
size_t tg_framing_next(struct tg_framing *framing, const char *bytes, size_t len,
                       struct tg_slice *data);

enum tg_framing_state tg_framing_state(const struct tg_framing *framing);

#endif
