/* head.h - the strict parser of request heads (RFC 9112, 2 to 6).
 *
 * A pure function over bytes: it allocates nothing and keeps nothing.  What is ambiguous is refused:
 * no bare LF or CR, no folded lines, no space before a colon, one Host, one Content-Length or one
 * Transfer-Encoding and never both.
 */
#ifndef TG_HTTP_HEAD_H
#define TG_HTTP_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/slice.h"

enum tg_framing_kind { TG_FRAMING_NONE, TG_FRAMING_LENGTH, TG_FRAMING_CHUNKED };

/* A field line, as offsets into the head, so that the head may move. */
struct tg_field {
    uint32_t name;
    uint32_t name_len;
    uint32_t value; /* without the white space around it */
    uint32_t value_len;
};

struct tg_head_limits {
    size_t fields; /* 0: as many as the array holds */
    size_t target; /* bytes; 0: any */
};

/* Offsets, again; 0-length when absent. */
struct tg_span {
    uint32_t at;
    uint32_t len;
};

struct tg_head {
    struct tg_span method;
    struct tg_span target;    /* as sent */
    struct tg_span path;      /* still encoded; "*" for OPTIONS * */
    struct tg_span query;     /* what follows the first '?' */
    struct tg_span authority; /* Host, or that of an absolute-form target, which must agree */
    bool has_query;
    bool secure; /* an absolute-form target said https */
    int minor;   /* 0 for HTTP/1.0, 1 for 1.1 and above */
    bool close;  /* the connection ends after this exchange */
    bool expect_continue;
    enum tg_framing_kind framing;
    uint64_t length; /* for TG_FRAMING_LENGTH */
    size_t field_count;
};

/* Looks for the end of a head in bytes[0..len).  Returns its length with the empty line; 0 when more
 * bytes are needed; -1 when no more bytes could make it a head (a bare LF ends a line).
 * *scanned is 0 at first and says where to go on next time. Up to two empty lines (CRLF) that
 * precede a request line are for the caller to skip: tg_head_blank(). */
long tg_head_find_end(const char *bytes, size_t len, size_t *scanned);

/* How many bytes of CRLF precede the request line (0, 2 or 4; RFC 9112, 2.2). */
size_t tg_head_blank(const char *bytes, size_t len);

/* Parses a whole head, len bytes ending in CRLFCRLF; len fits 32 bits.  Returns 0, or the status to
 * refuse it with: 400, 414, 417, 431, 501, 505.  fields has room for fields_max. */
int tg_head_parse(const char *bytes, size_t len, const struct tg_head_limits *limits,
                  struct tg_head *out, struct tg_field *fields, size_t fields_max);

/* Whether bytes are a token, a field value (no CR, LF, NUL or other control but tab). */
bool tg_is_token(const char *bytes, size_t len);
bool tg_is_field_value(const char *bytes, size_t len);

#endif
