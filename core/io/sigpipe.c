/* sigpipe.c - blocks SIGPIPE on this thread, and takes back one that came of it. */
#include "io/sigpipe.h"

#include <errno.h>
#include <time.h>

static void only_pipe(sigset_t *set)
{
    sigemptyset(set);
    sigaddset(set, SIGPIPE);
}

void tg_sigpipe_hold(struct tg_sigpipe *hold)
{
    sigset_t pipe;
    sigset_t pending;
    only_pipe(&pipe);
    pthread_sigmask(SIG_BLOCK, &pipe, &hold->mask);
    /* Where it was not blocked none can have waited. */
    hold->pending = sigismember(&hold->mask, SIGPIPE) && sigpending(&pending) == 0 &&
                    sigismember(&pending, SIGPIPE);
}

void tg_sigpipe_let_go(const struct tg_sigpipe *hold, bool raised)
{
    static const struct timespec at_once = {0, 0};
    sigset_t pipe;
    int saved = errno; /* the write's */
    only_pipe(&pipe);
    if (raised && !hold->pending)
        while (sigtimedwait(&pipe, NULL, &at_once) < 0 && errno == EINTR)
            continue;
    if (!sigismember(&hold->mask, SIGPIPE))
        pthread_sigmask(SIG_SETMASK, &hold->mask, NULL);
    errno = saved;
}

bool tg_sigpipe_kills(void)
{
    struct sigaction action;
    return sigaction(SIGPIPE, NULL, &action) == 0 && !(action.sa_flags & SA_SIGINFO) &&
           action.sa_handler == SIG_DFL;
}
