/* deadline.c - lazy timers. */
#include "io/deadline.h"

#include "util/clock.h"

static void arm(struct tg_deadline *d, uint64_t now)
{
    uint64_t ms = d->at > now ? d->at - now : 1;
    struct timeval tv = {(time_t)(ms / 1000), (suseconds_t)(ms % 1000) * 1000};
    d->armed = d->at;
    event_add(&d->event, &tv);
}

static void fire(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct tg_deadline *d = arg;
    d->armed = 0;
    if (!d->at)
        return;
    uint64_t now = tg_clock_coarse_ms();
    if (now < d->at) {
        arm(d, now);
        return;
    }
    d->at = 0;
    d->fn(d->arg); /* last: d may be gone after it */
}

void tg_deadline_init(struct tg_deadline *d, struct event_base *base, void (*fn)(void *arg),
                      void *arg)
{
    event_assign(&d->event, base, -1, 0, fire, d);
    d->at = 0;
    d->armed = 0;
    d->fn = fn;
    d->arg = arg;
}

void tg_deadline_fini(struct tg_deadline *d)
{
    event_del(&d->event);
}

void tg_deadline_set(struct tg_deadline *d, uint64_t ms)
{
    if (!ms) {
        d->at = 0;
        return;
    }
    uint64_t now = tg_clock_coarse_ms();
    d->at = now + ms;
    if (!d->armed || d->armed > d->at)
        arm(d, now);
}
