/* chunks.h - bytes that wait for somebody: copied or lent, first in, first out. */
#ifndef TG_BODY_CHUNKS_H
#define TG_BODY_CHUNKS_H

#include <stddef.h>
#include <sys/uio.h>

#include "body/sink.h"
#include "util/slice.h"
#include "util/status.h"

/* Zeroed is empty.  Whoever adds to it keeps an eye on len. */
struct tg_chunks {
    struct tg_chunk *first;
    struct tg_chunk *last;
    size_t len; /* bytes in all */
};

/* Copies all of the n runs or, on TG_ENOMEM, none. */
TG_MUST_CHECK enum tg_status tg_chunks_add(struct tg_chunks *chunks, const struct iovec *runs,
                                           int n);

/* Keeps the bytes until they are dropped; release is called once, on an error too. */
TG_MUST_CHECK enum tg_status tg_chunks_lend(struct tg_chunks *chunks, const void *data, size_t len,
                                            tg_release_fn release, void *arg);

/* The first run of bytes; len 0 when there are none.  It stays until it is dropped. */
struct tg_slice tg_chunks_front(const struct tg_chunks *chunks);

/* Forgets the first n bytes of that run. */
void tg_chunks_drop(struct tg_chunks *chunks, size_t n);

void tg_chunks_clear(struct tg_chunks *chunks);

#endif
