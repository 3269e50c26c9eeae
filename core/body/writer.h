/* writer.h - the producing end of one response body.
 *
 * Bytes are gathered in a buffer that all writers of a worker share: only one of them runs at a
 * time, and whoever suspends it flushes it first.  So an idle stream holds no buffer at all.
 *
 * The first bytes that go out commit the response.  A body that ends before that goes out with its
 * length, whole.  It knows nothing of HTTP or Lua: a spec drives it with a fake sink.
 */
#ifndef TG_BODY_WRITER_H
#define TG_BODY_WRITER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "body/sink.h"
#include "util/status.h"

struct tg_writer;

/* The shared buffer.  One for a worker. */
struct tg_gather {
    char *bytes;
    size_t size;
    size_t len;
    struct tg_writer *owner;  /* whose bytes they are, neither ended nor failed; NULL: nobody's */
    struct tg_writer *asides; /* those that it was taken from, with something to flush */

    /* Of a filter's (filter.h): the one that all others go to in the end, and a place in its list of
     * those that hold bytes. */
    struct tg_gather *root;
    struct tg_gather *below;
    bool listed;
    struct tg_gather *filters; /* the root's list, the last to have been claimed first */

    bool timed; /* writers note when they commit */
    atomic_uint_fast64_t
        open; /* responses that are committed and whose writer is not over; any thread
                                * may read it */
};

enum { TG_WRITER_ROOM_MAX = 4096 }; /* bytes that tg_writer_room() gives at a time, at the most */

/* TG_ENOMEM.  A size below TG_WRITER_ROOM_MAX is taken for that. */
TG_MUST_CHECK enum tg_status tg_gather_init(struct tg_gather *gather, size_t size);
void tg_gather_fini(struct tg_gather *gather);

/* Flushes every writer that has something to flush, here and in the filters in front of it: whoever
 * produces is about to wait.  A failure shows at the writer's next call. */
void tg_gather_flush(struct tg_gather *gather);

struct tg_writer_options {
    const struct tg_sink_ops *ops;
    void *sink;
    struct tg_gather *gather; /* outlives the writer */
    size_t high_water;        /* bytes waiting for the client: write says TG_AGAIN from here on */
    size_t low_water;
};

/* A pointer to a writer for whoever may outlive it: w becomes NULL when the writer goes. */
struct tg_writer_watch {
    struct tg_writer *w;
    struct tg_writer_watch *next;
    struct tg_writer_watch **link;
};

/* Of one of those that wait until writing may go on. */
struct tg_writer_wish {
    struct tg_writer *w; /* NULL while it is granted */
    struct tg_writer_wish *next;
    struct tg_writer_wish **link; /* NULL: it is no wish */
    void (*fn)(void *arg, bool gone);
    void *arg;
};

struct tg_writer {
    struct tg_writer_options o;
    struct tg_response_head *head; /* borrowed until committed, NULL after */
    char *aside;                   /* gathered bytes that another writer pushed out; mostly NULL */
    size_t aside_len;              /* no more than the gather's size */
    struct tg_writer *next_aside;  /* of the gather's */
    struct tg_writer **aside_link; /* NULL: it is none of them */
    uint64_t bytes;                /* of body taken so far */
    uint64_t length;               /* as committed: declared, or TG_LENGTH_UNKNOWN */
    uint64_t committed_at;         /* nanoseconds, where the gather is timed */
    uint64_t turn;                 /* bytes sent since the last wait: one stream must not hog */
    enum tg_status failed;         /* TG_OK, or why nothing more is taken */
    bool committed;
    bool ended;
    bool held;      /* the sink was told that more follows: a flush is to reach it */
    bool must_wait; /* set with TG_AGAIN; cleared when tg_writer_on_drain() calls */
    void (*drain_fn)(void *arg);
    void *drain_arg;
    size_t drain_mark;             /* bytes waiting at which drain_fn is called */
    struct tg_writer_wish *wishes; /* the longest waiting first */
    struct tg_writer_watch *watches;
};

void tg_writer_init(struct tg_writer *w, const struct tg_writer_options *options);
void tg_writer_fini(struct tg_writer *w); /* throws away what has not gone out */

void tg_writer_watch(struct tg_writer *w, struct tg_writer_watch *watch);
void tg_writer_unwatch(struct tg_writer_watch *watch); /* nothing when w is NULL */

/* Says which response the bytes belong to; head stays valid until the writer has committed or is
 * freed.  Needed before anything can go out.  head->length is read when bytes are taken and fixed
 * when the response is committed. */
void tg_writer_begin(struct tg_writer *w, struct tg_response_head *head);

/* What tg_writer_write() does when the bytes do not simply fit. */
enum tg_status tg_writer_write_out(struct tg_writer *w, const void *data, size_t len);

/* Bytes of the declared length that are still to come. */
static inline uint64_t tg_writer_left(const struct tg_writer *w)
{
    uint64_t length = w->head ? w->head->length : w->length;
    return w->bytes < length ? length - w->bytes : 0;
}

/* Takes all of data (copied) or, on an error, none.  TG_AGAIN means taken, but the client is slow, or
 * others should have a turn: wait until tg_writer_on_drain() calls before writing more.
 * TG_ECLOSED: the client is gone.  TG_ELIMIT: more than the declared length.  TG_EINVAL: the body
 * has ended, or has not begun.  After an error every call says the same again. */
static inline enum tg_status tg_writer_write(struct tg_writer *w, const void *data, size_t len)
{
    struct tg_gather *gather = w->o.gather;
    if (gather->owner != w || len > gather->size - gather->len || len > tg_writer_left(w))
        return tg_writer_write_out(w, data, len);
    memcpy(gather->bytes + gather->len, data, len);
    gather->len += len;
    w->bytes += len;
    return w->must_wait ? TG_AGAIN : TG_OK;
}

/* As tg_writer_write(), lending the bytes: release is called once, on an error too. */
enum tg_status tg_writer_write_lent(struct tg_writer *w, const void *data, size_t len,
                                    tg_release_fn release, void *arg);

/* Sends the parcel at once, after what is gathered: for what goes to many in the same words.  Lent, as
 * above.  TG_AGAIN: some of it waits for the client; tg_writer_on_empty() tells when it does not. */
enum tg_status tg_writer_pass(struct tg_writer *w, const struct tg_parcel *parcel,
                              tg_release_fn release, void *arg);

/* Sends what is gathered, and the head if that has not gone.  TG_AGAIN as above. */
enum tg_status tg_writer_flush(struct tg_writer *w);

/* Whether the sink can send files; where it cannot they are read into tg_writer_space(). */
static inline bool tg_writer_sends_files(const struct tg_writer *w)
{
    return w->o.ops->send_file != NULL;
}

/* Sends part of a file after what is gathered; see tg_sink_ops.send_file.  TG_AGAIN: on_sent is to
 * come.  TG_OK: it is sent, and must_wait says whether to wait as after a write.  The bytes count as
 * written. */
enum tg_status tg_writer_send_file(struct tg_writer *w, int fd, off_t offset, uint64_t len,
                                   void (*on_sent)(void *arg, enum tg_status status), void *arg);

/* Gives up a file for which on_sent is still to come: it is not called, and the body has failed. */
void tg_writer_stop_file(struct tg_writer *w);

/* Ends a whole body.  TG_ELIMIT: shorter than declared (nothing is sent: abort).  A second end does
 * nothing and says TG_OK. */
enum tg_status tg_writer_end(struct tg_writer *w);

/* Commits and ends without a body, whatever length the head declares: HEAD, 204, 304. */
enum tg_status tg_writer_end_bodyless(struct tg_writer *w);

/* One call of fn(arg), from the loop, when writing may go on; clears must_wait before it.  fn NULL
 * takes the wish back. */
void tg_writer_on_drain(struct tg_writer *w, void (*fn)(void *arg), void *arg);

/* The same when nothing that was sent waits for the client any more. */
void tg_writer_on_empty(struct tg_writer *w, void (*fn)(void *arg), void *arg);

/* As tg_writer_on_drain(), for any number who wait: fn is called once, the longest waiting first, and
 * the wish is none any more.  gone: the writer goes, and whatever owns it is at its end. */
void tg_writer_wish(struct tg_writer *w, struct tg_writer_wish *wish,
                    void (*fn)(void *arg, bool gone), void *arg);
void tg_writer_unwish(struct tg_writer_wish *wish); /* nothing when it is none */

/* What tg_writer_room() does when the gathered bytes leave too little room. */
char *tg_writer_make_room(struct tg_writer *w, size_t n);

/* Room for n <= TG_WRITER_ROOM_MAX bytes to print into, to be followed by tg_writer_advance() before
 * anything else is called on w.  NULL: the body takes no more, w->failed says why. */
static inline char *tg_writer_room(struct tg_writer *w, size_t n)
{
    struct tg_gather *gather = w->o.gather;
    if (gather->owner == w && n <= gather->size - gather->len)
        return gather->bytes + gather->len;
    return tg_writer_make_room(w, n);
}

/* The room that there is without sending anything, as from tg_writer_room(): *size bytes of it.  It need not
 * be followed by anything.  NULL: there is none. */
static inline char *tg_writer_spare(struct tg_writer *w, size_t *size)
{
    struct tg_gather *gather = w->o.gather;
    size_t left = gather->size - gather->len;
    *size = left < TG_WRITER_ROOM_MAX ? left : TG_WRITER_ROOM_MAX;
    return gather->owner == w ? gather->bytes + gather->len : NULL;
}

/* Room for as many bytes as the gather holds at a time, to read into: *size of them, no fewer than
 * half of it.  To be followed by tg_writer_advance() (by 0, too) before anything else is called on w.
 * NULL as from tg_writer_room(). */
char *tg_writer_space(struct tg_writer *w, size_t *size);

/* Takes the first n of the bytes that tg_writer_room() or tg_writer_space() gave.  A declared length that they exceed
 * shows when they are to go out: w->failed is TG_ELIMIT then, and none of them does. */
static inline void tg_writer_advance(struct tg_writer *w, size_t n)
{
    w->o.gather->len += n;
    w->bytes += n;
}

#endif
