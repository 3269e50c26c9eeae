/* multipart.h - takes multipart/form-data apart as it comes (RFC 7578, RFC 2046 section 5.1). */
#ifndef TG_HTTP_MULTIPART_H
#define TG_HTTP_MULTIPART_H

#include <stdbool.h>
#include <stddef.h>

#include "util/buf.h"
#include "util/slice.h"
#include "util/status.h"

enum {
    TG_BOUNDARY_MAX = 70, /* RFC 2046, 5.1.1 */
    TG_PART_HEAD_MAX = 8192,
    TG_PART_FIELDS_MAX = 32,
    TG_MULTIPART_PIECE_MAX = 65536, /* bytes to be fed at a time, at the most */
};

enum tg_multipart_state {
    TG_MULTIPART_PREAMBLE,
    TG_MULTIPART_DELIMITER, /* behind one, before the end of its line */
    TG_MULTIPART_HEAD,
    TG_MULTIPART_DATA,
    TG_MULTIPART_OVER, /* behind the last: what follows does not matter */
    TG_MULTIPART_BROKEN,
};

/* What the bytes say, in order; slices are good until the call returns.  Each returns false to end it
 * all: the parser is broken then. */
struct tg_multipart_events {
    bool (*begin)(void *arg);
    bool (*field)(void *arg, struct tg_slice name, struct tg_slice value);
    bool (*data)(void *arg, struct tg_slice data);
    bool (*end)(void *arg);
};

struct tg_multipart {
    enum tg_multipart_state state;
    const char *why; /* of TG_MULTIPART_BROKEN: a static text */
    struct tg_buf pending;
    char delimiter[TG_BOUNDARY_MAX + 5]; /* CR LF - - boundary */
    size_t delimiter_len;
    const struct tg_multipart_events *events;
    void *arg;
};

/* TG_EINVAL: the boundary is empty, too long, or has other characters than it may (RFC 2046);
 * TG_ENOMEM.  events and arg are borrowed. */
TG_MUST_CHECK enum tg_status tg_multipart_init(struct tg_multipart *m, struct tg_slice boundary,
                                               const struct tg_multipart_events *events, void *arg);
void tg_multipart_fini(struct tg_multipart *m);

/* Calls events for what can be told by now.  TG_EINVAL: m->why says why; TG_ENOMEM; TG_ELIMIT: more than
 * TG_MULTIPART_PIECE_MAX bytes. */
enum tg_status tg_multipart_feed(struct tg_multipart *m, const char *bytes, size_t len);

#endif
