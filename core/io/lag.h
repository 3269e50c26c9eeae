/* lag.h - how late a loop is: a timer that notes by how much it missed its time.
 *
 * Four times a second, so it is a sample: what holds up the loop often or for long is seen.  libevent's
 * clock is exact to 4 ms, and so is this.
 */
#ifndef TG_IO_LAG_H
#define TG_IO_LAG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <event2/event_struct.h>

enum { TG_LAG_BUCKETS = 9 }; /* the last one has no end */

/* Where each of the others ends, in microseconds. */
extern const uint32_t tg_lag_bounds[TG_LAG_BUCKETS - 1];

struct tg_lag {
    struct event event;
    bool made;
    uint64_t due; /* nanoseconds */
    void (*fn)(void *arg);
    void *arg;
    atomic_uint_fast64_t counts[TG_LAG_BUCKETS]; /* any thread may read these */
    atomic_uint_fast64_t sum;                    /* microseconds */
};

/* fn(arg) is called with each look. */
void tg_lag_init(struct tg_lag *lag, struct event_base *base, void (*fn)(void *arg), void *arg);
void tg_lag_start(struct tg_lag *lag);
void tg_lag_stop(struct tg_lag *lag); /* a second time does nothing */

#endif
