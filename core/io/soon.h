/* soon.h - a call in the next turn of a loop: for what must not happen inside its caller. */
#ifndef TG_IO_SOON_H
#define TG_IO_SOON_H

#include <event2/event.h>
#include <event2/event_struct.h>

struct tg_soon {
    struct event event;
    void (*fn)(void *arg);
    void *arg;
};

/* Allocates nothing; base outlives soon. */
void tg_soon_init(struct tg_soon *soon, struct event_base *base, void (*fn)(void *arg), void *arg);

/* fn(arg) is called once, from the loop; calls in between are one.  fn may end soon. */
void tg_soon_call(struct tg_soon *soon);

/* It is not called, and soon is as nothing.  Allowed on zeroed bytes. */
void tg_soon_fini(struct tg_soon *soon);

#endif
