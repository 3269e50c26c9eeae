/* alarm.h - a signal to a thread for each so many milliseconds that it has computed.
 *
 * A thread that waits gets none.  The signal's disposition is changed for the process, once, by
 * tg_alarm_install(): only where the host has asked for it.
 */
#ifndef TG_IO_ALARM_H
#define TG_IO_ALARM_H

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

/* Makes signal call the alarms.  TG_EINVAL: there is no such signal, or it cannot be caught. */
enum tg_status tg_alarm_install(int signal);

/* Calls fn(arg), which must be async-signal-safe, after every ms of this thread's time on the processor.
 * TG_EIO: the system has no timer for it. */
enum tg_status tg_alarm_start(struct tg_alarm *alarm, int signal, uint64_t ms,
                              void (*fn)(void *arg), void *arg);
void tg_alarm_stop(struct tg_alarm *alarm); /* on the same thread; none comes after it */

#endif
