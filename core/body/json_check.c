/* json_check.c - reads a JSON text and keeps nothing of it. */
#include "body/json_check.h"

struct reader {
    const char *at;
    const char *end;
    int depth;
    bool too_deep;
};

static int peek(const struct reader *r)
{
    return r->at < r->end ? (unsigned char)*r->at : -1;
}

static void skip_space(struct reader *r)
{
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\t' || *r->at == '\n' || *r->at == '\r'))
        r->at++;
}

static bool take(struct reader *r, char c)
{
    if (peek(r) != c)
        return false;
    r->at++;
    return true;
}

static bool take_word(struct reader *r, struct tg_slice word)
{
    if ((size_t)(r->end - r->at) < word.len || memcmp(r->at, word.p, word.len) != 0)
        return false;
    r->at += word.len;
    return true;
}

static bool take_digits(struct reader *r)
{
    const char *from = r->at;
    while (peek(r) >= '0' && peek(r) <= '9')
        r->at++;
    return r->at > from;
}

static bool take_number(struct reader *r)
{
    take(r, '-');
    if (!take(r, '0') && !take_digits(r))
        return false;
    if (take(r, '.') && !take_digits(r))
        return false;
    if (!take(r, 'e') && !take(r, 'E'))
        return true;
    if (!take(r, '+'))
        take(r, '-');
    return take_digits(r);
}

static bool is_hex(int c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* Behind the backslash. */
static bool take_escape(struct reader *r)
{
    int c = peek(r);
    if (c < 0)
        return false;
    r->at++;
    if (c != 'u')
        return c && strchr("\"\\/bfnrt", c);
    for (int i = 0; i < 4; i++, r->at++)
        if (!is_hex(peek(r)))
            return false;
    return true;
}

static bool take_string(struct reader *r)
{
    if (!take(r, '"'))
        return false;
    for (;;) {
        int c = peek(r);
        if (c < 0x20)
            return false;
        r->at++;
        if (c == '"')
            return true;
        if (c == '\\' && !take_escape(r))
            return false;
    }
}

static bool take_value(struct reader *r);

/* What is between two brackets, the first of which is taken. */
static bool take_members(struct reader *r, char close, bool named)
{
    skip_space(r);
    if (take(r, close))
        return true;
    for (;;) {
        skip_space(r);
        if (named && !take_string(r))
            return false;
        skip_space(r);
        if (named && !take(r, ':'))
            return false;
        if (!take_value(r))
            return false;
        if (take(r, close))
            return true;
        if (!take(r, ','))
            return false;
    }
}

static bool take_nested(struct reader *r, char close, bool named)
{
    r->too_deep = r->depth == TG_JSON_DEPTH_MAX;
    if (r->too_deep)
        return false;
    r->depth++;
    bool taken = take_members(r, close, named);
    r->depth--;
    return taken;
}

/* With the white space around it. */
static bool take_value(struct reader *r)
{
    bool taken;
    skip_space(r);
    if (take(r, '{'))
        taken = take_nested(r, '}', true);
    else if (take(r, '['))
        taken = take_nested(r, ']', false);
    else if (peek(r) == '"')
        taken = take_string(r);
    else
        taken = take_word(r, TG_SLICE("true")) || take_word(r, TG_SLICE("false")) ||
                take_word(r, TG_SLICE("null")) || take_number(r);
    if (taken)
        skip_space(r);
    return taken;
}

/* The bounds of a sequence's second byte, by its first (RFC 3629, 4). */
static void second_byte(unsigned char first, unsigned char *low, unsigned char *high)
{
    *low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    *high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
}

/* Bytes of valid UTF-8 that text begins with. */
static size_t measure_utf8(struct tg_slice text)
{
    const unsigned char *p = (const unsigned char *)text.p;
    size_t i = 0;
    while (i < text.len) {
        size_t first = i;
        unsigned char c = p[i++];
        if (c < 0x80)
            continue;
        if (c < 0xc2 || c > 0xf4)
            return first;
        unsigned char low;
        unsigned char high;
        second_byte(c, &low, &high);
        for (int more = c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3; more; more--, low = 0x80, high = 0xbf)
            if (i == text.len || p[i] < low || p[i++] > high)
                return first;
    }
    return i;
}

bool tg_utf8_valid(struct tg_slice text)
{
    return measure_utf8(text) == text.len;
}

enum tg_json_fault tg_json_check(struct tg_slice text, size_t *at)
{
    *at = measure_utf8(text);
    if (*at < text.len)
        return TG_JSON_NOT_UTF8;
    if (!text.len)
        return TG_JSON_UNEXPECTED;
    struct reader r = {text.p, text.p + text.len, 0, false};
    bool taken = take_value(&r);
    *at = (size_t)(r.at - text.p);
    if (taken && *at == text.len)
        return TG_JSON_FINE;
    return r.too_deep ? TG_JSON_TOO_DEEP : TG_JSON_UNEXPECTED;
}

bool tg_json_valid(struct tg_slice text)
{
    size_t at;
    return tg_json_check(text, &at) == TG_JSON_FINE;
}
