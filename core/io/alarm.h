/* alarm.h - a signal to a thread for each so many milliseconds that it has computed.
 *
 * A thread that waits gets none.  The signal's handler is the host's to set, and is to call
 * tg_alarm_on_signal().
 */
#ifndef TG_IO_ALARM_H
#define TG_IO_ALARM_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "util/status.h"

struct tg_alarm {
    void (*fn)(void *arg); /* called in the signal's handler, on the thread that has started it */
    void *arg;
    int signal;
    bool started;
    timer_t timer;
};

/* A handler, for sigaction() with SA_SIGINFO | SA_RESTART: calls the alarm that the signal is for, and
 * does nothing for one of another origin. */
void tg_alarm_on_signal(int number, siginfo_t *info, void *context);

/* Calls fn(arg), which must be async-signal-safe, after every ms of this thread's time on the processor.
 * TG_EIO: the system has no timer for it. */
enum tg_status tg_alarm_start(struct tg_alarm *alarm, int signal, uint64_t ms,
                              void (*fn)(void *arg), void *arg);
void tg_alarm_stop(struct tg_alarm *alarm); /* on the same thread; none comes after it */

#endif
