/* buf.h - a growing string of bytes with a cap. */
#ifndef TG_UTIL_BUF_H
#define TG_UTIL_BUF_H

#include <stddef.h>

#include "util/slice.h"
#include "util/status.h"

struct tg_buf {
    char *p; /* NUL-terminated when not NULL */
    size_t len;
    size_t size; /* allocated */
    size_t cap;  /* len never passes it */
};

void tg_buf_init(struct tg_buf *buf, size_t cap); /* allocates nothing */
void tg_buf_fini(struct tg_buf *buf);             /* leaves it empty and usable */
void tg_buf_clear(struct tg_buf *buf);            /* keeps the memory */

/* Room for len bytes in all, within the cap: what is added up to there moves nothing.  A failure shows
 * when they are added. */
void tg_buf_reserve(struct tg_buf *buf, size_t len);

/* TG_ELIMIT past the cap, TG_ENOMEM; nothing is added then. */
TG_MUST_CHECK enum tg_status tg_buf_add(struct tg_buf *buf, const void *data, size_t len);
TG_MUST_CHECK enum tg_status tg_buf_addf(struct tg_buf *buf, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static inline struct tg_slice tg_buf_slice(const struct tg_buf *buf)
{
    return (struct tg_slice){buf->p, buf->len};
}

#endif
