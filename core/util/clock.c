/* clock.c - clock_gettime and the date format of HTTP. */
#include "util/clock.h"

#include <string.h>

uint64_t tg_clock_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

uint64_t tg_clock_thread_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
}

uint64_t tg_clock_coarse_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return (uint64_t)now.tv_sec * 1000U + (uint64_t)now.tv_nsec / 1000000U;
}

static void put_two(char *out, unsigned n)
{
    out[0] = (char)('0' + n / 10 % 10);
    out[1] = (char)('0' + n % 10);
}

/* Not strftime: its names of days depend on the locale that the host has set.  Nor printf: each
 * file has a date, and it would cost a tenth of what a small one does. */
void tg_http_date(char out[TG_HTTP_DATE_SIZE], time_t t)
{
    static const char days[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char months[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                       "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    struct tm tm;
    gmtime_r(&t, &tm);
    unsigned year = (unsigned)(tm.tm_year + 1900) % 10000;
    memcpy(out, "Sun, 06 Nov 1994 08:49:37 GMT", TG_HTTP_DATE_SIZE);
    memcpy(out, days[tm.tm_wday % 7], 3);
    put_two(out + 5, (unsigned)tm.tm_mday);
    memcpy(out + 8, months[tm.tm_mon % 12], 3);
    put_two(out + 12, year / 100);
    put_two(out + 14, year % 100);
    put_two(out + 17, (unsigned)tm.tm_hour);
    put_two(out + 20, (unsigned)tm.tm_min);
    put_two(out + 23, (unsigned)tm.tm_sec);
}
