/* json.h - prints JSON scalars (RFC 8259) through a writer. */
#ifndef TG_BODY_JSON_H
#define TG_BODY_JSON_H

#include <stddef.h>
#include <stdint.h>

#include "body/writer.h"
#include "util/status.h"

/* All return TG_OK, TG_AGAIN (taken, but wait before printing much more), or what ended the body.
 * A scalar may be longer than the writer's room: it is printed in pieces. */

/* Quoted.  '"', '\' and control characters below 0x20 are escaped; all else stays as it is, but a
 * byte that is no part of valid UTF-8 becomes U+FFFD: what comes out is always valid. */
enum tg_status tg_json_string(struct tg_writer *w, const char *s, size_t len);

enum tg_status tg_json_integer(struct tg_writer *w, int64_t n);

/* The shortest decimal that reads back as the same double, always with a '.' or an exponent so that
 * it reads back as a float.  TG_EINVAL for NaN and the infinities: JSON has none. */
enum tg_status tg_json_number(struct tg_writer *w, double n);

/* Bytes as they are: what stands between scalars. */
static inline enum tg_status tg_json_raw(struct tg_writer *w, const char *bytes, size_t len)
{
    return tg_writer_write(w, bytes, len);
}

/* The inside of a string: prints what of *s fits into size bytes (8 or more), takes it off *s, and
 * returns the length of what was printed. */
size_t tg_json_escape(char *out, size_t size, const char **s, size_t *len);

/* As tg_json_string(), into size bytes (8 or more).  Returns its length; 0: they may not suffice. */
size_t tg_json_quote(char *out, size_t size, const char *s, size_t len);

enum { TG_NUMBER_MAX = 32 };
/* The same texts into out (room for TG_NUMBER_MAX, no NUL); return their length, 0 for NaN and
 * infinities. */
size_t tg_format_integer(char *out, int64_t n);
size_t tg_format_number(char *out, double n);

#endif
