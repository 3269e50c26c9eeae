/* link.h - connections to other servers: opened by libcurl, used by one request at a time, and kept.
 *
 * libcurl looks names up (by a thread), connects to whichever address answers, and speaks TLS.  A
 * connection without TLS is ours once it is open.
 */
#ifndef TG_UPSTREAM_LINK_H
#define TG_UPSTREAM_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "upstream/failure.h"
#include "util/status.h"

struct tg_link;
struct tg_upstream;

enum {
    TG_LINK_IDLE_MS = 60000, /* for which an idle one is kept */
};

struct tg_link_to {
    const char *origin;    /* "https://host:port" */
    const char *unix_path; /* of a socket, in the place of the host's; or NULL */
    const char *ca_file;   /* of certificates to trust; NULL: the system's */
    bool insecure;         /* any certificate will do */
    uint64_t timeout;      /* milliseconds to open it in; 0 for none */
};

/* For whoever has a link; both come from the loop, or from a tg_link_get() of another.  Either may
 * close it. */
struct tg_link_owner {
    void (*opened)(void *arg, enum tg_fetch_failure failure, const char *message);
    void (*ready)(void *arg, bool readable, bool writable);
};

/* A link to there.  TG_OK: a kept one, open (never, when fresh is asked for).  TG_AGAIN: a new one, and
 * opened is to come.  TG_ELIMIT: there is no room for another; tg_upstream_wait() says when to ask
 * again.  TG_ENOMEM.  *out is NULL for the last two. */
TG_MUST_CHECK enum tg_status tg_link_get(struct tg_link **out, struct tg_upstream *upstream,
                                         const struct tg_link_to *to, bool fresh,
                                         const struct tg_link_owner *owner, void *arg);

bool tg_link_was_kept(const struct tg_link *link); /* it has served a request before */

/* As recv() and send(), never waiting: -1 and errno, EAGAIN among them.  An end of TLS without a
 * close_notify is an error. */
ssize_t tg_link_recv(struct tg_link *link, void *buffer, size_t size);
ssize_t tg_link_send(struct tg_link *link, const void *bytes, size_t len);

/* What ready is to be called for. */
void tg_link_want(struct tg_link *link, bool readable, bool writable);

/* There may be bytes that no event tells of: TLS has a buffer of its own. */
bool tg_link_may_have_more(const struct tg_link *link);

void tg_link_keep(struct tg_link *link);  /* for the next request: this one is over */
void tg_link_close(struct tg_link *link); /* NULL is fine */

#endif
