/* limits.h - every cap and deadline of a gateway, by name (DESIGN, section 8). */
#ifndef TG_UTIL_LIMITS_H
#define TG_UTIL_LIMITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Sizes in bytes, times in milliseconds, numbers plain; 0 means no limit. */
struct tg_limits {
    uint64_t head_bytes;    /* a request's head, its first line included: 431 past it */
    uint64_t target_bytes;  /* the request target: 414 past it */
    uint64_t head_fields;   /* field lines in a head: 431 past it */
    uint64_t head_timeout;  /* from a head's first byte, or the accept, to its end: 408 past it */
    uint64_t idle_timeout;  /* a kept connection without a request */
    uint64_t body_bytes;    /* a request's body: 413 past it */
    uint64_t body_buffer;   /* request.body:all(): 413 past it */
    uint64_t body_drain;    /* of a body that nobody read, to keep the connection */
    uint64_t gather;        /* of a response's body before it goes out */
    uint64_t high_water;    /* waiting for the client: the producer stops */
    uint64_t low_water;     /* waiting for the client: the producer goes on */
    uint64_t write_timeout; /* a client that takes nothing */
    uint64_t response_timeout; /* from the request to its response's first byte: 503 past it */
    uint64_t drain;            /* what is in flight at a stop */
    uint64_t connections;
    uint64_t connections_per_address;
    uint64_t upstream_connections;          /* to other servers, of a worker, kept ones included */
    uint64_t upstream_connections_per_host; /* the same, of one of them */
    uint64_t upstream_head_bytes;           /* of a response: 502 past it */
    uint64_t upstream_buffer;               /* of a response's body that its reader has not taken */
    uint64_t lua_memory;                    /* of one Lua state */
    uint64_t slice;  /* a coroutine that computes without a wait, before others get a turn */
    uint64_t script; /* a coroutine that computes without a wait, before it is stopped */
};

void tg_limits_init(struct tg_limits *limits); /* the defaults */

/* Sets the limit called name from a script's number: seconds for times, bytes for sizes.  Returns
 * NULL, or why not (a static text). */
const char *tg_limits_set(struct tg_limits *limits, const char *name, double value);

/* The nth limit's name, or NULL past the last: for messages that list them. */
const char *tg_limits_name(size_t n);

#endif
