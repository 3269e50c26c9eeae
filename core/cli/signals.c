/* signals.c - handlers that write a byte to a pipe, and a thread that acts on it.
 *
 * Handlers, and not a mask with sigwait() or SIG_IGN for SIGPIPE: what a script starts with io.popen
 * inherits masks and ignored signals, but gets the default where there was a handler.
 */
#include "cli/signals.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

struct cli_signals {
    struct cli_log *log;
    const struct cli_systemd *systemd;
    pthread_t thread;
    pthread_mutex_t lock;
    struct tidegate *g; /* under lock; NULL once released */
    atomic_bool alive;  /* all workers have answered since they were last asked */
    int pipe[2];
};

/* The one thing that a handler can reach. */
static volatile sig_atomic_t wake_fd = -1;

static void on_signal(int number)
{
    int error = errno;
    char byte = (char)number;
    ssize_t n = write(wake_fd, &byte, 1); /* a full pipe has enough of them */
    (void)n;
    errno = error;
}

/* SIGPIPE: the write says EPIPE. */
static void on_nothing(int number)
{
    (void)number;
}

static void handle(int number, void (*handler)(int))
{
    struct sigaction action = {.sa_flags = SA_RESTART};
    action.sa_handler = handler;
    sigemptyset(&action.sa_mask);
    sigaction(number, &action, NULL);
}

static void handle_alarm(void)
{
    struct sigaction action = {.sa_flags = SA_SIGINFO | SA_RESTART};
    action.sa_sigaction = tidegate_on_alarm;
    sigemptyset(&action.sa_mask);
    sigaction(CLI_ALARM_SIGNAL, &action, NULL);
}

static void stop(struct cli_signals *signals, unsigned count)
{
    cli_log_line(signals->log, TIDEGATE_INFO,
                 count == 1 ? "stopping: what is in flight may finish; a second signal ends it"
                            : "stopping at once");
    if (count == 1)
        cli_systemd_notify(signals->systemd, "STOPPING=1\nSTATUS=Finishing what is in flight");
    if (count == 2) {
        handle(SIGINT, SIG_DFL);
        handle(SIGTERM, SIG_DFL);
    }
    pthread_mutex_lock(&signals->lock);
    if (signals->g)
        tidegate_stop(signals->g);
    pthread_mutex_unlock(&signals->lock);
}

static void reload(struct cli_signals *signals)
{
    enum tidegate_status status = TIDEGATE_OK;
    pthread_mutex_lock(&signals->lock);
    if (signals->g)
        status = tidegate_reload(signals->g);
    pthread_mutex_unlock(&signals->lock);
    if (status != TIDEGATE_OK)
        cli_log_line(signals->log, TIDEGATE_ERROR, "reload: there is no thread for it");
}

/* --- The watchdog ----------------------------------------------------------------------------- */

static void on_exchange(void *arg, const struct tidegate_exchange_info *info)
{
    (void)arg;
    (void)info;
}

static void on_worker(void *arg, const struct tidegate_worker_info *info)
{
    (void)arg;
    (void)info;
}

static void on_answered(void *arg)
{
    struct cli_signals *signals = arg;
    atomic_store(&signals->alive, true);
}

/* The process lives when the loop of each worker does: a single one that is stuck is reason enough to
 * start it anew. */
static void beat(struct cli_signals *signals)
{
    if (!atomic_exchange(&signals->alive, false))
        return;
    cli_systemd_notify(signals->systemd, "WATCHDOG=1");
    pthread_mutex_lock(&signals->lock);
    if (!signals->g || tidegate_snapshot(signals->g, 0, on_exchange, on_worker, on_answered,
                                         signals) != TIDEGATE_OK)
        atomic_store(&signals->alive, true);
    pthread_mutex_unlock(&signals->lock);
}

/* Until there is a byte in the pipe. */
static void wait_for_signal(struct cli_signals *signals)
{
    int interval = cli_systemd_watchdog_ms(signals->systemd);
    struct pollfd polled = {signals->pipe[0], POLLIN, 0};
    while (poll(&polled, 1, interval ? interval : -1) == 0)
        beat(signals);
}

/* --- The thread ------------------------------------------------------------------------------- */

static void *act_on_signals(void *arg)
{
    struct cli_signals *signals = arg;
    unsigned count = 0;
    char byte;
    for (;;) {
        wait_for_signal(signals);
        ssize_t n = read(signals->pipe[0], &byte, 1);
        if (n == 1 && byte == SIGHUP)
            reload(signals);
        else if (n == 1 && byte)
            stop(signals, ++count);
        else if (n >= 0 || errno != EINTR)
            return NULL;
    }
}

struct cli_signals *cli_signals_start(struct tidegate *g, struct cli_log *log,
                                      const struct cli_systemd *systemd)
{
    struct cli_signals *signals = calloc(1, sizeof *signals);
    if (!signals)
        return NULL;
    signals->g = g;
    signals->log = log;
    signals->systemd = systemd;
    atomic_init(&signals->alive, true);
    pthread_mutex_init(&signals->lock, NULL);
    if (pipe2(signals->pipe, O_CLOEXEC) != 0)
        goto fail;
    fcntl(signals->pipe[1], F_SETFL, O_NONBLOCK); /* a handler may not wait */
    if (pthread_create(&signals->thread, NULL, act_on_signals, signals) != 0)
        goto fail_pipe;
    wake_fd = signals->pipe[1];
    handle(SIGPIPE, on_nothing);
    handle(SIGINT, on_signal);
    handle(SIGTERM, on_signal);
    handle(SIGHUP, on_signal);
    handle_alarm();
    return signals;

fail_pipe:
    close(signals->pipe[0]);
    close(signals->pipe[1]);
fail:
    pthread_mutex_destroy(&signals->lock);
    free(signals);
    return NULL;
}

void cli_signals_release(struct cli_signals *signals)
{
    if (!signals)
        return;
    pthread_mutex_lock(&signals->lock);
    signals->g = NULL;
    pthread_mutex_unlock(&signals->lock);
}

void cli_signals_stop(struct cli_signals *signals)
{
    if (!signals)
        return;
    handle(SIGINT, on_nothing);
    handle(SIGTERM, on_nothing);
    handle(SIGHUP, on_nothing);
    ssize_t n = write(signals->pipe[1], "", 1); /* a zero byte is the end */
    (void)n;
    pthread_join(signals->thread, NULL);
    pthread_mutex_destroy(&signals->lock);
    close(signals->pipe[0]); /* the other end may be in use by a handler on another thread */
    free(signals);
}
