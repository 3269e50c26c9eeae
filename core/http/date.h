/* date.h - reads the dates of HTTP; util/clock.h writes them. */
#ifndef TG_HTTP_DATE_H
#define TG_HTTP_DATE_H

#include <stdbool.h>
#include <time.h>

#include "util/slice.h"

/* Reads a date in any of the three forms of RFC 9110, 5.6.7, to the letter.  now decides the century
 * of a year of two digits.  False for anything else; *out is untouched then. */
bool tg_http_date_parse(struct tg_slice text, time_t now, time_t *out);

#endif
