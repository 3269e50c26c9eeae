/* head.c - request heads: one pass, from character class to character class.
 *
 * Nothing here asks where the bytes end: a head ends in CRLFCRLF, and every run stops at a CR at the
 * latest.
 */
#include "http/head.h"

#include <arpa/inet.h>

#include "http/chars.h"
#include "util/percent.h"

enum {
    METHOD_MAX = 32,
    LENGTH_DIGITS_MAX = 18, /* what 64 bits hold, and room to add to it */
    VERSION_LEN = 8,
    PORT_DIGITS_MAX = 5,
};

/* What was seen of the fields that may be there once. */
enum { HOST = 1, LENGTH = 2, CODING = 4 };

struct parser {
    const char *bytes;
    const char *at;
    const char *end;
    struct tg_head *head;
    unsigned seen;
    struct tg_span host;
};

bool tg_is_token(const char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (!tg_char_is(bytes[i], TG_CHAR_TOKEN))
            return false;
    return len > 0;
}

bool tg_is_field_value(const char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (!tg_char_is(bytes[i], TG_CHAR_VALUE))
            return false;
    return true;
}

/* --- Where a head begins and ends --------------------------------------------------------------- */

size_t tg_head_blank(const char *bytes, size_t len)
{
    size_t n = 0;
    while (n < 4 && len - n >= 2 && bytes[n] == '\r' && bytes[n + 1] == '\n')
        n += 2;
    return n;
}

long tg_head_find_end(const char *bytes, size_t len, size_t *scanned)
{
    for (size_t at = *scanned; at < len;) {
        const char *lf = memchr(bytes + at, '\n', len - at);
        if (!lf)
            break;
        size_t i = (size_t)(lf - bytes);
        if (i < 2 || bytes[i - 1] != '\r')
            return -1;
        if (bytes[i - 2] == '\n')
            return (long)i + 1;
        at = i + 1;
    }
    /* A lone CR may turn out to be a blank line's: the caller then moves the beginning. */
    *scanned = len > 1 ? len : 0;
    return 0;
}

/* --- Spans -------------------------------------------------------------------------------------- */

static struct tg_span span(const struct parser *p, const char *from, const char *to)
{
    return (struct tg_span){(uint32_t)(from - p->bytes), (uint32_t)(to - from)};
}

static struct tg_slice slice(const struct parser *p, struct tg_span s)
{
    return (struct tg_slice){p->bytes + s.at, s.len};
}

static bool ends_line(const char *at)
{
    return at[0] == '\r' && at[1] == '\n';
}

/* --- Authorities -------------------------------------------------------------------------------- */

/* Behind "[IPv6]", or NULL.  Neither zones nor the versions to come of RFC 3986 are for HTTP. */
static const char *skip_literal(struct tg_slice s)
{
    char text[INET6_ADDRSTRLEN];
    struct in6_addr address;
    const char *close = memchr(s.p, ']', s.len);
    size_t len = close ? (size_t)(close - s.p) - 1 : sizeof text;
    if (len >= sizeof text)
        return NULL;
    memcpy(text, s.p + 1, len);
    text[len] = '\0';
    return inet_pton(AF_INET6, text, &address) == 1 ? close + 1 : NULL;
}

/* Behind a name or an IPv4 address, or NULL when there is none. */
static const char *skip_name(struct tg_slice s)
{
    size_t n = 0;
    while (n < s.len && tg_char_is(s.p[n], TG_CHAR_HOST))
        n++;
    return n > 0 && tg_percent_valid(s.p, n) && !tg_percent_has_nul(s.p, n) ? s.p + n : NULL;
}

static bool is_port(const char *p, const char *end)
{
    unsigned n = 0;
    if (end - p > PORT_DIGITS_MAX)
        return false;
    for (; p < end; p++) {
        if (!tg_char_is(*p, TG_CHAR_DIGIT))
            return false;
        n = n * 10 + (unsigned)(*p - '0');
    }
    return n <= UINT16_MAX;
}

/* host [":" port]; user information is refused, like all else with an '@' in it. */
static bool is_authority(struct tg_slice s)
{
    const char *end = s.p + s.len;
    const char *p = s.len && *s.p == '[' ? skip_literal(s) : skip_name(s);
    return p && (p == end || (*p == ':' && is_port(p + 1, end)));
}

/* --- The request line --------------------------------------------------------------------------- */

static void split_query(struct parser *p, const char *from, const char *to)
{
    const char *mark = memchr(from, '?', (size_t)(to - from));
    p->head->path = span(p, from, mark ? mark : to);
    p->head->has_query = mark != NULL;
    if (mark)
        p->head->query = span(p, mark + 1, to);
}

/* http://authority/path: what proxies are sent, and every server has to take (RFC 9112, 3.2.2). */
static int parse_absolute(struct parser *p, const char *from, const char *to)
{
    size_t scheme = 0;
    if (strncasecmp(from, "http://", 7) == 0)
        scheme = 7;
    else if (strncasecmp(from, "https://", 8) == 0)
        scheme = 8;
    const char *authority = from + scheme;
    const char *path = authority;
    while (path < to && *path != '/' && *path != '?')
        path++;
    if (!scheme || !is_authority((struct tg_slice){authority, (size_t)(path - authority)}))
        return 400;
    p->head->secure = scheme == 8;
    p->head->authority = span(p, authority, path);
    split_query(p, path, to);
    if (!p->head->path.len)
        p->head->path = span(p, authority - 1, authority); /* empty is "/": the scheme has one */
    return 0;
}

static int parse_target(struct parser *p, const char *from, const char *to)
{
    p->head->target = span(p, from, to);
    if (*from == '/') {
        split_query(p, from, to);
        return 0;
    }
    if (*from != '*')
        return parse_absolute(p, from, to);
    p->head->path = p->head->target;
    bool options = tg_slice_equal(slice(p, p->head->method), TG_SLICE("OPTIONS"));
    return options && to - from == 1 ? 0 : 400;
}

/* What is no HTTP/1.x: another version, or nothing that has one? */
static int refuse_version(const char *at)
{
    const char *end = tg_char_skip(at, TG_CHAR_VALUE);
    if (!ends_line(end) || memchr(at, '\t', (size_t)(end - at)))
        return 400;
    return end - at >= 5 && memcmp(at, "HTTP/", 5) == 0 ? 505 : 400;
}

static int parse_version(struct parser *p)
{
    const char *at = p->at;
    if (p->end - at < VERSION_LEN || memcmp(at, "HTTP/1.", VERSION_LEN - 1) != 0 ||
        !tg_char_is(at[VERSION_LEN - 1], TG_CHAR_DIGIT) || !ends_line(at + VERSION_LEN))
        return refuse_version(at);
    p->head->minor = at[VERSION_LEN - 1] != '0'; /* a later minor is 1.1 to us (RFC 9110, 2.5) */
    p->head->close = !p->head->minor;
    p->at = at + VERSION_LEN + 2;
    return 0;
}

static int parse_request_line(struct parser *p, size_t target_max)
{
    const char *method = p->at;
    const char *method_end = tg_char_skip(method, TG_CHAR_TOKEN);
    if (method_end == method || *method_end != ' ')
        return 400;
    const char *target = method_end + 1;
    const char *target_end = tg_char_skip(target, TG_CHAR_TARGET);
    if (target_end == target || *target_end != ' ')
        return 400;
    if (method_end - method > METHOD_MAX)
        return 501;
    if (target_max && (size_t)(target_end - target) > target_max)
        return 414;
    p->head->method = span(p, method, method_end);
    p->at = target_end + 1;
    int status = parse_version(p);
    return status ? status : parse_target(p, target, target_end);
}

/* --- The fields that are ours to read ----------------------------------------------------------- */

static bool first_time(struct parser *p, unsigned field)
{
    bool first = !(p->seen & field);
    p->seen |= field;
    return first;
}

static int take_host(struct parser *p, struct tg_slice value)
{
    p->host = span(p, value.p, value.p + value.len);
    return first_time(p, HOST) && (!value.len || is_authority(value)) ? 0 : 400;
}

static int take_length(struct parser *p, struct tg_slice value)
{
    uint64_t n = 0;
    if (!first_time(p, LENGTH) || !value.len || value.len > LENGTH_DIGITS_MAX)
        return 400;
    for (size_t i = 0; i < value.len; i++) {
        if (!tg_char_is(value.p[i], TG_CHAR_DIGIT))
            return 400;
        n = n * 10 + (uint64_t)(value.p[i] - '0');
    }
    p->head->framing = TG_FRAMING_LENGTH;
    p->head->length = n;
    return 0;
}

static int take_coding(struct parser *p, struct tg_slice value)
{
    if (!first_time(p, CODING) || !p->head->minor)
        return 400;
    p->head->framing = TG_FRAMING_CHUNKED;
    return tg_slice_equal_nocase(value, TG_SLICE("chunked")) ? 0 : 501;
}

static int take_expect(struct parser *p, struct tg_slice value)
{
    p->head->expect_continue = p->head->minor > 0; /* 1.0 knows no 1xx (RFC 9110, 10.1.1) */
    return tg_slice_equal_nocase(value, TG_SLICE("100-continue")) ? 0 : 417;
}

static int take_connection(struct parser *p, struct tg_slice value)
{
    const char *end = value.p + value.len;
    for (const char *at = value.p; at < end;) {
        const char *option = at;
        while (at < end && tg_char_is(*at, TG_CHAR_TOKEN))
            at++;
        if (tg_slice_equal_nocase((struct tg_slice){option, (size_t)(at - option)},
                                  TG_SLICE("close")))
            p->head->close = true;
        while (at < end && !tg_char_is(*at, TG_CHAR_TOKEN))
            at++;
    }
    return 0;
}

static bool same(struct tg_slice name, char initial, const char *lower)
{
    return (*name.p | 0x20) == initial && strncasecmp(name.p, lower, name.len) == 0;
}

static int take_field(struct parser *p, struct tg_slice name, struct tg_slice value)
{
    switch (name.len) { /* no two of ours are of one length */
    case 4:
        return same(name, 'h', "host") ? take_host(p, value) : 0;
    case 6:
        return same(name, 'e', "expect") ? take_expect(p, value) : 0;
    case 10:
        return same(name, 'c', "connection") ? take_connection(p, value) : 0;
    case 14:
        return same(name, 'c', "content-length") ? take_length(p, value) : 0;
    case 17:
        return same(name, 't', "transfer-encoding") ? take_coding(p, value) : 0;
    default:
        return 0;
    }
}

/* --- Field lines -------------------------------------------------------------------------------- */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* Neither folded lines nor white space before the colon begin with a token that a colon follows. */
static int parse_field(struct parser *p, struct tg_field *field)
{
    const char *name = p->at;
    const char *colon = tg_char_skip(name, TG_CHAR_TOKEN);
    if (colon == name || *colon != ':')
        return 400;
    const char *from = colon + 1;
    while (is_blank(*from))
        from++;
    const char *to = tg_char_skip(from, TG_CHAR_VALUE);
    if (!ends_line(to))
        return 400;
    p->at = to + 2;
    while (to > from && is_blank(to[-1]))
        to--;
    struct tg_span name_span = span(p, name, colon);
    struct tg_span value_span = span(p, from, to);
    *field = (struct tg_field){name_span.at, name_span.len, value_span.at, value_span.len};
    return take_field(p, slice(p, name_span), slice(p, value_span));
}

static int parse_fields(struct parser *p, struct tg_field *fields, size_t fields_max)
{
    while (*p->at != '\r') {
        if (p->head->field_count == fields_max)
            return 431;
        int status = parse_field(p, &fields[p->head->field_count]);
        if (status)
            return status;
        p->head->field_count++;
    }
    return p->at + 2 == p->end ? 0 : 400;
}

/* --- The whole ---------------------------------------------------------------------------------- */

/* What the fields mean together. */
static int conclude(struct parser *p)
{
    struct tg_head *head = p->head;
    if ((p->seen & LENGTH) && (p->seen & CODING))
        return 400;
    if (!(p->seen & HOST))
        return head->minor ? 400 : 0;
    if (head->authority.len && !tg_slice_equal_nocase(slice(p, head->authority), slice(p, p->host)))
        return 400;
    head->authority = p->host;
    return 0;
}

int tg_head_parse(const char *bytes, size_t len, const struct tg_head_limits *limits,
                  struct tg_head *out, struct tg_field *fields, size_t fields_max)
{
    struct parser p = {.bytes = bytes, .at = bytes, .end = bytes + len, .head = out};
    *out = (struct tg_head){0};
    if (len < 4 || memcmp(p.end - 4, "\r\n\r\n", 4) != 0)
        return 400;
    if (limits->fields && limits->fields < fields_max)
        fields_max = limits->fields;
    int status = parse_request_line(&p, limits->target);
    if (!status)
        status = parse_fields(&p, fields, fields_max);
    return status ? status : conclude(&p);
}
