/* clock.h - the clocks: one that only goes forward, one that people read, one of what a thread computes. */
#ifndef TG_UTIL_CLOCK_H
#define TG_UTIL_CLOCK_H

#include <stddef.h>
#include <stdint.h>
#include <time.h>

/* Nanoseconds on a clock that never goes back; good for differences only. */
uint64_t tg_clock_ns(void);

/* Nanoseconds that this thread has computed.  Safe in a signal's handler. */
uint64_t tg_clock_thread_ns(void);

/* Milliseconds on the same clock, exact to one tick of the kernel (4 ms), and cheaper. */
uint64_t tg_clock_coarse_ms(void);

enum { TG_HTTP_DATE_SIZE = 30 }; /* "Sun, 06 Nov 1994 08:49:37 GMT" and a NUL */

/* IMF-fixdate (RFC 9110, 5.6.7) of t. */
void tg_http_date(char out[TG_HTTP_DATE_SIZE], time_t t);

#endif
