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

#include "upstream/fetch.h"
#include "util/buf.h"
#include "util/slice.h"

struct tg_upstream_head {
    struct tg_buf fields; /* "name: value\r\n" each */
    size_t max;           /* bytes of all lines, of 1xx responses too */
    size_t bytes;
    unsigned field_count;
    unsigned interim; /* 1xx responses so far */
    int status;       /* 0: no status line yet */
    uint64_t length;  /* or TG_FETCH_LENGTH_UNKNOWN */
    bool old;         /* HTTP/1.0 */
    bool http2;
    bool coded; /* Transfer-Encoding */
    bool located;
    bool encoded; /* a Content-Encoding */
    bool whole;   /* the final head has ended */
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

/* Takes the next line, its end included.  follow: redirects are followed. */
enum tg_upstream_line tg_upstream_head_line(struct tg_upstream_head *head, struct tg_slice line,
                                            bool follow, const char **why);

bool tg_upstream_head_field(const struct tg_upstream_head *head, size_t *at,
                            struct tg_fetch_field *field);

#endif
