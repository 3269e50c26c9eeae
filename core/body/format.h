/* format.h - the texts that sequences and tables are printed as. */
#ifndef TG_BODY_FORMAT_H
#define TG_BODY_FORMAT_H

#include <stdbool.h>

#include "util/slice.h"

/* How the elements of a sequence stand together.  What is inside an element is JSON. */
struct tg_format {
    struct tg_slice media_type;
    const char *content_type; /* for a response that has none */
    struct tg_slice begin;
    struct tg_slice between; /* before each element but the first */
    struct tg_slice after;   /* after each element */
    struct tg_slice end;
    bool
        lines; /* a list's items are elements; elements that are strings stand as they are if raw */
    bool raw;
};

extern const struct tg_format tg_format_json;

/* The format of a media type, whose parameters do not matter; NULL when nothing prints it. */
const struct tg_format *tg_format_find(struct tg_slice media_type);

/* The nth format, the one that wins ties first; NULL past the last. */
const struct tg_format *tg_format_at(size_t n);

#endif
