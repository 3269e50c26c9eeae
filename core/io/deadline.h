/* deadline.h - many timers that are moved far more often than they fire, on one event.
 *
 * Moving one later, or switching it off, touches nothing but the timer itself: it comes up at the old
 * time, is seen to be early, and goes back.
 */
#ifndef TG_IO_DEADLINE_H
#define TG_IO_DEADLINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <event2/event.h>
#include <event2/event_struct.h>

#include "util/status.h"

struct tg_deadline;

/* A heap of deadlines by the time at which they come up, for one loop. */
struct tg_deadlines {
    struct event event;
    bool exact;
    bool held;     /* its time stands still but for tg_deadlines_advance() */
    uint64_t time; /* then; microseconds */
    struct tg_deadline **heap;
    size_t count;    /* of those that are in the heap */
    size_t reserved; /* of those that may be */
    size_t size;
};

/* Coarse: they come some milliseconds late, and a clock is cheap to read.  Exact: not before their
 * time, and as soon after it as the loop can. */
void tg_deadlines_init(struct tg_deadlines *all, struct event_base *base);
void tg_deadlines_init_exact(struct tg_deadlines *all, struct event_base *base);
void tg_deadlines_fini(struct tg_deadlines *all); /* its deadlines are gone by then */

/* Microseconds on the clock that its deadlines go by. */
uint64_t tg_deadlines_now(const struct tg_deadlines *all);

/* For tests: from now on its time is what it is told, now at first, which is about what it was. */
void tg_deadlines_hold(struct tg_deadlines *all, uint64_t now);

/* When the next one is due, while it is held; false: none is. */
bool tg_deadlines_next(const struct tg_deadlines *all, uint64_t *due);

/* The time is now; what is due by then is called, from the loop. */
void tg_deadlines_advance(struct tg_deadlines *all, uint64_t now);
void tg_deadlines_let_go(struct tg_deadlines *all); /* real time again; what is due waits anew */

struct tg_deadline {
    struct tg_deadlines *all;
    size_t place; /* in the heap, from 1 on; 0: it is not there */
    uint64_t at;  /* microseconds; 0: off */
    uint64_t up;  /* when it comes up in the heap */
    void (*fn)(void *arg);
    void *arg;
};

/* TG_ENOMEM: deadline is then as nothing, and needs no fini. */
TG_MUST_CHECK enum tg_status tg_deadline_init(struct tg_deadline *deadline,
                                              struct tg_deadlines *all, void (*fn)(void *arg),
                                              void *arg);
void tg_deadline_fini(struct tg_deadline *deadline);

/* Calls fn(arg) once, from the loop, ms milliseconds from now unless it is set again before; 0
 * switches it off.  fn may end deadlines, this one too. */
void tg_deadline_set(struct tg_deadline *deadline, uint64_t ms);
void tg_deadline_set_us(struct tg_deadline *deadline, uint64_t us); /* the same, in microseconds */

/* Switches it off as tg_deadline_set(deadline, 0) does, for more, and the loop does not wake for it. */
void tg_deadline_drop(struct tg_deadline *deadline);

#endif
