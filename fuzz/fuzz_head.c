/* fuzz_head.c - parses hostile heads, and checks what is accepted against what was sent.
 * Input: the bytes of a connection. */
#include <stdint.h>
#include <stdlib.h>

#include "http/head.h"
#include "util/mem.h"

enum { FIELDS = 64 };

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition))                                                                          \
            abort();                                                                               \
    } while (0)

static const struct tg_head_limits no_limits = {0, 0};

/* As a connection looks for a head whose bytes come in pieces: first one byte, then step at a time. */
static long find_slowly(const char *bytes, size_t len, size_t step)
{
    size_t scanned = 0;
    for (size_t n = 1;; n = step < len - n ? n + step : len) {
        size_t blank = tg_head_blank(bytes, n);
        CHECK(blank <= n && blank % 2 == 0);
        long end = tg_head_find_end(bytes + blank, n - blank, &scanned);
        if (end || n == len)
            return end;
    }
}

static void check_end(const char *bytes, size_t len, long end)
{
    CHECK(end >= 4 && (size_t)end <= len);
    CHECK(memcmp(bytes + end - 4, "\r\n\r\n", 4) == 0);
    CHECK(memmem(bytes, (size_t)end - 1, "\r\n\r\n", 4) == NULL);
}

static void check_span(struct tg_slice head, struct tg_span span, bool spaces)
{
    CHECK(span.at <= head.len && span.len <= head.len - span.at);
    for (uint32_t i = 0; i < span.len; i++) {
        unsigned char c = (unsigned char)head.p[span.at + i];
        CHECK((c > ' ' && c != 127) || (spaces && (c == ' ' || c == '\t')));
    }
}

static bool named(struct tg_slice head, const struct tg_field *field, const char *name)
{
    struct tg_slice is = {head.p + field->name, field->name_len};
    return tg_slice_equal_nocase(is, (struct tg_slice){name, strlen(name)});
}

static size_t count(struct tg_slice bytes, const struct tg_head *head,
                    const struct tg_field *fields, const char *name)
{
    size_t n = 0;
    for (size_t i = 0; i < head->field_count; i++)
        n += named(bytes, &fields[i], name);
    return n;
}

static void check_fields(struct tg_slice bytes, const struct tg_head *head,
                         const struct tg_field *fields)
{
    size_t lines = 0;
    for (size_t i = 0; i < head->field_count; i++) {
        const struct tg_field *f = &fields[i];
        check_span(bytes, (struct tg_span){f->name, f->name_len}, false);
        check_span(bytes, (struct tg_span){f->value, f->value_len}, true);
        CHECK(tg_is_token(bytes.p + f->name, f->name_len));
        CHECK(tg_is_field_value(bytes.p + f->value, f->value_len));
        CHECK(bytes.p[f->name + f->name_len] == ':');
    }
    for (size_t i = 0; i < bytes.len; i++)
        lines += bytes.p[i] == '\n';
    CHECK(lines == head->field_count + 2);
}

static void check_meaning(struct tg_slice bytes, const struct tg_head *head,
                          const struct tg_field *fields)
{
    size_t hosts = count(bytes, head, fields, "host");
    size_t lengths = count(bytes, head, fields, "content-length");
    size_t codings = count(bytes, head, fields, "transfer-encoding");
    CHECK(hosts == 1 || (hosts == 0 && head->minor == 0));
    CHECK(lengths + codings <= 1);
    CHECK((head->framing == TG_FRAMING_LENGTH) == (lengths == 1));
    CHECK((head->framing == TG_FRAMING_CHUNKED) == (codings == 1));
    CHECK(head->length == 0 || (lengths == 1 && head->length < 1000000000000000000));
    CHECK(head->minor == 1 || (head->minor == 0 && head->close && !codings));
    CHECK(!head->expect_continue || head->minor == 1);
    CHECK(head->method.len > 0 && head->method.len <= 32);
    char first = bytes.p[head->path.at];
    CHECK(head->path.len > 0 && (first == '/' || (first == '*' && head->path.len == 1)));
    CHECK(head->has_query || head->query.len == 0);
}

static char *append(char *at, const char *bytes, size_t len)
{
    memcpy(at, bytes, len);
    return at + len;
}

/* Printed again from its parts, a head means the same. */
static void check_again(struct tg_slice bytes, const struct tg_head *head,
                        const struct tg_field *fields)
{
    char *again = tg_malloc(bytes.len + head->field_count);
    CHECK(again);
    char *at = append(again, bytes.p + head->method.at, head->method.len);
    at = append(at, " ", 1);
    at = append(at, bytes.p + head->target.at, head->target.len);
    at = append(at, head->minor ? " HTTP/1.1\r\n" : " HTTP/1.0\r\n", 11);
    for (size_t i = 0; i < head->field_count; i++) {
        at = append(at, bytes.p + fields[i].name, fields[i].name_len);
        at = append(at, ":", 1);
        at = append(at, bytes.p + fields[i].value, fields[i].value_len);
        at = append(at, "\r\n", 2);
    }
    at = append(at, "\r\n", 2);
    size_t len = (size_t)(at - again);
    struct tg_field fields2[FIELDS];
    struct tg_head head2;
    size_t scanned = 0;
    CHECK(tg_head_find_end(again, len, &scanned) == (long)len);
    CHECK(tg_head_parse(again, len, &no_limits, &head2, fields2, FIELDS) == 0);
    CHECK(head2.framing == head->framing && head2.length == head->length);
    CHECK(head2.close == head->close && head2.minor == head->minor);
    CHECK(head2.field_count == head->field_count && head2.secure == head->secure);
    CHECK(head2.path.len == head->path.len && head2.query.len == head->query.len);
    CHECK(head2.authority.len == head->authority.len);
    tg_free(again);
}

static void check_limits(struct tg_slice bytes, const struct tg_head *head)
{
    struct tg_head_limits limits = {head->field_count, head->target.len};
    struct tg_head_limits fewer = {head->field_count - 1, 0};
    struct tg_field fields[FIELDS];
    struct tg_head other;
    CHECK(tg_head_parse(bytes.p, bytes.len, &limits, &other, fields, FIELDS) == 0);
    if (head->field_count)
        CHECK(tg_head_parse(bytes.p, bytes.len, &no_limits, &other, fields, fewer.fields) == 431);
    if (head->field_count > 1)
        CHECK(tg_head_parse(bytes.p, bytes.len, &fewer, &other, fields, FIELDS) == 431);
    limits.target--;
    CHECK(limits.target == 0 ||
          tg_head_parse(bytes.p, bytes.len, &limits, &other, fields, FIELDS) == 414);
}

static void parse(struct tg_slice bytes)
{
    static const int refusals[] = {400, 414, 417, 431, 501, 505};
    struct tg_field fields[FIELDS];
    struct tg_head head;
    int status = tg_head_parse(bytes.p, bytes.len, &no_limits, &head, fields, FIELDS);
    bool known = status == 0;
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++)
        known = known || status == refusals[i];
    CHECK(known);
    if (status)
        return;
    check_span(bytes, head.method, false);
    check_span(bytes, head.target, false);
    check_span(bytes, head.path, false);
    check_span(bytes, head.query, false);
    check_span(bytes, head.authority, false);
    check_fields(bytes, &head, fields);
    check_meaning(bytes, &head, fields);
    check_again(bytes, &head, fields);
    check_limits(bytes, &head);
}

/* In a block of its own, so that a sanitizer sees a read past its end. */
static void parse_copy(const char *bytes, size_t len)
{
    char *copy = tg_malloc(len ? len : 1);
    CHECK(copy);
    memcpy(copy, bytes, len);
    parse((struct tg_slice){copy, len});
    tg_free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *bytes = (const char *)data;
    size_t scanned = 0;
    if (!size)
        return 0;
    size_t blank = tg_head_blank(bytes, size);
    long end = tg_head_find_end(bytes + blank, size - blank, &scanned);
    for (size_t step = 1; step <= 3; step++)
        CHECK(find_slowly(bytes, size, step) == end);
    parse_copy(bytes, size); /* whole or not */
    if (end <= 0)
        return 0;
    check_end(bytes + blank, size - blank, end);
    parse_copy(bytes + blank, (size_t)end);
    return 0;
}
