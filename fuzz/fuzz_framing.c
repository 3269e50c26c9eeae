/* fuzz_framing.c - takes hostile bodies apart, cut in every way, and checks them against a plain
 * reading of the grammar.  Input: an odd byte for chunked, else twice the length; then the bytes. */
#include <stdint.h>
#include <stdlib.h>

#include "http/framing.h"
#include "util/mem.h"

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition))                                                                          \
            abort();                                                                               \
    } while (0)

struct body {
    char *payload; /* room for as many bytes as were sent */
    size_t len;
    size_t used;
    enum tg_framing_state state;
};

static void keep(struct body *body, struct tg_slice data, struct tg_slice used)
{
    if (!data.len)
        return;
    CHECK(data.p >= used.p && data.p + data.len <= used.p + used.len);
    memcpy(body->payload + body->len, data.p, data.len);
    body->len += data.len;
}

static void feed(struct tg_framing *framing, const char *bytes, size_t len, struct body *body)
{
    size_t at = 0;
    while (tg_framing_state(framing) == TG_FRAMING_MORE && at < len) {
        struct tg_slice data;
        size_t used = tg_framing_next(framing, bytes + at, len - at, &data);
        CHECK(used > 0 && used <= len - at);
        keep(body, data, (struct tg_slice){bytes + at, used});
        at += used;
    }
    body->used += at;
}

/* Fed in pieces, each in a block of its own, so that a sanitizer sees a read past its end. */
static struct body decode(struct tg_framing framing, struct tg_slice bytes, size_t piece)
{
    struct body body = {.payload = tg_malloc(bytes.len + 1)};
    CHECK(body.payload);
    for (size_t at = 0; at < bytes.len; at += piece) {
        size_t n = piece < bytes.len - at ? piece : bytes.len - at;
        char *copy = tg_malloc(n);
        CHECK(copy);
        memcpy(copy, bytes.p + at, n);
        feed(&framing, copy, n, &body);
        tg_free(copy);
        if (tg_framing_state(&framing) != TG_FRAMING_MORE)
            break;
    }
    body.state = tg_framing_state(&framing);
    struct tg_slice none;
    if (body.state != TG_FRAMING_MORE)
        CHECK(tg_framing_next(&framing, "0\r\n\r\n", 5, &none) == 0 && none.len == 0);
    return body;
}

/* The line at the front, without its CRLF, which is taken off; false when there is none. */
static bool take_line(struct tg_slice *rest, struct tg_slice *line)
{
    const char *end = memmem(rest->p, rest->len, "\r\n", 2);
    if (!end)
        return false;
    *line = (struct tg_slice){rest->p, (size_t)(end - rest->p)};
    *rest = (struct tg_slice){end + 2, rest->len - line->len - 2};
    return tg_is_field_value(line->p, line->len);
}

/* 1 to 15 hex digits, then nothing or ';' and what follows it. */
static bool read_size(struct tg_slice line, uint64_t *size)
{
    size_t n = 0;
    *size = 0;
    if (line.len > TG_CHUNK_LINE_MAX)
        return false;
    for (; n < line.len && line.p[n] != ';'; n++) {
        const char *digits = "0123456789abcdef0123456789ABCDEF";
        const char *digit = line.p[n] ? strchr(digits, line.p[n]) : NULL;
        if (!digit || n == 15)
            return false;
        *size = *size * 16 + (uint64_t)((digit - digits) % 16);
    }
    return n > 0;
}

static bool take_trailers(struct tg_slice *rest)
{
    struct tg_slice line;
    const char *from = rest->p;
    do {
        if (!take_line(rest, &line))
            return false;
        const char *colon = line.len ? memchr(line.p, ':', line.len) : NULL;
        if (line.len && (!colon || !tg_is_token(line.p, (size_t)(colon - line.p))))
            return false;
    } while (line.len);
    return rest->p - from <= TG_TRAILERS_MAX;
}

/* How many bytes a whole chunked body at the front has, with its payload; 0 when there is none. */
static size_t read_plainly(struct tg_slice bytes, char *payload, size_t *len)
{
    struct tg_slice rest = bytes;
    struct tg_slice line;
    uint64_t size;
    *len = 0;
    for (;;) {
        if (!take_line(&rest, &line) || !read_size(line, &size))
            return 0;
        if (!size)
            return take_trailers(&rest) ? bytes.len - rest.len : 0;
        if (rest.len < 2 || size > rest.len - 2 || memcmp(rest.p + size, "\r\n", 2) != 0)
            return 0;
        memcpy(payload + *len, rest.p, size);
        *len += size;
        rest = (struct tg_slice){rest.p + size + 2, rest.len - size - 2};
    }
}

static void check_chunked(struct tg_slice bytes, const struct body *body)
{
    size_t len;
    char *payload = tg_malloc(bytes.len + 1);
    CHECK(payload);
    size_t used = read_plainly(bytes, payload, &len);
    CHECK((used > 0) == (body->state == TG_FRAMING_DONE));
    if (used) {
        CHECK(used == body->used && len == body->len);
        CHECK(memcmp(payload, body->payload, len) == 0);
    }
    tg_free(payload);
}

static void check_length(struct tg_slice bytes, const struct body *body, uint64_t length)
{
    size_t most = length < bytes.len ? (size_t)length : bytes.len;
    CHECK(body->used == most && body->len == most);
    CHECK(body->state == (most == length ? TG_FRAMING_DONE : TG_FRAMING_MORE));
    CHECK(memcmp(bytes.p, body->payload, most) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size)
        return 0;
    struct tg_slice bytes = {(const char *)data + 1, size - 1};
    struct tg_framing framing;
    uint64_t length = *data / 2;
    enum tg_framing_kind kind = *data % 2 ? TG_FRAMING_CHUNKED : TG_FRAMING_LENGTH;
    tg_framing_init(&framing, kind, length);
    struct body whole = decode(framing, bytes, bytes.len);
    static const size_t pieces[] = {1, 2, 3, 7};
    for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
        struct body other = decode(framing, bytes, pieces[i]);
        CHECK(other.state == whole.state && other.used == whole.used && other.len == whole.len);
        CHECK(memcmp(other.payload, whole.payload, whole.len) == 0);
        tg_free(other.payload);
    }
    if (kind == TG_FRAMING_CHUNKED)
        check_chunked(bytes, &whole);
    else
        check_length(bytes, &whole, length);
    tg_free(whole.payload);
    return 0;
}
