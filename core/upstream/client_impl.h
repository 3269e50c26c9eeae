/* client_impl.h - what the files of this folder know of a worker's client. */
#ifndef TG_UPSTREAM_CLIENT_IMPL_H
#define TG_UPSTREAM_CLIENT_IMPL_H

#include <sys/queue.h>

#include <curl/curl.h>
#include <event2/event_struct.h>

#include "io/deadline.h"
#include "io/sigpipe.h"
#include "upstream/client.h"
#include "upstream/link.h"

enum {
    TG_UPSTREAM_READ_SIZE = 65536, /* bytes that are read from a socket at once */
    TG_UPSTREAM_HOSTS = 64,        /* lists that hosts are spread over by their keys */
};

struct tg_fetch;
struct tg_host;
TAILQ_HEAD(tg_fetch_list, tg_fetch);
TAILQ_HEAD(tg_link_list, tg_link);

/* Around what libcurl may write. */
void tg_upstream_hold(const struct tg_upstream *upstream, struct tg_sigpipe *hold);
void tg_upstream_let_go(const struct tg_upstream *upstream, const struct tg_sigpipe *hold);

struct tg_upstream {
    struct tg_upstream_options o;
    struct tg_upstream_stats stats;
    CURLM *multi; /* NULL until the first fetch */
    struct event timer;
    struct event settle; /* for news that came while somebody called us */
    struct tg_deadlines deadlines;
    char *buffer; /* of TG_UPSTREAM_READ_SIZE, that all links read into */

    struct tg_host *hosts[TG_UPSTREAM_HOSTS];
    size_t links;                 /* open or being opened */
    bool has_room;                /* since it was last looked for: a link was kept, or closed */
    struct tg_link_list idle;     /* the longest first */
    struct tg_fetch_list waiting; /* for room for a link, the longest first */
    struct tg_fetch_list news;    /* somebody has to be told of these */
};

/* For the one thread that writes it. */
static inline void tg_upstream_count(atomic_uint_fast64_t *counter, int by)
{
    uint64_t before = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, before + (uint64_t)by, memory_order_relaxed);
}

/* Makes what the first fetch needs.  TG_ENOMEM. */
TG_MUST_CHECK enum tg_status tg_upstream_ready(struct tg_upstream *upstream);

/* Begins a transfer of libcurl's, whose CURLOPT_PRIVATE is a link. */
TG_MUST_CHECK enum tg_status tg_upstream_add(struct tg_upstream *upstream, CURL *easy);

/* From the loop, soon: who has news is told, and who waits for room asks again. */
void tg_upstream_settle_soon(struct tg_upstream *upstream);

/* The same at once, from the loop. */
void tg_upstream_settle(struct tg_upstream *upstream);

void tg_link_opened(struct tg_link *link, CURLcode result);

/* Of fetch.c: tells who has news; gives those who wait for room what room there is. */
void tg_fetch_tell_news(struct tg_upstream *upstream);
void tg_fetch_use_room(struct tg_upstream *upstream);

#endif
