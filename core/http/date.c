/* date.c - IMF-fixdate, and the two forms that are obsolete and must be read all the same. */
#include "http/date.h"

#include "http/chars.h"

enum { NAME_LEN = 3 };

struct civil {
    int year;
    int month; /* from 0 on */
    int day;
    int hour;
    int minute;
    int second;
};

/* What is still to be read.  Once it is bad, nothing is read any more. */
struct reader {
    const char *p;
    const char *end;
    bool bad;
};

static void literal(struct reader *r, const char *text)
{
    size_t len = strlen(text);
    if (r->bad || (size_t)(r->end - r->p) < len || memcmp(r->p, text, len) != 0)
        r->bad = true;
    else
        r->p += len;
}

static int number(struct reader *r, int digits)
{
    int n = 0;
    if (r->bad || r->end - r->p < digits)
        r->bad = true;
    for (int i = 0; i < digits && !r->bad; i++, r->p++) {
        r->bad = !tg_char_is(*r->p, TG_CHAR_DIGIT);
        n = n * 10 + (*r->p - '0');
    }
    return n;
}

/* asctime() pads a day with a space. */
static int padded_day(struct reader *r)
{
    if (!r->bad && r->p < r->end && *r->p == ' ') {
        r->p++;
        return number(r, 1);
    }
    return number(r, 2);
}

static int month(struct reader *r)
{
    static const char names[12][NAME_LEN + 1] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                                 "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    for (int i = 0; !r->bad && i < 12; i++) {
        if (r->end - r->p >= NAME_LEN && memcmp(r->p, names[i], NAME_LEN) == 0) {
            r->p += NAME_LEN;
            return i;
        }
    }
    r->bad = true;
    return 0;
}

static void clock_time(struct reader *r, struct civil *c)
{
    c->hour = number(r, 2);
    literal(r, ":");
    c->minute = number(r, 2);
    literal(r, ":");
    c->second = number(r, 2);
}

/* --- The three forms -------------------------------------------------------------------------- */

static void fixdate(struct reader *r, struct civil *c)
{
    literal(r, ", ");
    c->day = number(r, 2);
    literal(r, " ");
    c->month = month(r);
    literal(r, " ");
    c->year = number(r, 4);
    literal(r, " ");
    clock_time(r, c);
    literal(r, " GMT");
}

static void rfc850(struct reader *r, struct civil *c, time_t now)
{
    struct tm today;
    literal(r, ", ");
    c->day = number(r, 2);
    literal(r, "-");
    c->month = month(r);
    literal(r, "-");
    c->year = number(r, 2);
    literal(r, " ");
    clock_time(r, c);
    literal(r, " GMT");
    if (!gmtime_r(&now, &today))
        r->bad = true;
    if (r->bad)
        return;
    int this_year = today.tm_year + 1900;
    c->year += this_year / 100 * 100;
    if (c->year > this_year + 50) /* it looks to be that far ahead: the last such year is meant */
        c->year -= 100;
}

static void ctime_form(struct reader *r, struct civil *c)
{
    literal(r, " ");
    c->month = month(r);
    literal(r, " ");
    c->day = padded_day(r);
    literal(r, " ");
    clock_time(r, c);
    literal(r, " ");
    c->year = number(r, 4);
}

/* --- Numbers ---------------------------------------------------------------------------------- */

static bool is_valid(const struct civil *c)
{
    static const int days[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return c->day >= 1 && c->day <= days[c->month] && c->hour < 24 && c->minute < 60 &&
           c->second <= 60; /* a leap second */
}

/* The days since 1970: years are counted from March on, so that a leap day is the last of its year, and
 * from 400 years early, so that none is negative. */
static long days_since_epoch(const struct civil *c)
{
    long year = 400L + c->year - (c->month < 2 ? 1 : 0);
    long month = (c->month + 10) % 12;
    long of_year = (153 * month + 2) / 5 + c->day - 1;
    return year * 365 + year / 4 - year / 100 + year / 400 + of_year - 146097 - 719468;
}

bool tg_http_date_parse(struct tg_slice text, time_t now, time_t *out)
{
    static const char *const names[] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char *const rests[] = {"day", "day", "sday", "nesday", "rsday", "day", "urday"};
    struct reader r = {text.p, text.p + text.len, true};
    struct civil c = {0};
    size_t name = 0;
    while (name < 7 && (text.len < NAME_LEN || memcmp(text.p, names[name], NAME_LEN) != 0))
        name++;
    if (name == 7)
        return false;
    r.p += NAME_LEN;
    r.bad = false;
    if (r.p < r.end && *r.p == ',') {
        fixdate(&r, &c);
    } else if (r.p < r.end && *r.p == ' ') {
        ctime_form(&r, &c);
    } else {
        literal(&r, rests[name]);
        rfc850(&r, &c, now);
    }
    if (r.bad || r.p != r.end || !is_valid(&c))
        return false;
    *out = ((days_since_epoch(&c) * 24 + c.hour) * 60 + c.minute) * 60 + c.second;
    return true;
}
