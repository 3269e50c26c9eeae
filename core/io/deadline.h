/* deadline.h - a timer that is moved far more often than it fires.
 *
 * Moving it later, or switching it off, touches no heap: the event fires at the old time, sees that
 * it is early, and sleeps on.
 */
#ifndef TG_IO_DEADLINE_H
#define TG_IO_DEADLINE_H

#include <stdint.h>

#include <event2/event.h>
#include <event2/event_struct.h>

struct tg_deadline {
    struct event event;
    uint64_t at;    /* coarse milliseconds; 0: off */
    uint64_t armed; /* when the event fires; 0: it is not pending */
    void (*fn)(void *arg);
    void *arg;
};

void tg_deadline_init(struct tg_deadline *deadline, struct event_base *base, void (*fn)(void *arg),
                      void *arg);
void tg_deadline_fini(struct tg_deadline *deadline);

/* Calls fn(arg) once, from the loop, ms milliseconds from now unless it is set again before; 0
 * switches it off. */
void tg_deadline_set(struct tg_deadline *deadline, uint64_t ms);

#endif
