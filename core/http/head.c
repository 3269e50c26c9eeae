/* head.c - request heads, in one pass over their bytes. */
#include "http/head.h"

/* --- Classes of characters ---------------------------------------------------------------------- */

enum {
    TOKEN = 1,  /* RFC 9110, 5.6.2 */
    VALUE = 2,  /* field-content, with SP, HTAB and obs-text */
    TARGET = 4, /* visible ASCII but '#' */
    HOST = 8,   /* of a reg-name or an IP literal, and ':' */
    DIGIT = 16,
};


/* The classes of c; the compiler makes a table of it, below. */
#define IS_ALPHA(c)  (((c) | 0x20) >= 'a' && ((c) | 0x20) <= 'z')
#define IS_DIGIT(c)  ((c) >= '0' && (c) <= '9')
#define IS_TOKEN(c)                                                                                \
    (IS_ALPHA(c) || IS_DIGIT(c) || (c) == '!' || (c) == '#' || (c) == '$' || (c) == '%' ||         \
     (c) == '&' || (c) == '\'' || (c) == '*' || (c) == '+' || (c) == '-' || (c) == '.' ||          \
     (c) == '^' || (c) == '_' || (c) == '`' || (c) == '|' || (c) == '~')
#define IS_VALUE(c)  (((c) >= 0x20 && (c) != 0x7f) || (c) == '\t')
#define IS_TARGET(c) ((c) > 0x20 && (c) < 0x7f && (c) != '#')
#define IS_HOST(c)                                                                                 \
    (IS_ALPHA(c) || IS_DIGIT(c) || (c) == '-' || (c) == '.' || (c) == '_' || (c) == '~' ||         \
     (c) == '%' || (c) == '!' || (c) == '$' || (c) == '&' || (c) == '\'' || (c) == '(' ||          \
     (c) == ')' || (c) == '*' || (c) == '+' || (c) == ',' || (c) == ';' || (c) == '=')
#define CLASS(c)                                                                                   \
    (unsigned char)((IS_TOKEN(c) ? TOKEN : 0) | (IS_VALUE(c) ? VALUE : 0) |                        \
                    (IS_TARGET(c) ? TARGET : 0) | (IS_HOST(c) ? HOST : 0) | (IS_DIGIT(c) ? DIGIT : 0))
#define ROW(c)                                                                                     \
    CLASS(c), CLASS((c) + 1), CLASS((c) + 2), CLASS((c) + 3), CLASS((c) + 4), CLASS((c) + 5),      \
        CLASS((c) + 6), CLASS((c) + 7)
#define ROWS(c) ROW(c), ROW((c) + 8), ROW((c) + 16), ROW((c) + 24)

static const unsigned char classes[256] = {ROWS(0),   ROWS(32),  ROWS(64),  ROWS(96),
                                           ROWS(128), ROWS(160), ROWS(192), ROWS(224)};

static bool is(char c, int class)
{
    return classes[(unsigned char)c] & class;
}

static bool all(const char *bytes, size_t len, int class)
{
    for (size_t i = 0; i < len; i++)
        if (!is(bytes[i], class))
            return false;
    return true;
}

bool tg_is_token(const char *bytes, size_t len)
{
    return len > 0 && all(bytes, len, TOKEN);
}

bool tg_is_field_value(const char *bytes, size_t len)
{
    return all(bytes, len, VALUE);
}

/* --- Where a head ends -------------------------------------------------------------------------- */

size_t tg_head_blank(const char *bytes, size_t len)
{
    size_t n = 0;
    while (n < 4 && n + 2 <= len && bytes[n] == '\r' && bytes[n + 1] == '\n')
        n += 2;
    return n;
}

/* From line end to line end.  *scanned is where the line begins that is not whole yet, so each byte
 * of a long line is looked at again only by memchr. */
long tg_head_find_end(const char *bytes, size_t len, size_t *scanned)
{
    size_t line = *scanned;
    while (line < len) {
        const char *lf = memchr(bytes + line, '\n', len - line);
        if (!lf)
            return 0;
        size_t end = (size_t)(lf - bytes);
        if (end == 0 || bytes[end - 1] != '\r')
            return -1;
        bool empty = end == line + 1;
        line = end + 1;
        if (empty && line > 2)
            return (long)line;
        *scanned = line;
    }
    return 0;
}

/* --- The request line --------------------------------------------------------------------------- */

enum { METHOD_MAX = 32 };

struct parser {
    const char *bytes;
    size_t len;
    struct tg_head *head;
    struct tg_field *fields;
    struct tg_span host;
    struct tg_span authority; /* of an absolute-form target */
    bool has_host;
    bool absolute;
    bool has_length;
    bool has_coding;
};

static struct tg_span span(size_t from, size_t to)
{
    return (struct tg_span){(uint32_t)from, (uint32_t)(to - from)};
}

static struct tg_slice slice(const struct parser *p, struct tg_span s)
{
    return (struct tg_slice){p->bytes + s.at, s.len};
}

/* [userinfo is refused] host [ ":" port ], of a Host field or an absolute-form target. */
static bool is_authority(struct tg_slice s)
{
    size_t i = 0;
    if (s.len && s.p[0] == '[') { /* an IP literal (RFC 3986, 3.2.2) */
        for (i = 1; i < s.len && s.p[i] != ']'; i++)
            if (!is(s.p[i], HOST) && s.p[i] != ':')
                return false;
        if (i == s.len || i == 1)
            return false;
        i++;
    } else {
        while (i < s.len && is(s.p[i], HOST))
            i++;
    }
    if (i == s.len)
        return true;
    if (s.p[i] != ':' || s.len - i > 6)
        return false;
    return all(s.p + i + 1, s.len - i - 1, DIGIT);
}

static void split_query(struct parser *p, size_t from, size_t to)
{
    const char *mark = memchr(p->bytes + from, '?', to - from);
    size_t path_end = mark ? (size_t)(mark - p->bytes) : to;
    p->head->path = span(from, path_end);
    p->head->has_query = mark != NULL;
    if (mark)
        p->head->query = span(path_end + 1, to);
}

/* http://authority/path: what proxies are sent, and any server must take (RFC 9112, 3.2.2). */
static int parse_absolute(struct parser *p, size_t from, size_t to)
{
    const char *t = p->bytes + from;
    size_t len = to - from;
    size_t scheme = 0;
    if (len > 7 && strncasecmp(t, "http://", 7) == 0)
        scheme = 7;
    else if (len > 8 && strncasecmp(t, "https://", 8) == 0)
        scheme = 8;
    if (!scheme)
        return 400;
    size_t at = scheme;
    while (at < len && t[at] != '/' && t[at] != '?')
        at++;
    p->head->secure = scheme == 8;
    p->authority = span(from + scheme, from + at);
    p->absolute = true;
    if (at == scheme || !is_authority(slice(p, p->authority)))
        return 400;
    if (at == len || t[at] == '?')
        return 400; /* an empty path: nobody sends one, and "/" is not ours to make up */
    split_query(p, from + at, to);
    return 0;
}

static int parse_target(struct parser *p, size_t from, size_t to)
{
    const char *t = p->bytes + from;
    if (!all(t, to - from, TARGET))
        return 400;
    p->head->target = span(from, to);
    if (*t == '/') {
        split_query(p, from, to);
        return 0;
    }
    if (*t == '*' && to - from == 1) {
        p->head->path = span(from, to);
        return tg_slice_equal(slice(p, p->head->method), TG_SLICE("OPTIONS")) ? 0 : 400;
    }
    return parse_absolute(p, from, to);
}

/* HTTP/1.0 and 1.1; the other minors of 1 are 1.1 to us (RFC 9112, 2.3). */
static int parse_version(struct parser *p, const char *v, size_t len)
{
    if (len < 5 || memcmp(v, "HTTP/", 5) != 0)
        return 400;
    if (len != 8 || v[5] != '1' || v[6] != '.' || !is(v[7], DIGIT))
        return 505;
    p->head->minor = v[7] == '0' ? 0 : 1;
    return 0;
}

/* Returns 0 and, in *at, where the first field begins. */
static int parse_request_line(struct parser *p, const struct tg_head_limits *limits, size_t *at)
{
    const char *bytes = p->bytes;
    const char *eol = memchr(bytes, '\n', p->len);
    size_t end = (size_t)(eol - bytes) - 1; /* of the CRLF */
    const char *space = memchr(bytes, ' ', end);
    if (!space || !tg_is_token(bytes, (size_t)(space - bytes)))
        return 400;
    size_t method_end = (size_t)(space - bytes);
    size_t target = method_end + 1;
    const char *space2 = memchr(bytes + target, ' ', end - target);
    if (!space2 || space2 == bytes + target)
        return 400;
    size_t target_end = (size_t)(space2 - bytes);
    if (limits->target && target_end - target > limits->target)
        return 414;
    p->head->method = span(0, method_end);
    int status = parse_target(p, target, target_end);
    if (!status)
        status = parse_version(p, space2 + 1, end - target_end - 1);
    if (!status && method_end > METHOD_MAX)
        status = 501;
    *at = end + 2;
    return status;
}

/* --- Fields that are ours to read --------------------------------------------------------------- */

static int take_host(struct parser *p, struct tg_span value)
{
    if (p->has_host || !is_authority(slice(p, value)))
        return 400;
    p->has_host = true;
    p->host = value;
    return 0;
}

static int take_length(struct parser *p, struct tg_slice value)
{
    uint64_t n = 0;
    if (p->has_length || !value.len || value.len > 18 || !all(value.p, value.len, DIGIT))
        return 400;
    for (size_t i = 0; i < value.len; i++)
        n = n * 10 + (uint64_t)(value.p[i] - '0');
    p->has_length = true;
    p->head->length = n;
    return 0;
}

static int take_coding(struct parser *p, struct tg_slice value)
{
    if (p->has_coding || p->head->minor == 0)
        return 400;
    p->has_coding = true;
    return tg_slice_equal_nocase(value, TG_SLICE("chunked")) ? 0 : 501;
}

static int take_expect(struct parser *p, struct tg_slice value)
{
    if (!tg_slice_equal_nocase(value, TG_SLICE("100-continue")))
        return 417;
    p->head->expect_continue = p->head->minor > 0; /* RFC 9110, 10.1.1 */
    return 0;
}

/* Whether "close" is in the list. */
static bool lists_close(struct tg_slice value)
{
    size_t i = 0;
    while (i < value.len) {
        size_t from = i;
        while (i < value.len && is(value.p[i], TOKEN))
            i++;
        struct tg_slice option = {value.p + from, i - from};
        if (tg_slice_equal_nocase(option, TG_SLICE("close")))
            return true;
        while (i < value.len && !is(value.p[i], TOKEN))
            i++;
    }
    return false;
}

static int take_known(struct parser *p, struct tg_slice name, struct tg_span at)
{
    struct tg_slice value = slice(p, at);
    switch (name.len) {
    case 4:
        return tg_slice_equal_nocase(name, TG_SLICE("host")) ? take_host(p, at) : 0;
    case 6:
        return tg_slice_equal_nocase(name, TG_SLICE("expect")) ? take_expect(p, value) : 0;
    case 10:
        if (tg_slice_equal_nocase(name, TG_SLICE("connection")) && lists_close(value))
            p->head->close = true;
        return 0;
    case 14:
        return tg_slice_equal_nocase(name, TG_SLICE("content-length")) ? take_length(p, value) : 0;
    case 17:
        return tg_slice_equal_nocase(name, TG_SLICE("transfer-encoding")) ? take_coding(p, value)
                                                                          : 0;
    default:
        return 0;
    }
}

/* --- Field lines -------------------------------------------------------------------------------- */

static struct tg_span trim(const struct parser *p, size_t from, size_t to)
{
    while (from < to && (p->bytes[from] == ' ' || p->bytes[from] == '\t'))
        from++;
    while (to > from && (p->bytes[to - 1] == ' ' || p->bytes[to - 1] == '\t'))
        to--;
    return span(from, to);
}

/* One line from *at on, which moves behind it. */
static int parse_field(struct parser *p, size_t *at)
{
    size_t from = *at;
    size_t i = from;
    while (i < p->len && is(p->bytes[i], TOKEN))
        i++;
    if (i == from || i == p->len || p->bytes[i] != ':')
        return 400; /* a folded line and white space before the colon as well */
    size_t colon = i++;
    while (i < p->len && is(p->bytes[i], VALUE))
        i++;
    if (i + 1 >= p->len || p->bytes[i] != '\r' || p->bytes[i + 1] != '\n')
        return 400;
    struct tg_span value = trim(p, colon + 1, i);
    p->fields[p->head->field_count++] = (struct tg_field){
        (uint32_t)from, (uint32_t)(colon - from), value.at, value.len};
    *at = i + 2;
    return take_known(p, (struct tg_slice){p->bytes + from, colon - from}, value);
}

static int parse_fields(struct parser *p, size_t at, size_t fields_max)
{
    while (at + 2 < p->len) {
        if (p->head->field_count == fields_max)
            return 431;
        int status = parse_field(p, &at);
        if (status)
            return status;
    }
    return at + 2 == p->len ? 0 : 400;
}

/* --- What the fields mean together -------------------------------------------------------------- */

static int conclude(struct parser *p)
{
    struct tg_head *head = p->head;
    if (!p->has_host && head->minor)
        return 400;
    if (p->absolute && p->has_host &&
        !tg_slice_equal_nocase(slice(p, p->authority), slice(p, p->host)))
        return 400;
    if (p->has_length && p->has_coding)
        return 400;
    head->authority = p->absolute ? p->authority : p->host;
    if (p->has_coding)
        head->framing = TG_FRAMING_CHUNKED;
    else if (p->has_length)
        head->framing = TG_FRAMING_LENGTH;
    if (!head->minor)
        head->close = true;
    return 0;
}

int tg_head_parse(const char *bytes, size_t len, const struct tg_head_limits *limits,
                  struct tg_head *out, struct tg_field *fields, size_t fields_max)
{
    struct parser p = {.bytes = bytes, .len = len, .head = out, .fields = fields};
    size_t at = 0;
    *out = (struct tg_head){0};
    if (limits->fields && limits->fields < fields_max)
        fields_max = limits->fields;
    int status = parse_request_line(&p, limits, &at);
    if (!status)
        status = parse_fields(&p, at, fields_max);
    return status ? status : conclude(&p);
}
