/* conditional.c - If-Match, If-None-Match, If-Modified-Since, If-Unmodified-Since and If-Range. */
#include "http/conditional.h"

#include "http/date.h"

/* --- Entity-tags ------------------------------------------------------------------------------ */

static bool is_etagc(char c)
{
    unsigned char byte = (unsigned char)c;
    return byte == 0x21 || (byte >= 0x23 && byte != 0x7f);
}

/* The length of the entity-tag that text begins with; 0 when it begins with none. */
static size_t etag_len(struct tg_slice text)
{
    size_t at = text.len > 2 && memcmp(text.p, "W/", 2) == 0 ? 2 : 0;
    if (at == text.len || text.p[at] != '"')
        return 0;
    at++;
    while (at < text.len && is_etagc(text.p[at]))
        at++;
    return at < text.len && text.p[at] == '"' ? at + 1 : 0;
}

bool tg_is_etag(struct tg_slice text)
{
    return text.len && etag_len(text) == text.len;
}

static bool is_weak(struct tg_slice etag)
{
    return etag.p[0] == 'W';
}

static struct tg_slice opaque(struct tg_slice etag)
{
    return is_weak(etag) ? (struct tg_slice){etag.p + 2, etag.len - 2} : etag;
}

static bool same(struct tg_slice a, struct tg_slice b, enum tg_etag_match how)
{
    if (!a.len || !b.len || (how == TG_ETAG_STRONG && (is_weak(a) || is_weak(b))))
        return false;
    return tg_slice_equal(opaque(a), opaque(b));
}

static struct tg_slice skip(struct tg_slice text, const char *what)
{
    while (text.len && strchr(what, *text.p) && *text.p) {
        text.p++;
        text.len--;
    }
    return text;
}

bool tg_etag_listed(struct tg_slice list, struct tg_slice etag, enum tg_etag_match how)
{
    if (tg_slice_equal(list, TG_SLICE("*")))
        return true;
    for (;;) {
        list = skip(list, " \t,"); /* a list may have empty elements: RFC 9110, 5.6.1 */
        size_t len = etag_len(list);
        if (!len)
            return false;
        if (same((struct tg_slice){list.p, len}, etag, how))
            return true;
        list = skip((struct tg_slice){list.p + len, list.len - len}, " \t");
        if (list.len && *list.p != ',')
            return false;
    }
}

/* --- Fields ----------------------------------------------------------------------------------- */

struct request {
    const char *bytes;
    const struct tg_field *fields;
    size_t count;
};

static struct tg_slice value_of(const struct request *r, const struct tg_field *field)
{
    return (struct tg_slice){r->bytes + field->value, field->value_len};
}

/* The next field of this name from *at on; NULL past the last. */
static const struct tg_field *next(const struct request *r, struct tg_slice name, size_t *at)
{
    while (*at < r->count) {
        const struct tg_field *field = &r->fields[(*at)++];
        struct tg_slice own = {r->bytes + field->name, field->name_len};
        if (tg_slice_equal_nocase(own, name))
            return field;
    }
    return NULL;
}

/* The only field of this name: one that may not be repeated says nothing when it is. */
static const struct tg_field *only(const struct request *r, struct tg_slice name)
{
    size_t at = 0;
    const struct tg_field *field = next(r, name, &at);
    return field && !next(r, name, &at) ? field : NULL;
}

static bool has(const struct request *r, struct tg_slice name)
{
    size_t at = 0;
    return next(r, name, &at) != NULL;
}

static bool listed(const struct request *r, struct tg_slice name, struct tg_slice etag,
                   enum tg_etag_match how)
{
    size_t at = 0;
    const struct tg_field *field = next(r, name, &at);
    while (field && !tg_etag_listed(value_of(r, field), etag, how))
        field = next(r, name, &at);
    return field != NULL;
}

/* The date of the field; false when that is no reason for anything. */
static bool date_of(const struct request *r, struct tg_slice name, const struct tg_validators *v,
                    time_t *out)
{
    const struct tg_field *field = v->dated ? only(r, name) : NULL;
    return field && tg_http_date_parse(value_of(r, field), v->now, out);
}

/* --- The conditions --------------------------------------------------------------------------- */

int tg_conditional_status(const char *bytes, const struct tg_field *fields, size_t count,
                          const struct tg_validators *validators)
{
    const struct request r = {bytes, fields, count};
    const struct tg_validators *v = validators;
    time_t date;

    if (has(&r, TG_SLICE("If-Match"))) {
        if (!listed(&r, TG_SLICE("If-Match"), v->etag, TG_ETAG_STRONG))
            return 412;
    } else if (date_of(&r, TG_SLICE("If-Unmodified-Since"), v, &date) && v->modified > date) {
        return 412;
    }
    if (has(&r, TG_SLICE("If-None-Match")))
        return listed(&r, TG_SLICE("If-None-Match"), v->etag, TG_ETAG_WEAK) ? 304 : 0;
    if (date_of(&r, TG_SLICE("If-Modified-Since"), v, &date) && v->modified <= date)
        return 304;
    return 0;
}

/* RFC 9110, 13.1.5: an entity-tag by the strong comparison, a date to the second. */
static bool is_same_representation(struct tg_slice value, const struct tg_validators *v)
{
    time_t date;
    if (tg_is_etag(value))
        return same(value, v->etag, TG_ETAG_STRONG);
    return v->dated && tg_http_date_parse(value, v->now, &date) && date == v->modified;
}

struct tg_slice tg_conditional_range(const char *bytes, const struct tg_field *fields, size_t count,
                                     const struct tg_validators *validators)
{
    const struct request r = {bytes, fields, count};
    const struct tg_slice none = {NULL, 0};
    const struct tg_field *range = only(&r, TG_SLICE("Range"));
    if (!range)
        return none;
    const struct tg_field *condition = only(&r, TG_SLICE("If-Range"));
    if (condition ? !is_same_representation(value_of(&r, condition), validators)
                  : has(&r, TG_SLICE("If-Range")))
        return none;
    return value_of(&r, range);
}
