/* json.c - strings escaped eight bytes at a time, and numbers as short as they can be. */
#include "body/json.h"

#include <endian.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static enum tg_status outcome(const struct tg_writer *w)
{
    if (w->failed)
        return w->failed;
    return w->must_wait ? TG_AGAIN : TG_OK;
}

/* --- Strings ---------------------------------------------------------------------------------- */

/* A set high bit for the first byte of eight that does not stay as it is, or whose place in UTF-8
 * has to be looked at; 0 when there is none.  Bits of later bytes mean nothing. */
static inline uint64_t special(uint64_t x)
{
    const uint64_t ones = 0x0101010101010101u;
    uint64_t control = x - 0x20 * ones;
    uint64_t quote = (x ^ ('"' * ones)) - ones;
    uint64_t backslash = (x ^ ('\\' * ones)) - ones;
    return (control | quote | backslash) & (0x80 * ones); /* bytes from 0x80 on are in it, too */
}

static inline uint64_t load(const char *s)
{
    uint64_t x;
    memcpy(&x, s, sizeof x);
    return le64toh(x);
}

static inline bool is_plain(unsigned char c)
{
    return c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
}

/* Copies the plain bytes that s begins with; returns how many.  May write up to len bytes. */
static inline size_t copy_plain(char *out, const char *s, size_t len)
{
    size_t i = 0;
    for (; len - i >= 8; i += 8) {
        uint64_t found = special(load(s + i));
        memcpy(out + i, s + i, 8);
        if (found)
            return i + (size_t)__builtin_ctzll(found) / 8;
    }
    if (len >= 8 && i < len && !special(load(s + len - 8))) {
        memcpy(out + len - 8, s + len - 8, 8);
        return len;
    }
    for (; i < len && is_plain((unsigned char)s[i]); i++)
        out[i] = s[i];
    return i;
}

static inline bool continues(unsigned char c)
{
    return (c & 0xc0) == 0x80;
}

/* Length of the UTF-8 sequence (RFC 3629) of two bytes or more that s begins with; 0: none. */
static size_t sequence(const char *s, size_t len)
{
    const unsigned char *p = (const unsigned char *)s;
    if (p[0] < 0xc2 || p[0] > 0xf4 || len < 2 || !continues(p[1]))
        return 0;
    if (p[0] < 0xe0)
        return 2;
    if (len < 3 || !continues(p[2]))
        return 0;
    if (p[0] < 0xf0) {
        bool overlong = p[0] == 0xe0 && p[1] < 0xa0;
        bool surrogate = p[0] == 0xed && p[1] >= 0xa0;
        return overlong || surrogate ? 0 : 3;
    }
    bool overlong = p[0] == 0xf0 && p[1] < 0x90;
    bool too_large = p[0] == 0xf4 && p[1] >= 0x90;
    return len < 4 || !continues(p[3]) || overlong || too_large ? 0 : 4;
}

enum { ESCAPE_MAX = 6 };

/* Prints the one character at s, which is not plain; *taken is its length. */
static size_t escape(char *out, const char *s, size_t len, size_t *taken)
{
    static const char digits[] = "0123456789abcdef";
    static const char letters[] = "btn\0fr"; /* from 8 on */
    static const char unicode[] = {'\\', 'u', '0', '0'};
    unsigned char c = (unsigned char)*s;
    *taken = 1;
    if (c >= 0x80) {
        size_t n = sequence(s, len);
        memcpy(out, n ? s : "\xef\xbf\xbd", n ? n : 3);
        *taken = n ? n : 1;
        return n ? n : 3;
    }
    out[0] = '\\';
    out[1] = (char)c;
    if (c >= 0x20)
        return 2;
    if (c >= 8 && c <= 13 && letters[c - 8]) {
        out[1] = letters[c - 8];
        return 2;
    }
    memcpy(out, unicode, sizeof unicode);
    out[4] = digits[c >> 4];
    out[5] = digits[c & 15];
    return 6;
}

size_t tg_json_escape(char *out, size_t size, const char **s, size_t *len)
{
    size_t used = 0;
    while (*len && size - used >= ESCAPE_MAX) {
        size_t room = size - used < *len ? size - used : *len;
        size_t n = copy_plain(out + used, *s, room);
        used += n;
        *s += n;
        *len -= n;
        while (*len && size - used >= ESCAPE_MAX && !is_plain((unsigned char)**s)) {
            size_t taken;
            used += escape(out + used, *s, *len, &taken);
            *s += taken;
            *len -= taken;
        }
    }
    return used;
}

static enum tg_status print_long(struct tg_writer *w, const char *s, size_t len)
{
    while (len) {
        size_t size = len < TG_WRITER_ROOM_MAX / ESCAPE_MAX ? ESCAPE_MAX * len : TG_WRITER_ROOM_MAX;
        char *out = tg_writer_room(w, size);
        if (!out)
            return w->failed;
        tg_writer_advance(w, tg_json_escape(out, size, &s, &len));
    }
    return tg_writer_write(w, "\"", 1);
}

enum tg_status tg_json_string(struct tg_writer *w, const char *s, size_t len)
{
    size_t first = len < TG_WRITER_ROOM_MAX - 2 ? len : TG_WRITER_ROOM_MAX - 2;
    char *out = tg_writer_room(w, first + 2);
    if (!out)
        return w->failed;
    *out = '"';
    size_t n = copy_plain(out + 1, s, first);
    if (n == len) {
        out[len + 1] = '"';
        tg_writer_advance(w, len + 2);
        return outcome(w);
    }
    tg_writer_advance(w, n + 1);
    return print_long(w, s + n, len - n);
}

size_t tg_json_quote(char *out, size_t size, const char *s, size_t len)
{
    if (len > size - 2)
        return 0;
    *out = '"';
    size_t n = copy_plain(out + 1, s, len);
    if (n < len) {
        size_t left = len - n;
        s += n;
        n += tg_json_escape(out + 1 + n, size - 2 - n, &s, &left);
        if (left)
            return 0;
    }
    out[n + 1] = '"';
    return n + 2;
}

/* --- Numbers ---------------------------------------------------------------------------------- */

static size_t count_digits(uint64_t n)
{
    size_t count = 1;
    for (;; count += 4, n /= 10000) {
        if (n < 10)
            return count;
        if (n < 100)
            return count + 1;
        if (n < 1000)
            return count + 2;
        if (n < 10000)
            return count + 3;
    }
}

/* Exactly len digits, with zeros before the number. */
static inline void print_digits(char *out, uint64_t n, size_t len)
{
    static const char pairs[] =
        "00010203040506070809101112131415161718192021222324252627282930313233"
        "34353637383940414243444546474849505152535455565758596061626364656667"
        "6869707172737475767778798081828384858687888990919293949596979899";
    while (len >= 2) {
        len -= 2;
        memcpy(out + len, pairs + 2 * (n % 100), 2);
        n /= 100;
    }
    if (len)
        *out = (char)('0' + n % 10);
}

static inline size_t print_unsigned(char *out, uint64_t n)
{
    size_t len = count_digits(n);
    print_digits(out, n, len);
    return len;
}

size_t tg_format_integer(char *out, int64_t n)
{
    if (n >= 0)
        return print_unsigned(out, (uint64_t)n);
    *out = '-';
    return 1 + print_unsigned(out + 1, 0 - (uint64_t)n);
}

static size_t print_decimal(char *out, uint64_t scaled, uint64_t scale, size_t places)
{
    size_t len = print_unsigned(out, scaled / scale);
    out[len++] = '.';
    print_digits(out + len, scaled % scale, places);
    return len + places;
}

/* The fewest places after the point, while all digits are no more than 15.  Both scaled and scale are
 * then doubles without error, and their quotient is rounded as reading the decimal is: when it is
 * n, the decimal reads back as n.  Returns 0 for numbers that need more digits. */
static size_t print_short(char *out, double n)
{
    static const double powers[] = {1,   1e1, 1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                    1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15};
    const double most = 1e15;
    if (n >= most || (n < 1e-4 && n > 0))
        return 0;
    uint64_t scale = 10;
    for (size_t places = 1; places <= 15; places++, scale *= 10) {
        double scaled = n * powers[places];
        if (scaled >= most)
            return 0;
        uint64_t rounded = (uint64_t)(scaled + 0.5);
        if ((double)rounded / powers[places] == n)
            return print_decimal(out, rounded, scale, places);
    }
    return 0;
}

/* Makes one '.' of the locale's decimal point, and gives an integral text a fraction. */
static size_t tidy(char *out, const char *text)
{
    size_t len = 0;
    bool is_float = false;
    for (const char *p = text; *p; p++) {
        bool known = (*p >= '0' && *p <= '9') || *p == '-' || *p == '+' || *p == 'e';
        if (known)
            out[len++] = *p;
        else if (!len || out[len - 1] != '.')
            out[len++] = '.';
        is_float = is_float || !known || *p == 'e';
    }
    if (!is_float) {
        out[len++] = '.';
        out[len++] = '0';
    }
    return len;
}

size_t tg_format_number(char *out, double n)
{
    char text[TG_NUMBER_MAX + 8];
    if (!isfinite(n))
        return 0;
    size_t sign = signbit(n) ? 1 : 0;
    if (sign)
        *out = '-';
    double positive = fabs(n);
    size_t len = print_short(out + sign, positive);
    if (len)
        return sign + len;
    for (int digits = positive < DBL_MIN ? 1 : 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, positive);
        if (strtod(text, NULL) == positive)
            break;
    }
    return sign + tidy(out + sign, text);
}

enum tg_status tg_json_integer(struct tg_writer *w, int64_t n)
{
    char *out = tg_writer_room(w, TG_NUMBER_MAX);
    if (!out)
        return w->failed;
    tg_writer_advance(w, tg_format_integer(out, n));
    return outcome(w);
}

enum tg_status tg_json_number(struct tg_writer *w, double n)
{
    char text[TG_NUMBER_MAX];
    size_t len = tg_format_number(text, n); /* before there is room to fill: n may be NaN */
    return len ? tg_writer_write(w, text, len) : TG_EINVAL;
}
