/* host.h - what a gateway lends to each script that it loads, and what the script may say of it. */
#ifndef TG_LUA_HOST_H
#define TG_LUA_HOST_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/exchange.h"
#include "io/lag.h"
#include "upstream/failure.h"

struct tg_gather;
struct tg_memories;
struct tg_port;
struct tg_post;
struct tg_stores;
struct tg_streams;

struct tg_host_stats {
    unsigned workers;
    uint64_t generation;
    uint64_t uptime; /* milliseconds */
    uint64_t connections;
    uint64_t begun; /* exchanges */
    uint64_t ended[TG_ENDING_CANCELLED + 1];
    uint64_t answered[6]; /* by the first digit of the status; 0: none was sent */
    uint64_t bytes;       /* of their bodies */
    uint64_t streams;     /* responses that have begun and are not over */
    uint64_t reloads_failed;
    uint64_t upstream_begun; /* requests to other servers */
    uint64_t upstream_ended;
    uint64_t upstream_failed[TG_FETCH_MEMORY + 1];
    uint64_t upstream_connections;
};

/* Of one worker. */
struct tg_loop_stats {
    uint64_t waits;               /* how often a task has begun to wait */
    uint64_t lua_memory;          /* bytes of its states */
    uint64_t lag[TG_LAG_BUCKETS]; /* looks at the loop, by how late it was: io/lag.h */
    uint64_t late;                /* microseconds, of all looks */
};

/* Borrowed: all of it outlives the state. */
struct tg_lua_host {
    struct tg_port *port;       /* the worker's: how other threads resume what waits */
    struct tg_stores *stores;   /* behind tg.shared */
    struct tg_post *post;       /* the worker's, behind tg.topic */
    struct tg_streams *streams; /* the worker's, behind tg.sse */
    struct tg_gather *gather;   /* the worker's, and the next: behind tg.test */
    struct tg_memories *memories;
    bool trial;                      /* nobody is served: time may be held */
    bool alone;                      /* and no gateway serves that has the same stores */
    const unsigned char *ticket_key; /* of TG_TLS_TICKET_KEY bytes, for its certificates */
    unsigned worker;                 /* its number, from 1 on; 0: a trial's */
    uint64_t generation;
    /* The gateway's figures, of all its workers. */
    void (*stats)(void *gateway, struct tg_host_stats *out);
    void (*loop_stats)(void *gateway, unsigned worker, struct tg_loop_stats *out); /* from 0 on */
    /* The first of a worker's routes; others follow. */
    const struct tg_route_stats *(*routes)(void *gateway, unsigned worker);
    void *gateway;
};

#endif
