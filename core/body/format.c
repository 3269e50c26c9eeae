/* format.c - the table of formats. */
#include "body/format.h"

#include <string.h>
#include <strings.h>

#define TEXT(literal)                                                                              \
    {                                                                                              \
        (literal), sizeof(literal) - 1                                                             \
    }

const struct tg_format tg_format_json = {
    .media_type = TEXT("application/json"),
    .content_type = "application/json",
    .begin = TEXT("["),
    .between = TEXT(","),
    .after = TEXT(""),
    .end = TEXT("]"),
    .inner = &tg_format_json,
};

const struct tg_format tg_format_edn = {
    .media_type = TEXT("application/edn"),
    .content_type = "application/edn",
    .begin = TEXT("["),
    .between = TEXT(" "),
    .after = TEXT(""),
    .end = TEXT("]"),
    .dialect = TG_DIALECT_EDN,
    .inner = &tg_format_edn,
};

static const struct tg_format csv = {
    .media_type = TEXT("text/csv"),
    .content_type = "text/csv; charset=utf-8",
    .begin = TEXT(""),
    .between = TEXT(""),
    .after = TEXT("\r\n"),
    .end = TEXT(""),
    .lines = true,
    .dialect = TG_DIALECT_CSV,
    .inner = &tg_format_json,
};

static const struct tg_format csv_bare = {
    .media_type = TEXT("text/csv"),
    .content_type = "text/csv; charset=utf-8; header=absent",
    .begin = TEXT(""),
    .between = TEXT(""),
    .after = TEXT("\r\n"),
    .end = TEXT(""),
    .lines = true,
    .bare = true,
    .dialect = TG_DIALECT_CSV,
    .inner = &tg_format_json,
};

static const struct tg_format event_stream = {
    .media_type = TEXT("text/event-stream"),
    .content_type = "text/event-stream; charset=utf-8",
    .begin = TEXT(""),
    .between = TEXT(""),
    .after = TEXT("\n\n"),
    .end = TEXT(""),
    .lines = true,
    .raw = true,
    .dialect = TG_DIALECT_EVENT,
    .inner = &tg_format_json,
};

static const struct tg_format ndjson = {
    .media_type = TEXT("application/x-ndjson"),
    .content_type = "application/x-ndjson",
    .begin = TEXT(""),
    .between = TEXT(""),
    .after = TEXT("\n"),
    .end = TEXT(""),
    .lines = true,
    .inner = &tg_format_json,
};

static const struct tg_format jsonl = {
    .media_type = TEXT("application/jsonl"),
    .content_type = "application/jsonl",
    .begin = TEXT(""),
    .between = TEXT(""),
    .after = TEXT("\n"),
    .end = TEXT(""),
    .lines = true,
    .inner = &tg_format_json,
};

static const struct tg_format text = {
    .media_type = TEXT("text/plain"),
    .content_type = "text/plain; charset=utf-8",
    .begin = TEXT(""),
    .between = TEXT(""),
    .after = TEXT("\n"),
    .end = TEXT(""),
    .lines = true,
    .raw = true,
    .inner = &tg_format_json,
};

static const struct tg_format *const formats[] = {
    &tg_format_json, &ndjson, &jsonl, &text, &csv, &event_stream, &tg_format_edn};

const struct tg_format *tg_format_at(size_t n)
{
    return n < sizeof formats / sizeof *formats ? formats[n] : NULL;
}

struct tg_slice tg_media_type(struct tg_slice content_type)
{
    struct tg_slice media_type = content_type;
    const char *end = media_type.len ? memchr(media_type.p, ';', media_type.len) : NULL;
    if (end)
        media_type.len = (size_t)(end - media_type.p);
    while (media_type.len &&
           (media_type.p[media_type.len - 1] == ' ' || media_type.p[media_type.len - 1] == '\t'))
        media_type.len--;
    return media_type;
}

/* Whether CSV's only parameter of interest is there (RFC 4180, 3). */
static bool says_headless(struct tg_slice content_type)
{
    static const char parameter[] = "header=absent";
    size_t len = sizeof parameter - 1;
    for (size_t i = 0; i + len <= content_type.len; i++)
        if (strncasecmp(content_type.p + i, parameter, len) == 0)
            return true;
    return false;
}

bool tg_media_type_has_suffix(struct tg_slice media_type, struct tg_slice type)
{
    const char *plus = media_type.len ? memrchr(media_type.p, '+', media_type.len) : NULL;
    const char *slash = type.len ? memrchr(type.p, '/', type.len) : NULL;
    if (!plus || !slash)
        return false;
    struct tg_slice suffix = {plus + 1, (size_t)(media_type.p + media_type.len - plus - 1)};
    struct tg_slice subtype = {slash + 1, (size_t)(type.p + type.len - slash - 1)};
    return suffix.len && tg_slice_equal_nocase(suffix, subtype);
}

int tg_format_closeness(const struct tg_format *format, struct tg_slice media_type)
{
    if (tg_slice_equal_nocase(media_type, format->media_type))
        return 2;
    return tg_media_type_has_suffix(media_type, format->media_type) ? 1 : 0;
}

const struct tg_format *tg_format_find(struct tg_slice content_type)
{
    struct tg_slice media_type = tg_media_type(content_type);
    const struct tg_format *found = NULL;
    int best = 0;
    for (size_t i = 0; media_type.len && i < sizeof formats / sizeof *formats; i++) {
        int closeness = tg_format_closeness(formats[i], media_type);
        if (closeness > best)
            found = formats[i];
        best = closeness > best ? closeness : best;
    }
    return found == &csv && says_headless(content_type) ? &csv_bare : found;
}
