/* sink.h - what a response asks of whatever carries it to the client: a socket, or a spec. */
#ifndef TG_BODY_SINK_H
#define TG_BODY_SINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "util/slice.h"
#include "util/status.h"

#define TG_LENGTH_UNKNOWN UINT64_MAX

/* A response's status and fields, without its framing. */
struct tg_response_head {
    int status;             /* 200..999 */
    struct tg_slice fields; /* checked field lines, each ending in CRLF; no framing fields */
    uint64_t length;        /* of the body in bytes, or TG_LENGTH_UNKNOWN */
    bool has_date;          /* fields hold a Date */
    bool close;             /* the connection is to end with this response */
};

enum {
    TG_SEND_LAST = 1, /* the body ends with these bytes */
    TG_SEND_MORE = 2, /* another send follows in this turn: a sink that codes may hold these back */
};

/* Called once, when the sink is done with bytes it was lent; perhaps before the call returns. */
typedef void (*tg_release_fn)(const void *data, size_t len, void *arg);

/* Bytes that go out alike to many: around them is, ready, what makes a chunk of them (RFC 9112, 7.1). */
struct tg_parcel {
    const char *bytes;
    size_t len;    /* more than 0 */
    size_t before; /* bytes of framing in front of them */
    size_t after;  /* and behind */
};

/* All of these are called on the worker's own thread and call back only where they say so. */
struct tg_sink_ops {
    /* Fixes status, fields and framing; nothing goes out yet.  head is borrowed until it returns.
     * Called once for a response, before any send. */
    enum tg_status (*commit)(void *sink, const struct tg_response_head *head);

    /* Sends what commit fixed, if that is still to do, then the n runs of bytes (n may be 0).
     * All of the bytes are taken (copied) or, on an error, none.  TG_ECLOSED: the client is gone. */
    enum tg_status (*send)(void *sink, const struct iovec *runs, int n, unsigned flags);

    /* As send, for one run that the sink may keep until it calls release(data, len, arg). */
    enum tg_status (*send_lent)(void *sink, const void *data, size_t len, unsigned flags,
                                tg_release_fn release, void *arg);

    /* The same for a parcel; the release is of its bytes. May be NULL: send_lent does. */
    enum tg_status (*send_parcel)(void *sink, const struct tg_parcel *parcel, tg_release_fn release,
                                  void *arg);

    /* Sends len bytes of fd from offset on.  TG_OK: they are sent.  TG_AGAIN: fd is borrowed until
     * on_sent is called, from the loop, with TG_OK, TG_EIO (the file has shrunk or cannot be read) or
     * TG_ECLOSED; on_sent is not called after the sink has told its owner that it is gone, nor after
     * stop_file.  TG_EIO: as there, at once.  NULL where bytes cannot go from a file to the client
     * unseen: they are to be read, and sent. */
    enum tg_status (*send_file)(void *sink, int fd, off_t offset, uint64_t len, unsigned flags,
                                void (*on_sent)(void *arg, enum tg_status status), void *arg);

    /* Lets go of the fd of a send_file that goes on, if there is one.  The body has a hole then: no
     * more is to be sent of it.  NULL with send_file. */
    void (*stop_file)(void *sink);

    /* Bytes taken and not yet given to the kernel. */
    size_t (*pending)(void *sink);

    /* Calls fn(arg) once, from the loop and not before the next turn of it, when pending is no more
     * than low_water bytes.  fn NULL takes the wish back. */
    void (*on_drain)(void *sink, size_t low_water, void (*fn)(void *arg), void *arg);
};

#endif
