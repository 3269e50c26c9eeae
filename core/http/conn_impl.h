/* conn_impl.h - what a connection is made of, for the files of core/http only. */
#ifndef TG_HTTP_CONN_IMPL_H
#define TG_HTTP_CONN_IMPL_H

#include <sys/queue.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event_struct.h>
#include <event2/http.h>

#include "http/conn.h"
#include "http/framing.h"
#include "http/server.h"
#include "io/deadline.h"
#include "io/hangup.h"
#include "util/slots.h"

enum {
    TG_INPUT_MAX = 65536,   /* unread bytes of one connection: it is not read past them */
    TG_LINGER_MS = 1000,    /* for a client to read our last words */
    TG_WRITE_MAX = 262144,  /* bytes for one sendmsg */
    TG_READ_BACK_LOG = 512, /* accepted by the kernel, not by us */
};

enum tg_conn_state {
    TG_CONN_HEAD,  /* waits for a head, whole or in part */
    TG_CONN_READY, /* has one: its exchange begins at once, or in the loop's next turn */
    TG_CONN_EXCHANGE,
    TG_CONN_DRAIN,  /* throws away the rest of a body that nobody read */
    TG_CONN_LINGER, /* all is said; waits for the client to close */
};

/* How the body of the response in hand ends. */
enum tg_reply_framing { TG_REPLY_LENGTH, TG_REPLY_CHUNKED, TG_REPLY_CLOSE, TG_REPLY_BODYLESS };

struct tg_reply {
    enum tg_reply_framing framing;
    bool committed;
    bool last;  /* the body's end was sent */
    char *head; /* serialised, until it is sent; the reply's */
    size_t head_len;
    uint64_t bytes; /* of body taken */
};

struct tg_file_send;
struct tg_rest;
struct tg_tls;
struct tg_tls_context;
struct tg_tls_space;

/* What one without a socket does in a way of its own (memory.c).  It has the head, its events and the
 * marks for draining of what is below, and nothing else. */
struct tg_conn_ops {
    const struct tg_sink_ops *sink;
    struct event_base *(*base)(const struct tg_conn *conn);
    bool (*secure)(const struct tg_conn *conn);
    const char *(*peer)(const struct tg_conn *conn, uint16_t *port);
    uint16_t (*local_port)(const struct tg_conn *conn);
    enum tg_body_state (*body_peek)(struct tg_conn *conn, struct tg_slice *data);
    void (*body_consume)(struct tg_conn *conn, size_t n);
    uint64_t (*body_left)(const struct tg_conn *conn);
    void (*finish)(struct tg_conn *conn);
    void (*abort)(struct tg_conn *conn);
};

struct tg_conn {
    const struct tg_conn_ops *ops; /* NULL: it has a socket */
    struct tg_server *server;
    struct tg_handle handle;
    TAILQ_ENTRY(tg_conn) link;
    TAILQ_ENTRY(tg_conn) wake_link;
    bool wake_due; /* it has chores, and is on the server's list */

    struct bufferevent *bev;
    int fd;            /* the bufferevent's, once evcon is known */
    size_t unsent;     /* bytes in its output */
    uint64_t moved_at; /* coarse milliseconds: when some were put there, or taken, last */
    struct evhttp_connection *evcon; /* NULL until learned */
    char *address;                   /* the peer's, where it is counted; else NULL */
    struct evhttp_request *req;      /* that evhttp waits with, from the first on; see conn.c */
    enum tg_conn_state state;
    bool close;       /* after this exchange */
    bool broken;      /* a write failed: to be freed from the loop */
    bool peer_closed; /* it has sent its last byte */
    bool finishing;   /* the response is whole; goes on when the output is empty */
    enum tg_gone why; /* for the close that is under way */

    struct tg_deadline deadline;
    struct event socket; /* EV_READ and EV_CLOSED; for the latter alone it is with the hangups */
    short watching;      /* what it is pending for; 0: it is not */
    bool flows;          /* the last read brought much: more is to be expected */

    struct tg_tls *tls; /* NULL: none, or none any more */
    bool secure;        /* it came through TLS */

    struct evbuffer *raw; /* withheld from evhttp: a part of the first head; or NULL */
    bool partial;         /* of the head that is waited for, a part is here */
    size_t scanned;
    char *block; /* the head's bytes, then its fields */
    size_t block_size;
    struct tg_field *fields;
    struct tg_head head;

    struct tg_framing framing;
    struct tg_slice run; /* body bytes at the front of the input, found and not consumed */
    size_t run_behind;   /* bytes of framing behind the run that belong to it */
    uint64_t body_bytes;
    bool expect;     /* 100 Continue is still to be sent */
    bool body_ready; /* body_fn is due */
    void (*body_fn)(void *arg);
    void *body_arg;

    struct tg_reply reply;
    struct tg_rest
        *rest; /* waits for the socket to take the output; NULL: nothing is to wait for */
    struct tg_file_send *file;
    size_t drain_mark;
    void (*drain_fn)(void *arg);
    void *drain_arg;

    const struct tg_conn_events *events; /* NULL when nobody has taken the request */
    void *owner;
};

/* is_secure: it speaks TLS. */
struct tg_conn *tg_conn_new(struct tg_server *server, bool is_secure);

static inline struct evbuffer *tg_conn_input(const struct tg_conn *conn)
{
    return bufferevent_get_input(conn->bev);
}

static inline struct evbuffer *tg_conn_output(const struct tg_conn *conn)
{
    return bufferevent_get_output(conn->bev);
}

void tg_conn_chores(
    struct tg_conn *conn); /* what tg_server_wake() was called for; conn may be gone */
void tg_conn_destroy(struct tg_conn *conn, enum tg_gone why); /* frees it, telling its owner */
void tg_conn_request(struct tg_conn *conn, struct evhttp_request *req); /* evhttp's callback */
void tg_conn_linger(struct tg_conn *conn);     /* waits a moment for the client to close first */
void tg_conn_close_idle(struct tg_conn *conn); /* for a server that stops */
void tg_conn_update_reading(struct tg_conn *conn);
void tg_conn_hung_up(struct tg_conn *conn); /* while it is not read; conn may be gone */

/* As they are, also where there is TLS. */
enum tg_status tg_conn_write_raw(struct tg_conn *conn, const struct iovec *runs, int n);
enum tg_status tg_conn_broken(struct tg_conn *conn); /* it ends from the loop; TG_ECLOSED */

/* Takes all bytes: to the socket what it takes at once, to the output buffer the rest. */
enum tg_status tg_conn_write(struct tg_conn *conn, const struct iovec *runs, int n);

/* The same for runs of which one is lent: that one is kept, not copied, where it is worth that. */
struct tg_lent {
    int run;               /* which it is */
    tg_release_fn release; /* NULL after the call when it comes later */
    void *arg;
};
enum tg_status tg_conn_write_lent(struct tg_conn *conn, const struct iovec *runs, int n,
                                  struct tg_lent *lent);

/* Keeps a head's bytes and conn->head.field_count fields in conn's block; false: no memory. */
bool tg_conn_keep_head(struct tg_conn *conn, const char *bytes, size_t len,
                       const struct tg_field *fields);

/* conn_body.c */
void tg_conn_body_begin(struct tg_conn *conn);
void tg_conn_body_arrived(struct tg_conn *conn); /* bytes have come */
void tg_conn_body_tell(struct tg_conn *conn);    /* calls body_fn */
/* Throws away body bytes in buf: TG_BODY_END when it is over, TG_BODY_WAIT for more, else broken. */
enum tg_body_state tg_conn_body_discard(struct tg_conn *conn, struct evbuffer *buf);

/* reply.c */
void tg_reply_reset(struct tg_conn *conn);
bool tg_reply_bodyless(const struct tg_conn *conn, int status); /* by its method or status */
void tg_conn_refuse(struct tg_conn *conn, int status); /* answers by itself, then lingers */

/* send_rest.c: sends the output, from the loop, until it is empty.  TG_ENOMEM. */
TG_MUST_CHECK enum tg_status tg_rest_send(struct tg_conn *conn);
void tg_rest_free(struct tg_conn *conn);

/* send_file.c */
enum tg_status tg_conn_send_file(void *sink, int fd, off_t offset, uint64_t len, unsigned flags,
                                 void (*on_sent)(void *arg, enum tg_status status), void *arg);
void tg_conn_stop_file(void *sink);
void tg_file_send_go_on(struct tg_conn *conn); /* the output is empty */
void tg_file_send_free(struct tg_conn *conn);

/* What is written while a file is sent stands behind it: where it is kept until then.  NULL when out of
 * memory. */
struct evbuffer *tg_file_send_behind(struct tg_conn *conn);
size_t tg_file_send_waiting(const struct tg_conn *conn); /* bytes in it */
uint64_t tg_file_send_left(const struct tg_conn *conn);  /* bytes of the file */

/* server.c */

/* Counts the connection of its address; false: limits.connections_per_address are there already. */
bool tg_server_admit(struct tg_server *server, struct tg_conn *conn);
void tg_server_forget(struct tg_server *server, struct tg_conn *conn);
bool tg_server_stopping(const struct tg_server *server);
const struct tg_server_options *tg_server_options(const struct tg_server *server);
struct tg_field *tg_server_field_space(struct tg_server *server, size_t *count);
char *tg_server_read_space(struct tg_server *server, size_t *size);   /* until the next read */
struct tg_tls_context *tg_server_tls(const struct tg_server *server); /* for new connections */
struct tg_tls_space *tg_server_tls_space(struct tg_server *server);
int tg_server_suspend_reading(struct tg_server *server, struct bufferevent *bev);
struct tg_deadlines *tg_server_deadlines(struct tg_server *server);
struct tg_hangups *tg_server_hangups(struct tg_server *server); /* by conn's handle */
struct tg_slots *tg_server_slots(struct tg_server *server);

/* tg_conn_chores() is called in the loop's next turn, or, at_once, in this one: not from chores. */
void tg_server_wake(struct tg_server *server, struct tg_conn *conn, bool at_once);
void tg_server_adopt(struct tg_server *server, struct tg_conn *conn);
struct tg_slice tg_server_date(struct tg_server *server); /* "Date: …\r\n", of this second */

#endif
