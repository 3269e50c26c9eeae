/* lag.c - a loop's timer against the clock. */
#include "io/lag.h"

#include <event2/event.h>

#include "util/clock.h"

enum { INTERVAL_MS = 250 };

const uint32_t tg_lag_bounds[TG_LAG_BUCKETS - 1] = {5000,   10000,  25000,   50000,
                                                    100000, 250000, 1000000, 2500000};

static void add(atomic_uint_fast64_t *counter, uint64_t by)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + by,
                          memory_order_relaxed);
}

static void arm(struct tg_lag *lag)
{
    static const struct timeval interval = {0, INTERVAL_MS * 1000L};
    lag->due = tg_clock_ns() + INTERVAL_MS * UINT64_C(1000000);
    event_add(&lag->event, &interval);
}

static void on_time(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct tg_lag *lag = arg;
    uint64_t now = tg_clock_ns();
    uint64_t late = now > lag->due ? (now - lag->due) / 1000U : 0;
    size_t bucket = 0;
    while (bucket < TG_LAG_BUCKETS - 1 && late > tg_lag_bounds[bucket])
        bucket++;
    add(&lag->counts[bucket], 1);
    add(&lag->sum, late);
    lag->fn(lag->arg);
    arm(lag);
}

void tg_lag_init(struct tg_lag *lag, struct event_base *base, void (*fn)(void *arg), void *arg)
{
    event_assign(&lag->event, base, -1, 0, on_time, lag);
    lag->fn = fn;
    lag->arg = arg;
}

void tg_lag_start(struct tg_lag *lag)
{
    lag->made = true;
    lag->fn(lag->arg);
    arm(lag);
}

void tg_lag_stop(struct tg_lag *lag)
{
    if (lag->made)
        event_del(&lag->event);
    lag->made = false;
}
