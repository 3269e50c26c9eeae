/* format.c - the table of formats. */
#include "body/format.h"

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
};

static const struct tg_format ndjson = {
    .media_type = TEXT("application/x-ndjson"),
    .content_type = "application/x-ndjson",
    .begin = TEXT(""),
    .between = TEXT(""),
    .after = TEXT("\n"),
    .end = TEXT(""),
    .lines = true,
};

static const struct tg_format jsonl = {
    .media_type = TEXT("application/jsonl"),
    .content_type = "application/jsonl",
    .begin = TEXT(""),
    .between = TEXT(""),
    .after = TEXT("\n"),
    .end = TEXT(""),
    .lines = true,
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
};

static const struct tg_format *const formats[] = {&tg_format_json, &ndjson, &jsonl, &text};

const struct tg_format *tg_format_at(size_t n)
{
    return n < sizeof formats / sizeof *formats ? formats[n] : NULL;
}

const struct tg_format *tg_format_find(struct tg_slice media_type)
{
    const char *end = media_type.len ? memchr(media_type.p, ';', media_type.len) : NULL;
    if (end)
        media_type.len = (size_t)(end - media_type.p);
    while (media_type.len &&
           (media_type.p[media_type.len - 1] == ' ' || media_type.p[media_type.len - 1] == '\t'))
        media_type.len--;
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (tg_slice_equal_nocase(media_type, formats[i]->media_type))
            return formats[i];
    return NULL;
}
