/* record.h - one event of a topic, formatted once for everybody who gets it. */
#ifndef TG_TOPIC_RECORD_H
#define TG_TOPIC_RECORD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "body/sink.h"
#include "util/map.h"
#include "util/slice.h"
#include "util/status.h"

/* Bytes that many share, across threads. */
struct tg_text {
    atomic_uint refs;
    unsigned line_len; /* of the line that would begin a chunk of it: the end of line */
    size_t len;
    char line[10];
    char bytes[]; /* and a line break, which would end the chunk */
};

struct tg_text *tg_text_new(size_t len); /* with one reference; NULL: no memory */
struct tg_parcel tg_text_parcel(const struct tg_text *text);
struct tg_text *tg_text_ref(struct tg_text *text);              /* text */
void tg_text_unref(struct tg_text *text);                       /* NULL is fine */
void tg_text_release(const void *data, size_t len, void *text); /* a tg_release_fn */

/* What subscribers are sent. */
enum tg_form {
    TG_FORM_STREAM, /* text/event-stream */
    TG_FORM_LINES,  /* application/x-ndjson: {"id":…,"event":…,"data":…} */
    TG_FORMS,
};

/* What is published. */
struct tg_message {
    struct tg_slice event; /* its name; empty: none */
    struct tg_slice key;   /* for topics that keep the latest of each; empty: the event's name */
    struct tg_slice data;
    bool json; /* data is a JSON text */
};

enum {
    TG_EPOCH_LEN = 13,    /* of the text that ids begin with */
    TG_EVENT_ID_MAX = 40, /* bytes of an id, with its NUL */
};

struct tg_record {
    atomic_uint refs;
    bool json;
    bool superseded; /* a newer one of its key was published; the topic's lock */
    bool keyed;      /* by_key is in the topic's map */
    uint64_t number;
    uint64_t at; /* coarse milliseconds */
    char id[TG_EVENT_ID_MAX];
    struct tg_slice event; /* these three in bytes; key is never empty */
    struct tg_slice key;
    struct tg_slice data;
    struct tg_map_node by_key;
    struct tg_text *stream;
    _Atomic(struct tg_text *) line; /* NULL until it is asked for */
    struct tg_record *older;        /* in the list of those that are kept beyond the ring */
    struct tg_record *newer;
    char bytes[];
};

/* "<epoch>-<number>".  Returns its length. */
size_t tg_event_id_print(char out[TG_EVENT_ID_MAX], const char epoch[TG_EPOCH_LEN + 1],
                         uint64_t number);

/* The number in an id of this epoch; false for any other text. */
bool tg_event_id_parse(struct tg_slice id, const char epoch[TG_EPOCH_LEN + 1], uint64_t *number);

/* With one reference; message is copied, and its event has no line break.  NULL: no memory. */
struct tg_record *tg_record_new(const struct tg_message *message,
                                const char epoch[TG_EPOCH_LEN + 1], uint64_t number);
struct tg_record *tg_record_ref(struct tg_record *record); /* record */
void tg_record_unref(struct tg_record *record);            /* NULL is fine */

size_t tg_record_size(const struct tg_record *record); /* bytes of memory, about */

/* The record's text in this form, borrowed from the record.  Any thread.  NULL: no memory. */
struct tg_text *tg_record_text(struct tg_record *record, enum tg_form form);

/* The line that tells of missing events, 0 where nobody knows how many; returns its length. */
int tg_gap_print(char *out, size_t size, uint64_t missed);

/* A text by itself, for one subscriber, as an event with this id (none when empty) and name; data is
 * JSON without a line break.  With one reference; NULL: no memory. */
struct tg_text *tg_note_text(enum tg_form form, struct tg_slice id, struct tg_slice event,
                             struct tg_slice data);

#endif
