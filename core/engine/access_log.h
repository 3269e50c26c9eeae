/* access_log.h - a line for each exchange, for people or for programs. */
#ifndef TG_ENGINE_ACCESS_LOG_H
#define TG_ENGINE_ACCESS_LOG_H

#include <stddef.h>
#include <stdint.h>

#include "util/buf.h"
#include "util/log.h"

struct tg_exchange;

enum tg_access_format { TG_ACCESS_OFF, TG_ACCESS_TEXT, TG_ACCESS_JSON };

enum {
    TG_ACCESS_FIELDS_MAX = 16,   /* fields of requests that a line may have besides */
    TG_ACCESS_TARGET_MAX = 4096, /* bytes of a target; a longer one is cut */
    TG_ACCESS_VALUE_MAX = 1024,  /* of a field */
};

/* A worker's. */
struct tg_access_log {
    enum tg_access_format format;
    const struct tg_log *log; /* for text, and for JSON where write is NULL; borrowed */
    void (*write)(void *arg, const char *line);
    void *arg;
    struct tg_buf line; /* the last one */
};

/* For scripts: the names, in lower case, of what a line has of a request's fields. */
struct tg_access_fields {
    char *names[TG_ACCESS_FIELDS_MAX];
    size_t count;
};

void tg_access_log_init(struct tg_access_log *access);
void tg_access_log_fini(struct tg_access_log *access);

/* x is at its end, for a reason of one word; now is tg_clock_ns()'s. */
void tg_access_log_exchange(struct tg_exchange *x, const char *reason, uint64_t now);

/* The fields of x's request, or its script, are about to be let go of: what the line needs of them is
 * kept.  Without memory it will be missing. */
void tg_access_log_keep(struct tg_exchange *x);

/* A head that was refused. */
void tg_access_log_refused(struct tg_access_log *access, const char *peer, int status);

#endif
