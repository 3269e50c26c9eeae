/* coding.h - which content coding a client would like best (RFC 9110, 12.5.3). */
#ifndef TG_HTTP_CODING_H
#define TG_HTTP_CODING_H

#include <stddef.h>

#include "body/encoder.h"
#include "http/head.h"

/* The one of the codings offered that the Accept-Encoding fields of a head give the most weight, the
 * first of several.  TG_CODING_IDENTITY where there are none, or they accept none of these, or like the
 * body as it is better.  bytes is what the fields point into. */
enum tg_coding tg_coding_choose(const char *bytes, const struct tg_field *fields, size_t count,
                                const enum tg_coding *offered, size_t offered_count);

#endif
