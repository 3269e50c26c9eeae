/* request.c - writes heads of requests (RFC 9112, 3). */
#include "upstream/request.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static bool is(struct tg_slice name, struct tg_slice other)
{
    return tg_slice_equal_nocase(name, other);
}

static bool has(const struct tg_request_head *head, struct tg_slice name)
{
    for (size_t i = 0; i < head->field_count; i++)
        if (is(head->fields[i].name, name))
            return true;
    return false;
}

/* Goes wrong once, and then for good. */
struct text {
    struct tg_buf *out;
    enum tg_status status;
};

static void add(struct text *text, const char *bytes, size_t len)
{
    if (text->status == TG_OK)
        text->status = tg_buf_add(text->out, bytes, len);
}

static void add_string(struct text *text, const char *s)
{
    add(text, s, strlen(s));
}

static void add_slice(struct text *text, struct tg_slice slice)
{
    add(text, slice.p, slice.len);
}

/* What one server was to know is nothing to another. */
static bool is_private(struct tg_slice name)
{
    return is(name, TG_SLICE("authorization")) || is(name, TG_SLICE("cookie")) ||
           is(name, TG_SLICE("host"));
}

static void add_fields(struct text *text, const struct tg_request_head *head)
{
    for (size_t i = 0; i < head->field_count; i++) {
        const struct tg_fetch_field *field = &head->fields[i];
        if (head->elsewhere && is_private(field->name))
            continue;
        add_slice(text, field->name);
        add(text, ": ", 2);
        add_slice(text, field->value);
        add(text, "\r\n", 2);
    }
}

/* Methods whose meaning has to do with a body say that there is none (RFC 9110, 8.6). */
static bool says_no_body(const char *method)
{
    return strcmp(method, "POST") == 0 || strcmp(method, "PUT") == 0 ||
           strcmp(method, "PATCH") == 0;
}

static void add_framing(struct text *text, const struct tg_request_head *head)
{
    char line[64];
    if (head->has_body && head->length == TG_FETCH_LENGTH_UNKNOWN) {
        add_string(text, "Transfer-Encoding: chunked\r\n");
    } else if (head->has_body || says_no_body(head->method)) {
        snprintf(line, sizeof line, "Content-Length: %" PRIu64 "\r\n",
                 head->has_body ? head->length : 0);
        add_string(text, line);
    }
}

enum tg_status tg_request_head_write(const struct tg_request_head *head, const struct tg_url *url,
                                     struct tg_buf *out)
{
    struct text text = {out, TG_OK};
    add_string(&text, head->method);
    add(&text, " /", url->target.len && *url->target.p == '/' ? 1 : 2);
    add_slice(&text, url->target);
    add_string(&text, head->old ? " HTTP/1.0\r\n" : " HTTP/1.1\r\n");
    if (head->elsewhere || !has(head, TG_SLICE("host"))) {
        add(&text, "Host: ", 6);
        add_slice(&text, url->authority);
        add(&text, "\r\n", 2);
    }
    add_fields(&text, head);
    if (head->decodes && !has(head, TG_SLICE("accept-encoding")))
        add_string(&text, "Accept-Encoding: gzip, deflate\r\n");
    if (head->old)
        add_string(&text, "Connection: close\r\n");
    add_framing(&text, head);
    add(&text, "\r\n", 2);
    return text.status;
}
