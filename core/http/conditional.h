/* conditional.h - preconditions of a request, compared with what there is (RFC 9110, 13). */
#ifndef TG_HTTP_CONDITIONAL_H
#define TG_HTTP_CONDITIONAL_H

#include <stdbool.h>
#include <stddef.h>
#include <time.h>

#include "http/head.h"
#include "util/slice.h"

/* Of the representation that is selected. */
struct tg_validators {
    struct tg_slice etag; /* with its quotes, and W/ if it is weak; len 0: it has none */
    bool dated;
    time_t modified; /* when dated */
    time_t now;
};

/* What a GET or HEAD whose head's fields are these is to be answered with, tried in the order of
 * RFC 9110, 13.2.2: 304, 412, or 0 for the representation.  bytes is what the fields point into. */
int tg_conditional_status(const char *bytes, const struct tg_field *fields, size_t count,
                          const struct tg_validators *validators);

/* The value of the one Range field of a GET, unless there is none or If-Range says that the client's
 * part is of another representation: len 0 then. */
struct tg_slice tg_conditional_range(const char *bytes, const struct tg_field *fields, size_t count,
                                     const struct tg_validators *validators);

/* Whether text is an entity-tag (RFC 9110, 8.8.3). */
bool tg_is_etag(struct tg_slice text);

enum tg_etag_match { TG_ETAG_WEAK, TG_ETAG_STRONG }; /* RFC 9110, 8.8.3.2 */

/* Whether a list of entity-tags holds etag, which may have len 0: "*" holds whatever exists, tagged or
 * not.  What is no such list holds nothing from where it goes wrong. */
bool tg_etag_listed(struct tg_slice list, struct tg_slice etag, enum tg_etag_match how);

#endif
