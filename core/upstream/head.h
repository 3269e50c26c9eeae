/* head.h - the head of a response from another server: checked line by line, and kept.
 *
 * What two readers could take for two things is refused, so that nothing goes on to a client that the
 * server did not mean: two framings, folded lines, a CR or a NUL within a line.
 */
#ifndef TG_UPSTREAM_HEAD_H
#define TG_UPSTREAM_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "util/buf.h"
#include "util/slice.h"

#define TG_FETCH_LENGTH_UNKNOWN UINT64_MAX

enum {
    TG_FETCH_FIELDS_MAX = 200, /* of a response */
    TG_FETCH_INTERIM_MAX = 16, /* 1xx responses before the one that counts */
};

struct tg_fetch_field {
    struct tg_slice name;
    struct tg_slice value;
};

/* A field as offsets into the text. */
struct tg_upstream_field {
    uint32_t name;
    uint32_t name_len;
    uint32_t value;
    uint32_t value_len;
};

struct tg_upstream_head {
    struct tg_buf text; /* names and values */
    size_t max;         /* bytes of all lines, of 1xx responses too */
    size_t bytes;
    struct tg_upstream_field *fields; /* field_count of them */
    size_t field_count;
    size_t field_size;
    unsigned interim; /* 1xx responses so far */
    int status;       /* 0: no status line yet */
    uint64_t length;  /* or TG_FETCH_LENGTH_UNKNOWN */
    bool old;         /* HTTP/1.0 */
    bool coded;       /* Transfer-Encoding */
    bool encoded;     /* a Content-Encoding */
    bool options;     /* a Connection field, which may name others */
    bool close;       /* the connection is not for another request */
    bool whole;       /* the final head has ended */
};

void tg_upstream_head_init(struct tg_upstream_head *head, size_t max);
void tg_upstream_head_fini(struct tg_upstream_head *head);

enum tg_upstream_line {
    TG_LINE_TAKEN,
    TG_LINE_ENDS,     /* the head is whole */
    TG_LINE_PROTOCOL, /* *why says what is wrong */
    TG_LINE_LIMIT,
    TG_LINE_MEMORY,
};

/* Takes the next line, its end included. */
enum tg_upstream_line tg_upstream_head_line(struct tg_upstream_head *head, struct tg_slice line,
                                            const char **why);

/* Another head follows the one that has ended: a redirect is followed. */
void tg_upstream_head_again(struct tg_upstream_head *head);

/* The nth field; false past the last.  The value is followed by a NUL. */
bool tg_upstream_head_field(const struct tg_upstream_head *head, size_t n,
                            struct tg_fetch_field *field);

/* Whether the nth field is the connection's own business, or the framing's. */
bool tg_upstream_head_is_hop(const struct tg_upstream_head *head, size_t n);

#endif
