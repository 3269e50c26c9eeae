/* fuzz_json.c - prints any bytes as a JSON string, and as numbers, and reads them back strictly; and
 * asks whether they are JSON themselves.
 * Input: the string; its first eight bytes are also an integer and a double. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "body/json.h"
#include "body/json_check.h"
#include "kept.h"

/* --- A strict reader -------------------------------------------------------------------------- */

struct reader {
    const unsigned char *p;
    const unsigned char *end;
};

static unsigned hex(struct reader *r, int digits)
{
    unsigned value = 0;
    while (digits--) {
        CHECK(r->p < r->end);
        unsigned c = *r->p++;
        CHECK((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'));
        value = value * 16 + (c <= '9' ? c - '0' : c - 'a' + 10);
    }
    return value;
}

static unsigned read_escape(struct reader *r)
{
    static const char names[] = "\"\\bfnrt";
    static const char values[] = "\"\\\b\f\n\r\t";
    CHECK(r->p < r->end);
    unsigned char c = *r->p++;
    if (c == 'u') {
        unsigned value = hex(r, 4);
        CHECK(value < 0x20); /* nothing else is escaped */
        return value;
    }
    const char *name = c ? strchr(names, c) : NULL;
    CHECK(name);
    return (unsigned char)values[name - names];
}

/* The code point at r; UINT32_MAX, and one byte taken, when there is no valid one. */
static uint32_t read_utf8(struct reader *r)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    unsigned char c = *r->p;
    int len = c < 0x80 ? 1 : c < 0xc0 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf8 ? 4 : 0;
    uint32_t code = len == 1 ? c : c & (0xffu >> (len + 1));
    bool valid = len > 0 && r->end - r->p >= len;
    for (int i = 1; valid && i < len; i++) {
        valid = (r->p[i] & 0xc0) == 0x80;
        code = code << 6 | (r->p[i] & 0x3f);
    }
    valid = valid && code >= least[len] && code <= 0x10ffff && (code < 0xd800 || code > 0xdfff);
    r->p += valid ? len : 1;
    return valid ? code : UINT32_MAX;
}

static void check_string(const struct kept *printed, const uint8_t *data, size_t size)
{
    struct reader r = {(const unsigned char *)printed->bytes,
                       (const unsigned char *)printed->bytes + printed->len};
    struct reader wanted = {data, data + size};
    CHECK(printed->len >= 2 && *r.p++ == '"' && *--r.end == '"');
    while (r.p < r.end) {
        CHECK(wanted.p < wanted.end);
        uint32_t expected = read_utf8(&wanted);
        CHECK(*r.p >= 0x20 && *r.p != '"');
        uint32_t found = read_utf8(&r);
        if (found == '\\')
            found = read_escape(&r);
        CHECK(found == (expected == UINT32_MAX ? 0xfffd : expected));
    }
    CHECK(wanted.p == wanted.end);
}

/* number = [ "-" ] int [ frac ] [ exp ] (RFC 8259, 6) */
static void check_grammar(const char *text, bool is_float)
{
    bool seen = false;
    text += *text == '-';
    CHECK(*text >= '0' && *text <= '9');
    text += *text == '0' ? 1 : strspn(text, "0123456789");
    if (*text == '.') {
        size_t digits = strspn(++text, "0123456789");
        CHECK(digits);
        text += digits;
        seen = true;
    }
    if (*text == 'e') {
        text++;
        text += *text == '-' || *text == '+';
        size_t digits = strspn(text, "0123456789");
        CHECK(digits);
        text += digits;
        seen = true;
    }
    CHECK(!*text && seen == is_float);
}

static void check_numbers(const uint8_t *data)
{
    char text[TG_NUMBER_MAX + 1];
    int64_t integer;
    double number;
    memcpy(&integer, data, sizeof integer);
    memcpy(&number, data, sizeof number);

    size_t len = tg_format_integer(text, integer);
    CHECK(len && len <= TG_NUMBER_MAX);
    text[len] = '\0';
    check_grammar(text, false);
    CHECK(strtoll(text, NULL, 10) == integer);

    len = tg_format_number(text, number);
    CHECK(len <= TG_NUMBER_MAX && (len > 0) == (isfinite(number) != 0));
    if (!len)
        return;
    text[len] = '\0';
    check_grammar(text, true);
    double back = strtod(text, NULL);
    CHECK(back == number && signbit(back) == signbit(number));
}

/* What is JSON is that again as the one element of a list, and with something behind it no more. */
static void check_validity(struct tg_slice text)
{
    bool valid = tg_json_valid(text);
    char *list = malloc(text.len + 3);
    CHECK(list);
    list[0] = '[';
    if (text.len)
        memcpy(list + 1, text.p, text.len);
    list[text.len + 1] = ']';
    list[text.len + 2] = '!';
    if (valid)
        CHECK(tg_utf8_valid(text));
    CHECK(!tg_json_valid((struct tg_slice){list, text.len + 3}));
    if (valid && !tg_json_valid((struct tg_slice){list, text.len + 2}))
        CHECK(memchr(text.p, '[', text.len) || memchr(text.p, '{', text.len)); /* too deep now */
    free(list);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct kept kept;
    kept_begin(&kept);
    CHECK(tg_json_string(&kept.writer, (const char *)data, size) == TG_OK);
    kept_end(&kept);
    check_string(&kept, data, size);
    CHECK(tg_json_valid((struct tg_slice){kept.bytes, kept.len}));
    check_validity((struct tg_slice){(const char *)data, size});
    if (size >= 8)
        check_numbers(data);
    kept_free(&kept);
    return 0;
}
