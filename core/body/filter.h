/* filter.h - a writer whose bytes go into another one, changed on the way. */
#ifndef TG_BODY_FILTER_H
#define TG_BODY_FILTER_H

#include "body/event.h"
#include "body/writer.h"

enum tg_filter_mode {
    TG_FILTER_AS_IS,
    TG_FILTER_ONE_LINE, /* a line break becomes a space: to JSON it is the same */
    TG_FILTER_JSON,     /* the inside of a JSON string; what is no UTF-8 becomes U+FFFD */
    TG_FILTER_CSV,      /* the inside of a cell in quotes */
    TG_FILTER_EVENT,    /* data of an event, which has begun: a field for each line */
};

/* Its writer waits when its target has to, and is flushed with it (tg_gather_flush()). */
struct tg_filter {
    struct tg_writer writer;
    struct tg_gather gather;
    struct tg_response_head head;
    struct tg_writer_watch target;
    enum tg_filter_mode mode;
    struct tg_event_pen pen; /* of TG_FILTER_EVENT */
    char held[4];            /* the beginning of a character, whose rest is still to come */
    unsigned held_len;
};

/* target has begun, and may go at any time.  TG_ENOMEM: filter is as nothing then. */
TG_MUST_CHECK enum tg_status tg_filter_init(struct tg_filter *filter, struct tg_writer *target,
                                            enum tg_filter_mode mode);
void tg_filter_fini(struct tg_filter *filter); /* throws away what has not gone on */

/* All of it has been written: what is left goes to the target.  What tg_writer_end() says. */
enum tg_status tg_filter_end(struct tg_filter *filter);

#endif
