/* host.h - what a gateway lends to each script that it loads, and what the script may say of it. */
#ifndef TG_LUA_HOST_H
#define TG_LUA_HOST_H

#include <stdint.h>

#include "engine/exchange.h"

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
};

/* Borrowed: all of it outlives the state. */
struct tg_lua_host {
    struct tg_stores *stores;   /* behind tg.shared */
    struct tg_post *post;       /* the worker's, behind tg.topic */
    struct tg_streams *streams; /* the worker's, behind tg.sse */
    unsigned worker;            /* its number, from 1 on */
    uint64_t generation;
    /* The gateway's figures, of all its workers. */
    void (*stats)(void *gateway, struct tg_host_stats *out);
    void *gateway;
};

#endif
