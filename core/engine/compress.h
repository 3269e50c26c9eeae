/* compress.h - which responses are coded on their way to a client that accepts it, and how.
 *
 * Never coded are ranges, what has a Content-Encoding or a digest already, what says no-transform,
 * bodies without one of the policy's types, and those that are known to be short.
 */
#ifndef TG_ENGINE_COMPRESS_H
#define TG_ENGINE_COMPRESS_H

#include <stddef.h>
#include <stdint.h>

#include "body/encoder.h"
#include "util/slice.h"
#include "util/status.h"

struct tg_encode_sink;
struct tg_exchange;

enum { TG_COMPRESS_TYPES_MAX = 64, TG_COMPRESS_TYPE_LEN_MAX = 127 };

/* A policy.  Whoever sets it up holds it, and each exchange that it applies to until that is over. */
struct tg_compress {
    unsigned holders;
    size_t count;                       /* of codings */
    enum tg_coding codings[TG_CODINGS]; /* the best first */
    int levels[TG_CODINGS];             /* by coding */
    uint64_t min_length;                /* bytes */
    size_t type_count;
    struct tg_compress_type { /* one, all of a kind, or all with a suffix: "text/html", "*+xml" */
        size_t len;
        char text[TG_COMPRESS_TYPE_LEN_MAX + 1];
    } types[TG_COMPRESS_TYPES_MAX];
};

/* All codings at their usual levels, the types that are worth it, min_length 1024; held once.  NULL when
 * out of memory. */
struct tg_compress *tg_compress_new(void);
void tg_compress_hold(struct tg_compress *policy);
void tg_compress_release(struct tg_compress *policy); /* NULL is fine */

/* TG_EINVAL: text is no type; TG_ELIMIT: there are too many. */
TG_MUST_CHECK enum tg_status tg_compress_add_type(struct tg_compress *policy, struct tg_slice text);

/* Codes x's response, which has its head and has not begun, if its policy says so: changes the head's
 * fields, and puts a coding sink in front of the writer's, which x->encode then is.  TG_ENOMEM. */
TG_MUST_CHECK enum tg_status tg_compress_apply(struct tg_exchange *x);

#endif
