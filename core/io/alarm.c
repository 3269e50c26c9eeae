/* alarm.c - POSIX timers on a thread's own clock. */
#include "io/alarm.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid /* as timer_create(2) names it */
#endif

void tg_alarm_on_signal(int number, siginfo_t *info, void *context)
{
    (void)number;
    (void)context;
    int saved = errno;
    if (info->si_code == SI_TIMER && info->si_value.sival_ptr) {
        const struct tg_alarm *alarm = info->si_value.sival_ptr;
        alarm->fn(alarm->arg);
    }
    errno = saved;
}

static void set_blocked(int signal, bool blocked)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, signal);
    pthread_sigmask(blocked ? SIG_BLOCK : SIG_UNBLOCK, &set, NULL);
}

enum tg_status tg_alarm_start(struct tg_alarm *alarm, int signal, uint64_t ms,
                              void (*fn)(void *arg), void *arg)
{
    *alarm = (struct tg_alarm){.fn = fn, .arg = arg, .signal = signal};
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = signal};
    event.sigev_value.sival_ptr = alarm;
    event.sigev_notify_thread_id = (pid_t)syscall(SYS_gettid);
    if (timer_create(CLOCK_THREAD_CPUTIME_ID, &event, &alarm->timer) != 0)
        return TG_EIO;
    struct timespec period = {(time_t)(ms / 1000), (long)(ms % 1000) * 1000000};
    struct itimerspec spec = {period, period};
    alarm->started = timer_settime(alarm->timer, 0, &spec, NULL) == 0;
    if (!alarm->started) {
        timer_delete(alarm->timer);
        return TG_EIO;
    }
    set_blocked(signal, false);
    return TG_OK;
}

/* One may be on its way: it points to the alarm, and must not outlive it. */
void tg_alarm_stop(struct tg_alarm *alarm)
{
    static const struct timespec now = {0, 0};
    sigset_t set;
    if (!alarm->started)
        return;
    alarm->started = false;
    sigemptyset(&set);
    sigaddset(&set, alarm->signal);
    set_blocked(alarm->signal, true);
    timer_delete(alarm->timer);
    while (sigtimedwait(&set, NULL, &now) > 0)
        continue;
    set_blocked(alarm->signal, false);
}
