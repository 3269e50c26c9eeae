/* compress.c - decides by the heads of request and response, and rewrites the latter. */
#include "engine/compress.h"

#include "body/encode_sink.h"
#include "engine/exchange.h"
#include "engine/vary.h"
#include "http/coding.h"
#include "http/list.h"
#include "util/mem.h"

/* --- Policies --------------------------------------------------------------------------------- */

/* text/event-stream is none of them: each of a topic's thousand subscribers would need a coder. */
static const char *const usual_types[] = {
    "text/html",
    "text/css",
    "text/plain",
    "text/csv",
    "text/markdown",
    "text/javascript",
    "text/xml",
    "text/calendar",
    "application/json",
    "application/x-ndjson",
    "application/edn",
    "application/jsonl",
    "application/xml",
    "application/javascript",
    "application/wasm",
    "*+json",
    "*+xml",
};

struct tg_compress *tg_compress_new(void)
{
    static const enum tg_coding usual[] = {TG_CODING_ZSTD, TG_CODING_BR, TG_CODING_GZIP};
    struct tg_compress *policy = tg_calloc(1, sizeof *policy);
    if (!policy)
        return NULL;
    policy->holders = 1;
    policy->min_length = 1024;
    for (size_t i = 0; i < sizeof usual / sizeof *usual; i++)
        policy->codings[policy->count++] = usual[i];
    for (int i = 0; i < TG_CODINGS; i++)
        policy->levels[i] = tg_coding_levels((enum tg_coding)i).usual;
    for (size_t i = 0; i < sizeof usual_types / sizeof *usual_types; i++) {
        struct tg_slice type = {usual_types[i], strlen(usual_types[i])};
        if (tg_compress_add_type(policy, type) != TG_OK)
            break; /* none of them fails */
    }
    return policy;
}

void tg_compress_hold(struct tg_compress *policy)
{
    policy->holders++;
}

void tg_compress_release(struct tg_compress *policy)
{
    if (policy && --policy->holders == 0)
        tg_free(policy);
}

static bool is_type(struct tg_slice text)
{
    const char *slash = text.len ? memchr(text.p, '/', text.len) : NULL;
    if (text.len > 2 && text.p[0] == '*' && text.p[1] == '+')
        return tg_is_token(text.p + 2, text.len - 2);
    if (!slash || text.len > TG_COMPRESS_TYPE_LEN_MAX)
        return false;
    size_t kind = (size_t)(slash - text.p);
    return tg_is_token(text.p, kind) && tg_is_token(slash + 1, text.len - kind - 1);
}

enum tg_status tg_compress_add_type(struct tg_compress *policy, struct tg_slice text)
{
    if (!is_type(text) || text.len > TG_COMPRESS_TYPE_LEN_MAX)
        return TG_EINVAL;
    if (policy->type_count == TG_COMPRESS_TYPES_MAX)
        return TG_ELIMIT;
    struct tg_compress_type *type = &policy->types[policy->type_count++];
    memcpy(type->text, text.p, text.len);
    type->len = text.len;
    return TG_OK;
}

static bool matches(const struct tg_compress_type *type, struct tg_slice media)
{
    struct tg_slice own = {type->text, type->len};
    size_t kept = own.len - 1; /* without the star */
    if (tg_slice_equal(own, TG_SLICE("*/*")))
        return true;
    if (*own.p == '*') /* a suffix */
        return media.len > kept && strncasecmp(media.p + media.len - kept, own.p + 1, kept) == 0;
    if (own.p[kept] == '*')
        return media.len > kept && strncasecmp(media.p, own.p, kept) == 0;
    return tg_slice_equal_nocase(own, media);
}

/* --- Responses -------------------------------------------------------------------------------- */

static bool has_type(const struct tg_exchange *x)
{
    struct tg_slice value;
    if (!tg_exchange_find_field(x, TG_SLICE("Content-Type"), &value))
        return false;
    struct tg_slice media = tg_list_take(&value, ';');
    for (size_t i = 0; i < x->compress->type_count; i++)
        if (matches(&x->compress->types[i], media))
            return true;
    return false;
}

/* What speaks of the very bytes: they are left alone. */
static bool is_fixed(const struct tg_exchange *x)
{
    static const struct tg_slice names[] = {{"Content-Encoding", 16},
                                            {"Content-Digest", 14},
                                            {"Repr-Digest", 11},
                                            {"Digest", 6},
                                            {"Content-MD5", 11}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (tg_exchange_has_field(x, names[i]))
            return true;
    return tg_exchange_lists(x, TG_SLICE("Cache-Control"), TG_SLICE("no-transform"));
}

static bool is_part(const struct tg_exchange *x)
{
    return x->head.status == 206 || tg_exchange_has_field(x, TG_SLICE("Content-Range"));
}

static bool is_short(const struct tg_exchange *x)
{
    return x->head.length != TG_LENGTH_UNKNOWN && x->head.length < x->compress->min_length;
}

/* RFC 9110, 8.8.1: what is equal to another coding of itself only in meaning has a weak validator. */
static enum tg_status weaken_etag(struct tg_buf *out, struct tg_slice line)
{
    size_t colon = sizeof "ETag:" - 1;
    if (line.len <= colon + 2 || strncasecmp(line.p, "ETag:", colon) != 0 ||
        line.p[colon + 1] != '"')
        return tg_buf_add(out, line.p, line.len);
    return tg_buf_addf(out, "%.*s W/%.*s", (int)colon, line.p, (int)(line.len - colon - 1),
                       line.p + colon + 1);
}

/* The fields of the same response, coded. */
static enum tg_status write_fields(struct tg_buf *out, const struct tg_exchange *x,
                                   enum tg_coding coding)
{
    struct tg_slice ranges = TG_SLICE("Accept-Ranges:"); /* of what nobody can cut into */
    struct tg_slice rest = tg_buf_slice(&x->fields);
    struct tg_slice name = tg_coding_name(coding);
    enum tg_status status = TG_OK;
    while (rest.len && status == TG_OK) {
        const char *end = memchr(rest.p, '\n', rest.len);
        size_t len = end ? (size_t)(end - rest.p) + 1 : rest.len;
        struct tg_slice line = {rest.p, len};
        if (len < ranges.len || strncasecmp(line.p, ranges.p, ranges.len) != 0)
            status = weaken_etag(out, line);
        rest.p += len;
        rest.len -= len;
    }
    if (status == TG_OK)
        status = tg_buf_addf(out, "Content-Encoding: %.*s\r\n", (int)name.len, name.p);
    return status;
}

static struct tg_encode_sink *new_sink(const struct tg_exchange *x, enum tg_coding coding,
                                       struct tg_slice fields)
{
    struct tg_encode_options options = {
        .ops = x->writer.o.ops,
        .sink = x->writer.o.sink,
        .base = tg_conn_base(x->conn),
        .coding = coding,
        .level = x->compress->levels[coding],
        .min_length = x->compress->min_length,
        .high_water = x->writer.o.high_water,
        .low_water = x->writer.o.low_water,
        .bodyless = tg_exchange_is_head(x),
    };
    return tg_encode_sink_new(&options, fields);
}

static enum tg_status encode(struct tg_exchange *x, enum tg_coding coding)
{
    struct tg_buf fields;
    tg_buf_init(&fields, (size_t)2 * TG_RESPONSE_FIELDS_MAX);
    enum tg_status status = write_fields(&fields, x, coding);
    if (status == TG_OK) {
        x->encode = new_sink(x, coding, tg_buf_slice(&fields));
        status = x->encode ? TG_OK : TG_ENOMEM;
    }
    tg_buf_fini(&fields);
    if (status != TG_OK)
        return status;
    x->writer.o.ops = &tg_encode_sink_ops;
    x->writer.o.sink = x->encode;
    return TG_OK;
}

enum tg_status tg_compress_apply(struct tg_exchange *x)
{
    const struct tg_compress *policy = x->compress;
    int code = x->head.status;
    if (code == 304)
        return tg_exchange_vary(
            x, TG_SLICE("Accept-Encoding")); /* as the 200 would have it: RFC 9110, 15.4.5 */
    if (code == 204 || is_fixed(x) || !has_type(x))
        return TG_OK;
    enum tg_status status = tg_exchange_vary(x, TG_SLICE("Accept-Encoding"));
    if (status != TG_OK || is_part(x) || is_short(x))
        return status;
    const char *bytes = tg_conn_bytes(x->conn);
    enum tg_coding coding =
        tg_coding_choose(bytes, tg_conn_fields(x->conn), tg_conn_head(x->conn)->field_count,
                         policy->codings, policy->count);
    return coding == TG_CODING_IDENTITY ? TG_OK : encode(x, coding);
}
