/* decode.h - undoes gzip and deflate a block at a time, so that a bomb is held back like any body. */
#ifndef TG_UPSTREAM_DECODE_H
#define TG_UPSTREAM_DECODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <zlib.h>

#include "util/slice.h"
#include "util/status.h"

enum { TG_DECODE_IN_MAX = 16384, TG_DECODE_OUT_MAX = 16384 };

struct tg_decode {
    z_stream stream;
    bool raw;       /* deflate without zlib's frame: some servers mean that by it */
    bool began;     /* something was fed */
    bool whole;     /* the coding's own end was seen */
    bool full;      /* the last block was: zlib may hold another */
    uint64_t left;  /* bytes that may still come out */
    size_t out_len; /* of out, made and not yet taken */
    unsigned char in[TG_DECODE_IN_MAX];
    unsigned char out[TG_DECODE_OUT_MAX];
};

/* Whether a Content-Encoding is one that can be undone. */
bool tg_decode_knows(struct tg_slice coding);

/* At most max bytes will come out.  NULL when out of memory. */
struct tg_decode *tg_decode_new(uint64_t max);
void tg_decode_free(struct tg_decode *decode); /* NULL is fine */

/* Takes len bytes, TG_DECODE_IN_MAX at the most, once tg_decode_next() has said TG_OK with nothing. */
void tg_decode_feed(struct tg_decode *decode, const void *data, size_t len);

/* The next block: it stays until tg_decode_taken(). TG_OK with no bytes: feed more.  TG_EINVAL: the
 * bytes are not of the coding; TG_ELIMIT: more than max; TG_ENOMEM. */
TG_MUST_CHECK enum tg_status tg_decode_next(struct tg_decode *decode, struct tg_slice *block);
void tg_decode_taken(struct tg_decode *decode);

/* Nothing is waiting in it. */
bool tg_decode_idle(const struct tg_decode *decode);

/* Whether it may end here: its end was seen, or there was nothing at all. */
bool tg_decode_complete(const struct tg_decode *decode);

#endif
