/* host.h - what the host of the library does for an exchange: its handlers and bodies, which are in C.
 *
 * The engine knows them by these; core/api has what is behind them.
 */
#ifndef TG_ENGINE_HOST_H
#define TG_ENGINE_HOST_H

#include <stdbool.h>
#include <stdint.h>

#include "body/source.h"
#include "engine/interceptor.h"
#include "io/port.h"
#include "util/status.h"

struct tg_host_body;
struct tg_writer;

struct tg_host_ops {
    /* As tg_script_ops.produce, of an exchange that the host has answered. */
    enum tg_step (*produce)(struct tg_exchange *x);
    void (*cancel)(struct tg_exchange *x); /* what it waits for is nothing to it any more */
    /* The exchange is over, for this reason: calls who wanted to know, and lets go of x. */
    void (*close)(struct tg_exchange *x, const char *reason);
    /* Of an exchange that the host has answered with a body: that, with a reference; NULL: no memory. */
    struct tg_host_body *(*body)(struct tg_exchange *x);
    /* To x->fields and x->head: the fields that the host has set, and that no response of its own has. */
    enum tg_status (*fields)(struct tg_exchange *x);
};

/* A body of the host's, for a script that has it.  Counted, of one thread; may outlive the exchange. */
struct tg_host_body {
    unsigned references;
    uint64_t length; /* or TG_LENGTH_UNKNOWN */
    /* Begins it into w, from the loop.  NULL: it was begun before, or cannot be any more. */
    struct tg_source *(*start)(struct tg_host_body *body, struct tg_writer *w);
    void (*drop)(struct tg_host_body *body); /* it will not be written */
    void (*free)(struct tg_host_body *body); /* no references are left */
};

static inline void tg_host_body_release(struct tg_host_body *body)
{
    if (body && !--body->references)
        body->free(body);
}

#endif
