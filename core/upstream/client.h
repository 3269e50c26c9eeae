/* client.h - what a worker needs for requests to other servers: libcurl on its loop, kept connections.
 *
 * libcurl is initialised once in a process, with the first request of any worker, and never taken
 * down again: the host may use it too.  That is the one piece of global state that we touch.
 */
#ifndef TG_UPSTREAM_CLIENT_H
#define TG_UPSTREAM_CLIENT_H

#include <stdatomic.h>

#include "upstream/failure.h"
#include "util/limits.h"

struct event_base;
struct tg_deadlines;
struct tg_upstream;

struct tg_upstream_options {
    struct event_base *base;        /* borrowed */
    const struct tg_limits *limits; /* borrowed; read at the first request */
    bool host_loop;                 /* base is on a thread that may die of SIGPIPE */
};

/* Written by the worker's thread, read by any. */
struct tg_upstream_stats {
    atomic_uint_fast64_t begun; /* requests */
    atomic_uint_fast64_t ended; /* answered in full, failed or given up */
    atomic_uint_fast64_t failed[TG_FETCH_MEMORY + 1];
    atomic_uint_fast64_t links; /* connections that are open, or being opened */
};
const struct tg_upstream_stats *tg_upstream_stats(const struct tg_upstream *upstream);

/* Holds no descriptor before its first request.  NULL when out of memory. */
struct tg_upstream *tg_upstream_new(const struct tg_upstream_options *options);

/* That its timeouts are among. */
struct tg_deadlines *tg_upstream_deadlines(struct tg_upstream *upstream);

/* Closes the kept connections.  Its fetches have been freed before.  NULL is fine. */
void tg_upstream_free(struct tg_upstream *upstream);

#endif
