/* fetch_impl.h - what the parts of a fetch share. */
#ifndef TG_UPSTREAM_FETCH_IMPL_H
#define TG_UPSTREAM_FETCH_IMPL_H

#include "http/framing.h"
#include "upstream/client_impl.h"
#include "upstream/decode.h"
#include "upstream/fetch.h"

enum { TG_FETCH_MESSAGE_MAX = 256 };

enum tg_fetch_phase {
    TG_FETCH_CONNECTING, /* nothing was sent */
    TG_FETCH_ASKING,     /* the request, and its body */
    TG_FETCH_ANSWERED,   /* the head is there */
    TG_FETCH_OVER,       /* all is there, or it has failed */
};

struct tg_fetch {
    struct tg_upstream *upstream;
    struct tg_link *link; /* NULL: none yet, or no more */
    enum tg_fetch_phase phase;
    unsigned round; /* of asking: another one for each connection */

    /* What is asked, and of whom. */
    char *url;
    char *unix_path;
    char *ca_file;
    bool insecure;
    struct tg_request_head request; /* its fields are kept where a redirect may be followed */
    char method[TG_FETCH_METHOD_MAX + 1];
    struct tg_fetch_field *fields;
    unsigned redirects; /* that may still be followed */
    uint64_t connect_timeout;
    uint64_t head_timeout;
    uint64_t idle_timeout;
    struct tg_deadline deadline;

    /* On the way there. */
    const struct tg_fetch_source *source;
    void *source_arg;
    struct tg_buf out; /* the head, and behind it what is to be sent next of the body */
    size_t head_len;
    size_t out_at;
    uint64_t pulled; /* bytes of the source */
    bool source_ended;
    bool source_waits; /* it has said TG_FETCH_LATER */
    bool send_failed;  /* the server may have answered all the same */
    bool sent;         /* something was */
    bool sent_all;

    /* On the way back. */
    struct tg_upstream_head head;
    struct tg_framing framing;
    bool until_close;   /* the body ends with the connection */
    struct tg_buf rest; /* came, and was not read yet */
    size_t rest_at;
    size_t unframed; /* so much at its front is of the body, without its framing */
    bool blocked;    /* the reader takes no more */
    bool ended;      /* the connection has */
    bool reset;      /* and not well */
    uint64_t decode_max;
    struct tg_decode *decode; /* NULL: the body is as it was sent */
    struct tg_buf held;
    size_t held_at;

    enum tg_fetch_failure failure;
    char message[TG_FETCH_MESSAGE_MAX];

    bool counted; /* among those that have begun */
    bool has_news;
    bool waits_for_room;
    TAILQ_ENTRY(tg_fetch) link_news;
    TAILQ_ENTRY(tg_fetch) link_waiting;
    void (*wait_fn)(void *arg);
    void *wait_arg;
    const struct tg_fetch_pipe *pipe;
    void *pipe_arg;
};

/* --- fetch.c ---------------------------------------------------------------------------------- */

/* Ends it; the first failure counts. */
void tg_fetch_fail(struct tg_fetch *fetch, enum tg_fetch_failure failure, const char *message);

/* The whole response has come; more than that when there are bytes behind it. */
void tg_fetch_whole(struct tg_fetch *fetch, bool more);

/* The connection has ended before there was a head. */
void tg_fetch_unanswered(struct tg_fetch *fetch);

/* The head is there, and says to go elsewhere: true when that is what happens. */
bool tg_fetch_redirected(struct tg_fetch *fetch);

void tg_fetch_add_news(struct tg_fetch *fetch);

/* Something has moved, or whose turn it is has changed. */
void tg_fetch_set_deadline(struct tg_fetch *fetch);

/* What the link is to wake it for. */
void tg_fetch_set_wants(struct tg_fetch *fetch);

/* --- fetch_send.c ----------------------------------------------------------------------------- */

/* Sends what there is to send, as far as that goes. */
void tg_fetch_send(struct tg_fetch *fetch);

/* --- fetch_receive.c -------------------------------------------------------------------------- */

void tg_fetch_receive(struct tg_fetch *fetch);

/* Nothing more is to come of what is in it: the reader is told once it has taken what there is. */
bool tg_fetch_is_held_back(const struct tg_fetch *fetch);

/* After the end: what was decoded may lack its own. */
void tg_fetch_check_decoder(struct tg_fetch *fetch);

#endif
