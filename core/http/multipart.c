/* multipart.c - looks for the delimiter, and keeps back what may be the beginning of one. */
#include "http/multipart.h"

#include <string.h>

#include "http/head.h"

enum { PADDING_MAX = 256, PENDING_MAX = TG_MULTIPART_PIECE_MAX + TG_PART_HEAD_MAX + 1024 };

/* What is left to look at of the pending bytes. */
struct rest {
    const char *p;
    size_t len;
};

static void skip(struct rest *rest, size_t n)
{
    rest->p += n;
    rest->len -= n;
}

static bool broken(struct tg_multipart *m, const char *why)
{
    m->state = TG_MULTIPART_BROKEN;
    m->why = why;
    return false;
}

static const char *find_delimiter(const struct tg_multipart *m, const struct rest *rest)
{
    return rest->len ? memmem(rest->p, rest->len, m->delimiter, m->delimiter_len) : NULL;
}

/* How many bytes at the end may be the beginning of a delimiter. */
static size_t kept_back(const struct tg_multipart *m, const struct rest *rest)
{
    size_t most = rest->len < m->delimiter_len - 1 ? rest->len : m->delimiter_len - 1;
    while (most && memcmp(rest->p + rest->len - most, m->delimiter, most) != 0)
        most--;
    return most;
}

/* --- Steps: true when there may be more to do with what is left ----------------------------------- */

static bool step_preamble(struct tg_multipart *m, struct rest *rest)
{
    const char *at = find_delimiter(m, rest);
    if (!at) {
        skip(rest, rest->len - kept_back(m, rest));
        return false;
    }
    skip(rest, (size_t)(at - rest->p) + m->delimiter_len);
    m->state = TG_MULTIPART_DELIMITER;
    return true;
}

static bool emit(struct tg_multipart *m, struct rest *rest, size_t len)
{
    struct tg_slice data = {rest->p, len};
    skip(rest, len);
    return !len || m->events->data(m->arg, data) || broken(m, "given up");
}

static bool step_data(struct tg_multipart *m, struct rest *rest)
{
    const char *at = find_delimiter(m, rest);
    if (!at)
        return emit(m, rest, rest->len - kept_back(m, rest)) && false;
    if (!emit(m, rest, (size_t)(at - rest->p)))
        return false;
    skip(rest, m->delimiter_len);
    m->state = TG_MULTIPART_DELIMITER;
    return m->events->end(m->arg) || broken(m, "given up");
}

/* "--" ends it all; otherwise white space, and the end of the line. */
static bool step_delimiter(struct tg_multipart *m, struct rest *rest)
{
    size_t n = 0;
    if (rest->len < 2)
        return false;
    if (rest->p[0] == '-' && rest->p[1] == '-') {
        m->state = TG_MULTIPART_OVER;
        return true;
    }
    while (n < rest->len && (rest->p[n] == ' ' || rest->p[n] == '\t'))
        n++;
    if (n > PADDING_MAX)
        return broken(m, "white space without end behind a boundary");
    if (rest->len - n < 2)
        return false;
    if (rest->p[n] != '\r' || rest->p[n + 1] != '\n')
        return broken(m, "a boundary is followed by something else than the end of its line");
    skip(rest, n + 2);
    m->state = TG_MULTIPART_HEAD;
    return true;
}

static bool field(struct tg_multipart *m, const char *line, size_t len)
{
    const char *colon = memchr(line, ':', len);
    size_t name_len = colon ? (size_t)(colon - line) : 0;
    if (!name_len || !tg_is_token(line, name_len))
        return broken(m, "a part has a field without a name");
    struct tg_slice value = {colon + 1, len - name_len - 1};
    while (value.len && (*value.p == ' ' || *value.p == '\t')) {
        value.p++;
        value.len--;
    }
    while (value.len && (value.p[value.len - 1] == ' ' || value.p[value.len - 1] == '\t'))
        value.len--;
    if (!tg_is_field_value(value.p, value.len))
        return broken(m, "a part has a field with a control character");
    struct tg_slice name = {line, name_len};
    return m->events->field(m->arg, name, value) || broken(m, "given up");
}

static bool fields(struct tg_multipart *m, const char *head, size_t len)
{
    const char *end = head + len;
    int count = 0;
    while (head < end) {
        const char *stop = memmem(head, (size_t)(end - head), "\r\n", 2);
        if (++count > TG_PART_FIELDS_MAX)
            return broken(m, "a part has too many fields");
        if (!field(m, head, (size_t)(stop - head)))
            return false;
        head = stop + 2;
    }
    return true;
}

/* Field lines and an empty one; a part may have no fields. */
static bool step_head(struct tg_multipart *m, struct rest *rest)
{
    bool none = rest->len >= 2 && rest->p[0] == '\r' && rest->p[1] == '\n';
    const char *end = none ? rest->p : rest->len ? memmem(rest->p, rest->len, "\r\n\r\n", 4) : NULL;
    size_t len = end ? (size_t)(end - rest->p) : rest->len;
    if (len > TG_PART_HEAD_MAX)
        return broken(m, "the head of a part is too large");
    if (!end)
        return false;
    if (!m->events->begin(m->arg))
        return broken(m, "given up");
    if (!none && !fields(m, rest->p, len + 2))
        return false;
    skip(rest, none ? 2 : len + 4);
    m->state = TG_MULTIPART_DATA;
    return true;
}

static bool step(struct tg_multipart *m, struct rest *rest)
{
    switch (m->state) {
    case TG_MULTIPART_PREAMBLE:
        return step_preamble(m, rest);
    case TG_MULTIPART_DELIMITER:
        return step_delimiter(m, rest);
    case TG_MULTIPART_HEAD:
        return step_head(m, rest);
    case TG_MULTIPART_DATA:
        return step_data(m, rest);
    case TG_MULTIPART_OVER:
        skip(rest, rest->len);
        return false;
    case TG_MULTIPART_BROKEN:
        break;
    }
    return false;
}

/* --- For bindings ------------------------------------------------------------------------------- */

enum tg_status tg_multipart_feed(struct tg_multipart *m, const char *bytes, size_t len)
{
    if (m->state == TG_MULTIPART_BROKEN)
        return TG_EINVAL;
    if (len > TG_MULTIPART_PIECE_MAX)
        return TG_ELIMIT;
    if (m->state == TG_MULTIPART_OVER)
        return TG_OK;
    if (tg_buf_add(&m->pending, bytes, len) != TG_OK)
        return TG_ENOMEM;
    struct rest rest = {m->pending.p, m->pending.len};
    while (step(m, &rest))
        continue;
    if (m->state == TG_MULTIPART_BROKEN)
        return TG_EINVAL;
    memmove(m->pending.p, rest.p, rest.len);
    m->pending.len = rest.len;
    return TG_OK;
}

static bool is_boundary(struct tg_slice boundary)
{
    if (!boundary.len || boundary.len > TG_BOUNDARY_MAX || boundary.p[boundary.len - 1] == ' ')
        return false;
    for (size_t i = 0; i < boundary.len; i++) {
        char c = boundary.p[i];
        bool word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!word && (!c || !strchr("'()+_,-./:=? ", c)))
            return false;
    }
    return true;
}

enum tg_status tg_multipart_init(struct tg_multipart *m, struct tg_slice boundary,
                                 const struct tg_multipart_events *events, void *arg)
{
    *m = (struct tg_multipart){.events = events, .arg = arg};
    tg_buf_init(&m->pending, PENDING_MAX);
    if (!is_boundary(boundary))
        return TG_EINVAL;
    memcpy(m->delimiter, "\r\n--", 4);
    memcpy(m->delimiter + 4, boundary.p, boundary.len);
    m->delimiter_len = boundary.len + 4;
    return tg_buf_add(&m->pending, "\r\n",
                      2); /* the first delimiter may be at the very beginning */
}

void tg_multipart_fini(struct tg_multipart *m)
{
    tg_buf_fini(&m->pending);
}
