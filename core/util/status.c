/* status.c - what statuses are called. */
#include "util/status.h"

const char *tg_status_text(enum tg_status status)
{
    switch (status) {
    case TG_OK:
        return "ok";
    case TG_AGAIN:
        return "again";
    case TG_ECLOSED:
        return "closed";
    case TG_ENOMEM:
        return "out of memory";
    case TG_EIO:
        return "input/output error";
    case TG_EINVAL:
        return "invalid argument";
    case TG_ELIMIT:
        return "limit reached";
    }
    return "unknown status";
}
