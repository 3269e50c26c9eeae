/* hangup.h - the ends of sockets of which nothing is to be read.
 *
 * libevent tells of a reset as of something to be read or written, and to an event that waits for
 * neither not at all: epoll then goes on telling, and the loop spins.
 */
#ifndef TG_IO_HANGUP_H
#define TG_IO_HANGUP_H

#include <stdint.h>

#include <event2/event.h>
#include <event2/event_struct.h>

#include "util/status.h"

struct tg_hangups {
    int fd; /* an epoll of its own; -1: none yet */
    struct event readable;
    void (*fn)(void *arg, uint64_t id);
    void *arg;
};

/* fn(arg, id) is called from the loop when the peer of the socket with that id will send no more, or
 * has reset the connection; once for each add. */
TG_MUST_CHECK enum tg_status tg_hangups_init(struct tg_hangups *all, struct event_base *base,
                                             void (*fn)(void *arg, uint64_t id), void *arg);
void tg_hangups_fini(struct tg_hangups *all); /* allowed when init has failed */

/* Out of memory in the kernel, the end is not seen: there is nothing better to be done about it. */
void tg_hangups_add(struct tg_hangups *all, int fd, uint64_t id);
void tg_hangups_remove(struct tg_hangups *all, int fd); /* while it is open still */

#endif
