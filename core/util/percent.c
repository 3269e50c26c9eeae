/* percent.c - escapes, one byte at a time. */
#include "util/percent.h"

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return -1;
}

/* The byte that the escape at p stands for, or -1 when none starts there. */
static int escape(const char *p, const char *end)
{
    if (*p != '%' || end - p < 3)
        return -1;
    int high = hex(p[1]);
    int low = hex(p[2]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

bool tg_percent_valid(const char *bytes, size_t len)
{
    const char *p = bytes;
    const char *end = bytes + len;
    while (p < end && (p = memchr(p, '%', (size_t)(end - p))) != NULL) {
        if (escape(p, end) < 0)
            return false;
        p += 3;
    }
    return true;
}

bool tg_percent_has_nul(const char *bytes, size_t len)
{
    const char *p = bytes;
    const char *end = bytes + len;
    if (len && memchr(bytes, '\0', len))
        return true;
    while (p < end && (p = memchr(p, '%', (size_t)(end - p))) != NULL) {
        if (escape(p, end) == 0)
            return true;
        p++;
    }
    return false;
}

unsigned char tg_percent_next(const char **p, const char *end)
{
    int byte = escape(*p, end);
    if (byte < 0)
        return (unsigned char)*(*p)++;
    *p += 3;
    return (unsigned char)byte;
}

size_t tg_percent_decode(const char *bytes, size_t len, bool form, char *out)
{
    const char *p = bytes;
    const char *end = bytes + len;
    char *to = out;
    while (p < end) {
        if (form && *p == '+') {
            *to++ = ' ';
            p++;
        } else {
            *to++ = (char)tg_percent_next(&p, end);
        }
    }
    return (size_t)(to - out);
}

static bool unreserved(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '-' ||
           c == '.' || c == '_' || c == '~';
}

size_t tg_percent_encode(const char *bytes, size_t len, bool keep_slash, char *out)
{
    static const char digits[] = "0123456789ABCDEF";
    char *to = out;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)bytes[i];
        if (unreserved(bytes[i]) || (keep_slash && c == '/')) {
            *to++ = bytes[i];
            continue;
        }
        *to++ = '%';
        *to++ = digits[c >> 4];
        *to++ = digits[c & 15];
    }
    return (size_t)(to - out);
}

/* Takes what comes before the first separator off *rest, and the separator with it. */
static struct tg_slice cut(struct tg_slice *rest, char separator)
{
    struct tg_slice head = *rest;
    const char *at = rest->len ? memchr(rest->p, separator, rest->len) : NULL;
    if (!at) {
        *rest = (struct tg_slice){rest->p + rest->len, 0};
        return head;
    }
    head.len = (size_t)(at - rest->p);
    *rest = (struct tg_slice){at + 1, rest->len - head.len - 1};
    return head;
}

bool tg_query_next(struct tg_slice *rest, struct tg_slice *name, struct tg_slice *value)
{
    while (rest->len) {
        struct tg_slice piece = cut(rest, '&');
        if (!piece.len)
            continue;
        *value = piece;
        *name = cut(value, '=');
        return true;
    }
    return false;
}
