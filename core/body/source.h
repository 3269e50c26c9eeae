/* source.h - a body that goes on by itself, from callbacks of the loop: no coroutine is behind it. */
#ifndef TG_BODY_SOURCE_H
#define TG_BODY_SOURCE_H

#include "util/status.h"

/* Whoever makes a source gives it a writer that has begun; whoever takes it sets done and arg.  It
 * ends in one of two ways, and is gone after either. */
struct tg_source {
    /* Lets go of the writer at once; done is not called.  Not from inside Lua. */
    void (*stop)(struct tg_source *source);

    /* Called last, from the loop: everything was written (TG_OK; the writer is not ended), or why not:
     * TG_ECLOSED, TG_ENOMEM, … */
    void (*done)(void *arg, enum tg_status status);
    void *arg;
};

#endif
