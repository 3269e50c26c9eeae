/* loop.h - event bases as workers want them, and a way in from other threads. */
#ifndef TG_IO_LOOP_H
#define TG_IO_LOOP_H

#include <event2/event.h>

/* A loop for one thread, changes to epoll gathered per turn.  NULL when the system refuses. */
struct event_base *tg_loop_new(void);

struct tg_wake;

/* fn(arg) runs on the loop's thread some time after tg_wake(); calls in between are one.  NULL when
 * out of memory or descriptors. */
struct tg_wake *tg_wake_new(struct event_base *base, void (*fn)(void *arg), void *arg);
void tg_wake_free(struct tg_wake *wake); /* NULL is fine */
void tg_wake(struct tg_wake *wake);      /* any thread, and signal handlers */

#endif
