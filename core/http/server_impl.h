/* server_impl.h - a server from within: for the files that listen, accept and count connections. */
#ifndef TG_HTTP_SERVER_IMPL_H
#define TG_HTTP_SERVER_IMPL_H

#include "http/server.h"

#include <time.h>

#include <event2/listener.h>

#include "http/tls_impl.h"
#include "util/clock.h"

enum { TG_LISTENERS_MAX = 64, TG_DATE_LINE_SIZE = sizeof "Date: \r\n" + TG_HTTP_DATE_SIZE };

struct tg_listener {
    struct evconnlistener *listener; /* NULL once it is closed */
    struct evhttp_bound_socket *bound;
    char *url;
    char *path; /* of a unix socket, to be removed; else NULL */
    uint16_t port;
    bool secure;    /* by TLS */
    bool one_queue; /* all workers accept from this very socket */
};

struct tg_server {
    struct tg_server_options o;
    struct evhttp *http;
    struct evhttp *https; /* for the listeners of TLS: its connections begin differently; or NULL */
    struct tg_tls_context *tls; /* of new connections; NULL: the script has none */
    struct tg_tls_space space;
    struct tg_listener listeners[TG_LISTENERS_MAX];
    size_t listener_count;
    struct event resume; /* accepting, after descriptors had run out; always pending */
    bool accepting;
    bool stopping;
    void (*on_idle)(void *arg);
    void *on_idle_arg;
    struct event idle; /* calls on_idle from the loop */

    struct event wake; /* for the connections that have chores */
    TAILQ_HEAD(, tg_conn) wakes;
    size_t wake_count;

    struct tg_deadlines deadlines; /* of the connections */
    struct tg_hangups hangups;     /* of those that are not read */
    TAILQ_HEAD(, tg_conn) conns;
    size_t conn_count;
    struct tg_slots slots;

    struct ev_token_bucket_cfg *no_reading; /* for bufferevents: conn.c reads */
    char *read_space;                       /* as tg_server_read_space() */
    struct tg_field *fields;                /* space to parse into */
    size_t field_count;
    time_t date_at;
    char date[TG_DATE_LINE_SIZE];
};

/* Listens: the evhttp that connections of TLS are for, made when it is wanted first; NULL: no memory. */
struct evhttp *tg_server_https(struct tg_server *server);
/* Where descriptors have run out: accepting rests. */
void tg_server_on_accept_error(struct evconnlistener *listener, void *arg);

/* What listens no more keeps its URL until it is forgotten. */
void tg_server_close_listeners(struct tg_server *server);
void tg_server_forget_listeners(struct tg_server *server);

#endif
