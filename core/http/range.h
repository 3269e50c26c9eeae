/* range.h - the Range of a request (RFC 9110, 14.1 and 14.2), over bytes. */
#ifndef TG_HTTP_RANGE_H
#define TG_HTTP_RANGE_H

#include <stddef.h>
#include <stdint.h>

#include "util/slice.h"

enum {
    TG_RANGES_MAX = 32, /* of a request: with more of them it is given the whole */
};

struct tg_range {
    uint64_t first;
    uint64_t len; /* at least 1 */
};

struct tg_ranges {
    size_t count; /* 0: none of them can be satisfied */
    struct tg_range items[TG_RANGES_MAX];
};

enum tg_range_result {
    TG_RANGE_WHOLE,         /* no ranges of bytes, or none that make sense: the field is ignored */
    TG_RANGE_PARTIAL,       /* one range or more */
    TG_RANGE_UNSATISFIABLE, /* 416 */
};

/* What the value of a Range field asks of a representation of size bytes.  The ranges that overlap,
 * or touch, are made one; they stand in the order in which they were asked for. */
enum tg_range_result tg_range_parse(struct tg_slice value, uint64_t size, struct tg_ranges *out);

#endif
