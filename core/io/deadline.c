/* deadline.c - lazy timers. */
#include "io/deadline.h"

#include "util/clock.h"

static void arm(struct tg_deadline *deadline, uint64_t now)
{
    uint64_t ms = deadline->at > now ? deadline->at - now : 1;
    struct timeval tv = {(time_t)(ms / 1000), (suseconds_t)(ms % 1000) * 1000};
    deadline->armed = deadline->at;
    event_add(&deadline->event, &tv);
}

static void fire(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct tg_deadline *deadline = arg;
    deadline->armed = 0;
    if (!deadline->at)
        return;
    uint64_t now = tg_clock_coarse_ms();
    if (now < deadline->at) {
        arm(deadline, now);
        return;
    }
    deadline->at = 0;
    deadline->fn(deadline->arg); /* last: deadline may be gone after it */
}

void tg_deadline_init(struct tg_deadline *deadline, struct event_base *base, void (*fn)(void *arg),
                      void *arg)
{
    event_assign(&deadline->event, base, -1, 0, fire, deadline);
    deadline->at = 0;
    deadline->armed = 0;
    deadline->fn = fn;
    deadline->arg = arg;
}

void tg_deadline_fini(struct tg_deadline *deadline)
{
    event_del(&deadline->event);
}

void tg_deadline_set(struct tg_deadline *deadline, uint64_t ms)
{
    if (!ms) {
        deadline->at = 0;
        return;
    }
    uint64_t now = tg_clock_coarse_ms();
    deadline->at = now + ms;
    if (!deadline->armed || deadline->armed > deadline->at)
        arm(deadline, now);
}
