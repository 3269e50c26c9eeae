/* status.c - what a host is told of the statuses within. */
#include "api/status.h"

enum tidegate_status tg_public_status(enum tg_status status)
{
    switch (status) {
    case TG_OK:
        return TIDEGATE_OK;
    case TG_AGAIN:
        return TIDEGATE_AGAIN;
    case TG_ENOMEM:
        return TIDEGATE_ENOMEM;
    case TG_ECLOSED:
        return TIDEGATE_ECLOSED;
    case TG_EINVAL:
    case TG_ELIMIT:
        return TIDEGATE_EINVAL;
    case TG_EIO:
        break;
    }
    return TIDEGATE_EIO;
}
