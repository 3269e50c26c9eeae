/* soon.c - a timer of no time: what the loop has to do besides has its turn before. */
#include "io/soon.h"

static void on_turn(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct tg_soon *soon = arg;
    soon->fn(soon->arg);
}

void tg_soon_init(struct tg_soon *soon, struct event_base *base, void (*fn)(void *arg), void *arg)
{
    soon->fn = fn;
    soon->arg = arg;
    event_assign(&soon->event, base, -1, 0, on_turn, soon);
}

void tg_soon_call(struct tg_soon *soon)
{
    static const struct timeval at_once = {0, 0};
    /* Without memory for a timer, without that turn: a call that never comes is worse. */
    if (!event_pending(&soon->event, EV_TIMEOUT, NULL) && event_add(&soon->event, &at_once) < 0)
        event_active(&soon->event, EV_TIMEOUT, 0);
}

void tg_soon_fini(struct tg_soon *soon)
{
    if (soon->fn)
        event_del(&soon->event);
    soon->fn = NULL;
}
