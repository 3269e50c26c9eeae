/* server.h - listeners and their connections, on one loop. */
#ifndef TG_HTTP_SERVER_H
#define TG_HTTP_SERVER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "http/conn.h"
#include "util/limits.h"
#include "util/log.h"
#include "util/status.h"

struct event_base;
struct tg_server;
struct tg_store;
struct tg_tls_context;

struct tg_server_options {
    struct event_base *base;        /* borrowed, like all of these */
    const struct tg_limits *limits; /* may change between requests */
    const struct tg_log *log;
    bool host_loop;             /* base is on a thread that may die of SIGPIPE */
    bool shared;                /* others listen on the same addresses: tg_server_join() */
    struct tg_store *addresses; /* how many of each, for limits.connections_per_address */
    atomic_size_t *connections; /* of all servers that limits.connections counts together */

    /* A request's head is in.  Must call tg_conn_take() or tg_conn_abort(). */
    void (*on_request)(void *arg, struct tg_conn *conn);

    /* A head was refused with this status, by the intake itself; for the access log. */
    void (*on_refused)(void *arg, struct tg_conn *conn, int status);
    void *arg;
};

struct tg_server *tg_server_new(const struct tg_server_options *options); /* NULL: no memory */

/* Ends every connection (gone: TG_GONE_SHUTDOWN), then frees.  NULL is fine. */
void tg_server_free(struct tg_server *server);

/* Listens on "host:port", "[v6]:port" (with "http://" before it without TLS, with "https://" only with)
 * or "unix:/path", or on "fd:N": a socket that listens already (N is
 * borrowed, and may be closed after it).  On failure *why is a static text or that of
 * errno, and the result TG_EINVAL (the address) or TG_EIO (the system). */
TG_MUST_CHECK enum tg_status tg_server_listen(struct tg_server *server, const char *address,
                                              const char **why);

/* The certificates for connections that come from now on, which it holds; before it listens, whether it
 * is with TLS that "host:port" listens.  NULL: none, unless it listens with some already. */
void tg_server_set_tls(struct tg_server *server, struct tg_tls_context *context);
bool tg_server_is_secure(const struct tg_server *server); /* it listens with TLS somewhere */

/* Listens on every address of first, a server on another loop, too; the kernel shares out what
 * connects.  Both have options.shared. */
TG_MUST_CHECK enum tg_status tg_server_join(struct tg_server *server, const struct tg_server *first,
                                            const char **why);

/* Closes its listeners, as if it had never listened: it may listen anew. */
void tg_server_unlisten(struct tg_server *server);

/* The nth listener as a URL, with the port it got; NULL past the last.  The server's. */
const char *tg_server_url(const struct tg_server *server, size_t n);
uint16_t tg_server_port(const struct tg_server *server, size_t n);

/* Stops accepting, closes idle connections, and has responses end theirs.  on_idle_fn(arg) is called
 * once, from the loop, when the last connection has gone. */
void tg_server_stop(struct tg_server *server, void (*on_idle_fn)(void *arg), void *arg);

size_t tg_server_connections(const struct tg_server *server);

/* Calls fn(arg, owner) for the owner of each request that was taken and is not over, the oldest
 * connection first, until it returns false.  fn changes nothing. */
void tg_server_each(const struct tg_server *server, bool (*fn)(void *arg, const void *owner),
                    void *arg);

#endif
