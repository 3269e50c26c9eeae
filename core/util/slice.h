/* slice.h - a run of bytes that somebody else owns. */
#ifndef TG_UTIL_SLICE_H
#define TG_UTIL_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

struct tg_slice {
    const char *p; /* not NUL-terminated; may hold any byte */
    size_t len;
};

#define TG_SLICE(literal)                                                                          \
    (struct tg_slice)                                                                              \
    {                                                                                              \
        (literal), sizeof(literal) - 1                                                             \
    }

static inline bool tg_slice_equal(struct tg_slice a, struct tg_slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.p, b.p, a.len) == 0);
}

/* ASCII letters compare without case: for tokens such as field names (RFC 9110, 5.1). */
static inline bool tg_slice_equal_nocase(struct tg_slice a, struct tg_slice b)
{
    return a.len == b.len && (a.len == 0 || strncasecmp(a.p, b.p, a.len) == 0);
}

#endif
