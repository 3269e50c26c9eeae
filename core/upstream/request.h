/* request.h - the head of a request to another server, as text. */
#ifndef TG_UPSTREAM_REQUEST_H
#define TG_UPSTREAM_REQUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "upstream/head.h"
#include "upstream/url.h"
#include "util/buf.h"
#include "util/status.h"

enum {
    TG_FETCH_REQUEST_FIELDS_MAX = 500,
    TG_FETCH_REQUEST_BYTES_MAX = 262144, /* of a request's fields */
    TG_FETCH_METHOD_MAX = 32,
};

/* What does not change from redirect to redirect. */
struct tg_request_head {
    const char *method;
    const struct tg_fetch_field *fields; /* checked; Host may be among them */
    size_t field_count;
    bool old;      /* HTTP/1.0 */
    bool has_body; /* length: what it says of itself, or TG_FETCH_LENGTH_UNKNOWN */
    uint64_t length;
    bool decodes;   /* codings that we can undo are welcome */
    bool elsewhere; /* a redirect to another server: what is for the first stays here */
};

/* Appends the head.  TG_ENOMEM, TG_ELIMIT. */
TG_MUST_CHECK enum tg_status tg_request_head_write(const struct tg_request_head *head,
                                                   const struct tg_url *url, struct tg_buf *out);

#endif
