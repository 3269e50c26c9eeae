/* format.h - the texts that sequences and tables are printed as. */
#ifndef TG_BODY_FORMAT_H
#define TG_BODY_FORMAT_H

#include <stdbool.h>

#include "util/slice.h"

/* How an element is printed. */
enum tg_dialect {
    TG_DIALECT_JSON,
    TG_DIALECT_EDN,
    TG_DIALECT_CSV,    /* a row (RFC 4180) */
    TG_DIALECT_EVENT,  /* an event of text/event-stream */
    TG_DIALECT_SCRIPT, /* by a function of the script's */
};

/* How the elements of a sequence stand together, and what is inside them. */
struct tg_format {
    struct tg_slice media_type;
    const char *content_type; /* for a response that has none */
    struct tg_slice begin;
    struct tg_slice between; /* before each element but the first */
    struct tg_slice after;   /* after each element */
    struct tg_slice end;
    bool lines; /* a list's items are elements */
    bool raw;   /* elements that are text stand as they are */
    bool bare;  /* rows have no header */
    enum tg_dialect dialect;
    const struct tg_format *inner; /* of what is inside an element */
};

extern const struct tg_format tg_format_json;
extern const struct tg_format tg_format_edn;

/* A Content-Type without its parameters. */
struct tg_slice tg_media_type(struct tg_slice content_type);

/* Whether a media type's suffix is what type is behind its slash ("application/problem+json" and
 * "application/json"; RFC 6839). */
bool tg_media_type_has_suffix(struct tg_slice media_type, struct tg_slice type);

/* How closely a media type is this format's: 2 its own, 1 by its suffix, 0 not. */
int tg_format_closeness(const struct tg_format *format, struct tg_slice media_type);

/* The format of a Content-Type, whose parameters do not matter but for CSV's header=absent; NULL when
 * nothing prints it. */
const struct tg_format *tg_format_find(struct tg_slice content_type);

/* The nth format, the one that wins ties first; NULL past the last. */
const struct tg_format *tg_format_at(size_t n);

#endif
