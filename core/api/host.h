/* host.h - the host's side of an exchange: what is behind struct tidegate_exchange. */
#ifndef TG_API_HOST_H
#define TG_API_HOST_H

#include <stdbool.h>

#include <tidegate.h>

#include "engine/exchange.h"
#include "engine/host.h"

/* A stage of the host's; outlives the exchanges that meet it. */
struct tg_host_interceptor {
    struct tg_interceptor base;
    tidegate_handler fn[TG_STAGE_ERROR + 1];
    void *arg;
    char *name;
    bool is_handler; /* of a route: its parameters are C strings, so they hold no NUL */
};

/* Fills in base by what else is set. */
void tg_host_interceptor_init(struct tg_host_interceptor *interceptor);

struct tg_host_text;
struct tg_host_closer;

struct tidegate_writer {
    struct tg_writer *w;
    struct tidegate_exchange *exchange;
    void (*on_drain)(void *arg);
    void *on_drain_arg;
    struct tidegate_ticket *ticket; /* that it waits for; or NULL */
};

struct tidegate_exchange {
    struct tg_exchange *x;
    struct tg_buf fields;           /* of the response that is set next */
    bool running;                   /* a function of the host's */
    bool failed;                    /* it has said so */
    struct tidegate_ticket *ticket; /* of the suspended stage; or NULL */
    tidegate_handler resumed;       /* for when that is resumed */
    void *resumed_arg;
    tidegate_handler readable; /* or NULL */
    void *readable_arg;

    struct tidegate_body body; /* close is NULL where there is none to be closed */
    bool has_body;
    struct tg_host_body *shown; /* a script has it, perhaps; or NULL */
    struct tg_source source;
    bool driven; /* the source goes on */
    struct tidegate_writer writer;

    struct tg_host_text *texts; /* what accessors gave out */
    struct tg_host_closer *closers;
    struct tg_host_closer **last_closer;
};

#endif
