/* sigpipe.h - writes that would raise SIGPIPE, on threads that are a host's and may die of it.
 *
 * For what cannot be told MSG_NOSIGNAL.  Signals stay as the host has set them.
 */
#ifndef TG_IO_SIGPIPE_H
#define TG_IO_SIGPIPE_H

#include <signal.h>
#include <stdbool.h>

struct tg_sigpipe {
    sigset_t mask; /* as it was */
    bool pending;  /* one waited for the thread before */
};

/* Around the writes: raised is whether one may have failed.  What they raise is taken away; of what was
 * pending before nothing is. */
void tg_sigpipe_hold(struct tg_sigpipe *hold);
void tg_sigpipe_let_go(const struct tg_sigpipe *hold, bool raised);

/* Whether it ends the process, unless a thread has it blocked. */
bool tg_sigpipe_kills(void);

#endif
