/* event.h - formats text/event-stream (WHATWG HTML, 9.2.5 and 9.2.6) into a buffer or through a writer.
 *
 * A pen puts down line after line, each but the first behind a line break, and allocates nothing:
 * tg_event_end() ends an event with the empty line at which clients dispatch it.
 */
#ifndef TG_BODY_EVENT_H
#define TG_BODY_EVENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "body/writer.h"
#include "util/buf.h"
#include "util/slice.h"
#include "util/status.h"

enum { TG_EVENT_FIELD_MAX = 1024 }; /* bytes of an event's name, and of its id */

struct tg_event_pen {
    /* Takes all of the bytes or, on an error, none. */
    enum tg_status (*put)(void *to, const void *bytes, size_t len);
    void *to;
    enum tg_status status; /* of what was put so far: TG_AGAIN, or the first error, stays */
    bool begun;            /* there is a line, which is not ended */
    bool cr; /* the data so far ends in CR: an LF behind it is of the same line break */
};

struct tg_event_pen tg_event_pen_to_buf(struct tg_buf *buf);     /* borrowed, as the others */
struct tg_event_pen tg_event_pen_to_writer(struct tg_writer *w); /* TG_AGAIN as tg_writer_write() */
struct tg_event_pen tg_event_pen_to(enum tg_status (*put)(void *to, const void *bytes, size_t len),
                                    void *to);

/* --- Field by field: all return pen->status, or what is wrong with the value ---------------------- */

/* TG_EINVAL: a CR, LF or NUL in the value; TG_ELIMIT: it is too long.  Nothing is put down then, and
 * the pen is as it was. */
enum tg_status tg_event_name(struct tg_event_pen *pen, struct tg_slice name);
enum tg_status tg_event_id(struct tg_event_pen *pen, struct tg_slice id); /* "": forgets the last */

enum tg_status tg_event_retry(struct tg_event_pen *pen, uint64_t milliseconds);

/* A `data` field for each line of text; LF, CR LF and CR end one, and what is behind the last of them
 * is a line too, if an empty one. */
enum tg_status tg_event_data(struct tg_event_pen *pen, struct tg_slice text);

/* The same in pieces, split anywhere. */
enum tg_status tg_event_begin_data(struct tg_event_pen *pen);
enum tg_status tg_event_add_data(struct tg_event_pen *pen, struct tg_slice piece);

/* As data, but comments, which clients pass over. */
enum tg_status tg_event_comment(struct tg_event_pen *pen, struct tg_slice text);

/* The end of the event, or comment; nothing where none was begun. */
enum tg_status tg_event_end(struct tg_event_pen *pen);

/* --- Whole events ----------------------------------------------------------------------------- */

#define TG_EVENT_NO_RETRY UINT64_MAX

struct tg_event {
    struct tg_slice name; /* p NULL: none, as for the next two */
    struct tg_slice id;
    struct tg_slice data; /* where there is none, clients take note of the rest, but see no event */
    uint64_t retry;       /* milliseconds, or TG_EVENT_NO_RETRY */
};

/* event, id, retry, data, and the end.  TG_EINVAL and TG_ELIMIT as above, for any of the fields:
 * nothing is put down then. */
enum tg_status tg_event_print(struct tg_event_pen *pen, const struct tg_event *event);

/* The same to the end of buf; nothing is added on an error, TG_ENOMEM and buf's cap among them. */
TG_MUST_CHECK enum tg_status tg_event_format(struct tg_buf *buf, const struct tg_event *event);

#endif
