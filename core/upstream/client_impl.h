/* client_impl.h - what client.c and fetch.c share. */
#ifndef TG_UPSTREAM_CLIENT_IMPL_H
#define TG_UPSTREAM_CLIENT_IMPL_H

#include <sys/queue.h>

#include <curl/curl.h>
#include <event2/event_struct.h>

#include "io/deadline.h"
#include "upstream/client.h"
#include "upstream/decode.h"
#include "upstream/fetch.h"
#include "upstream/head.h"
#include "util/buf.h"

enum {
    TG_UPSTREAM_SPARE_MAX = 64,    /* easy handles that are kept */
    TG_UPSTREAM_READ_SIZE = 32768, /* bytes that are read from a socket at once */
    TG_FETCH_MESSAGE_MAX = CURL_ERROR_SIZE,
};

TAILQ_HEAD(tg_fetch_list, tg_fetch);

struct tg_upstream {
    struct tg_upstream_options o;
    CURLM *multi; /* NULL until the first fetch */
    struct event timer;
    struct event settle; /* for news that came while somebody called us */
    struct tg_deadlines deadlines;
    CURL *spare[TG_UPSTREAM_SPARE_MAX];
    size_t spare_count;
    struct tg_fetch_list news; /* fetches that somebody has to be told of */
};

enum tg_fetch_phase {
    TG_FETCH_CONNECTING, /* nothing was sent */
    TG_FETCH_ASKING,     /* the request is sent, and its body */
    TG_FETCH_ANSWERED,   /* the head is there */
    TG_FETCH_OVER,       /* all is there, or it has failed */
};

struct tg_fetch {
    struct tg_upstream *upstream;
    CURL *easy; /* NULL once it is over */
    bool plain; /* easy has no options but those that each fetch sets */
    enum tg_fetch_phase phase;
    bool sent;
    bool is_safe; /* the method is: libcurl may send it again on another connection */

    const struct tg_fetch_source *source;
    void *source_arg;
    struct curl_slist *fields; /* one block with all that it points to */
    unsigned redirects;
    uint64_t head_timeout;
    uint64_t idle_timeout;
    struct tg_deadline deadline;

    struct tg_upstream_head head;
    uint64_t decode_max;
    struct tg_decode *decode; /* NULL: the body is as it was sent */
    struct tg_buf held;
    size_t held_at; /* where it begins */
    bool recv_paused;
    bool send_paused;

    enum tg_fetch_failure failure;
    char message[TG_FETCH_MESSAGE_MAX]; /* libcurl's, or ours */

    bool has_news;
    TAILQ_ENTRY(tg_fetch) link;
    void (*wait_fn)(void *arg);
    void *wait_arg;
    const struct tg_fetch_pipe *pipe;
    void *pipe_arg;
};

/* The multi handle, made with the first call.  TG_ENOMEM. */
TG_MUST_CHECK enum tg_status tg_upstream_ready(struct tg_upstream *upstream);

/* An easy handle, with what never changes set; NULL when out of memory. */
CURL *tg_upstream_take_easy(struct tg_upstream *upstream);

/* plain: it needs no reset. */
void tg_upstream_give_easy(struct tg_upstream *upstream, CURL *easy, bool plain);

/* Lets libcurl do what is due now. */
void tg_upstream_run(struct tg_upstream *upstream);

void tg_upstream_add_news(struct tg_fetch *fetch);

/* Tells the news from the loop, soon. */
void tg_upstream_settle_soon(struct tg_upstream *upstream);

/* For fetch.c: what never changes in an easy handle, and how a transfer has ended. */
bool tg_fetch_set_up(CURL *easy);
void tg_fetch_ended(struct tg_fetch *fetch, CURLcode result);
void tg_fetch_tell(struct tg_fetch *fetch);

#endif
