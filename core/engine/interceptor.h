/* interceptor.h - one link of a chain, whatever it is written in. */
#ifndef TG_ENGINE_INTERCEPTOR_H
#define TG_ENGINE_INTERCEPTOR_H

#include <stddef.h>

struct tg_exchange;

enum tg_stage {
    TG_STAGE_ENTER,
    TG_STAGE_LEAVE,
    TG_STAGE_ERROR,
    TG_STAGE_BODY, /* of no interceptor: the response's body is produced after all leaves */
};

enum tg_step {
    TG_STEP_DONE,
    TG_STEP_WAIT,   /* tg_exchange_go_on() follows */
    TG_STEP_FAILED, /* tg_exchange_fail() was called */
};

struct tg_interceptor;

/* The vtable: the script's interceptors are one implementation, a host's in C another. */
struct tg_interceptor_ops {
    /* Runs a stage that it has.  Must not free the exchange. */
    enum tg_step (*run)(const struct tg_interceptor *self, struct tg_exchange *x,
                        enum tg_stage stage);
};

struct tg_interceptor {
    const struct tg_interceptor_ops *ops;
    const char *name; /* for messages; never NULL */
    unsigned stages;  /* 1 << stage for each that it has */
    union {
        void *p;
        int ref;
    } arg; /* the implementation's */
};

const char *tg_stage_name(enum tg_stage stage); /* "enter", "leave", "error", "body" */

#endif
