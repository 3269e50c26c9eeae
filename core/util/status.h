/* status.h - what internal calls return: below zero it is an error. */
#ifndef TG_UTIL_STATUS_H
#define TG_UTIL_STATUS_H

enum tg_status {
    TG_OK = 0,
    TG_AGAIN = 1,    /* done, but wait before doing more */
    TG_ECLOSED = -1, /* the peer, or the object, has gone */
    TG_ENOMEM = -2,
    TG_EIO = -3, /* errno says what */
    TG_EINVAL = -4,
    TG_ELIMIT = -5, /* a named cap was reached */
};

#define TG_MUST_CHECK __attribute__((warn_unused_result))

const char *tg_status_text(enum tg_status status); /* never NULL */

#endif
