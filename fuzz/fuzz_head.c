/* fuzz_head.c - heads: what is accepted is clean, and how the bytes arrive makes no difference. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "http/head.h"

enum { FIELDS_MAX = 16 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool what)
{
    if (!what)
        abort();
}

static void check_span(const char *bytes, size_t len, uint32_t at, uint32_t span_len, bool value)
{
    must(at <= len && span_len <= len - at);
    for (uint32_t i = 0; i < span_len; i++) {
        unsigned char c = (unsigned char)bytes[at + i];
        must(c >= 0x20 || (value && c == '\t'));
        must(c != 0x7f);
    }
}

static void check_accepted(const char *bytes, size_t len, const struct tg_head *head,
                           const struct tg_field *fields)
{
    check_span(bytes, len, head->method.at, head->method.len, false);
    check_span(bytes, len, head->target.at, head->target.len, false);
    check_span(bytes, len, head->path.at, head->path.len, false);
    check_span(bytes, len, head->query.at, head->query.len, false);
    check_span(bytes, len, head->authority.at, head->authority.len, false);
    must(head->field_count <= FIELDS_MAX);
    must(tg_is_token(bytes + head->method.at, head->method.len));
    must(head->path.len > 0);
    must(head->framing == TG_FRAMING_LENGTH || head->length == 0);
    for (size_t i = 0; i < head->field_count; i++) {
        check_span(bytes, len, fields[i].name, fields[i].name_len, false);
        check_span(bytes, len, fields[i].value, fields[i].value_len, true);
        must(tg_is_token(bytes + fields[i].name, fields[i].name_len));
        must(tg_is_field_value(bytes + fields[i].value, fields[i].value_len));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tg_head_limits limits = {FIELDS_MAX, 64};
    struct tg_field fields[FIELDS_MAX];
    struct tg_head head;
    char *bytes = calloc(size ? size : 1, 1); /* of this size, so that reading past it is seen */
    if (!bytes)
        return 0;
    if (size)
        memcpy(bytes, data, size);

    size_t scanned = 0;
    long at_once = tg_head_find_end(bytes, size, &scanned);
    scanned = 0;
    long in_steps = 0;
    for (size_t n = 1; n <= size && !in_steps; n++)
        in_steps = tg_head_find_end(bytes, n, &scanned);
    must(at_once == in_steps);
    must(tg_head_blank(bytes, size) <= 4);

    if (at_once > 0) {
        int status = tg_head_parse(bytes, (size_t)at_once, &limits, &head, fields, FIELDS_MAX);
        must(status == 0 || (status >= 400 && status <= 505));
        if (status == 0)
            check_accepted(bytes, (size_t)at_once, &head, fields);
    }
    free(bytes);
    return 0;
}
