/* percent.h - percent-encoding (RFC 3986, 2.1) and form-encoded queries. */
#ifndef TG_UTIL_PERCENT_H
#define TG_UTIL_PERCENT_H

#include <stdbool.h>
#include <stddef.h>

#include "util/slice.h"

/* Whether every '%' is followed by two hex digits. */
bool tg_percent_valid(const char *bytes, size_t len);

/* Whether a NUL is in bytes, or an escape of one: where it ends, as a C string, is not where they do. */
bool tg_percent_has_nul(const char *bytes, size_t len);

/* Takes the next decoded byte off *p, which must be before end.  A '%' that starts no escape is that
 * byte itself. */
unsigned char tg_percent_next(const char **p, const char *end);

/* Decodes into out, which has room for len bytes and may be bytes itself; returns the new length.
 * With form, '+' becomes a space.  A '%' that starts no escape stays as it is. */
size_t tg_percent_decode(const char *bytes, size_t len, bool form, char *out);

/* Encodes into out, which has room for 3 * len bytes; returns the new length.  What is unreserved
 * (RFC 3986, 2.3) stays, and '/' too when keep_slash. */
size_t tg_percent_encode(const char *bytes, size_t len, bool keep_slash, char *out);

/* Takes the next name=value off a query; false at its end.  Both are still encoded; a name without
 * '=' has an empty value.  Empty pieces (&&) are passed over. */
bool tg_query_next(struct tg_slice *rest, struct tg_slice *name, struct tg_slice *value);

#endif
