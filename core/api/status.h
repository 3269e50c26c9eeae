/* status.h - what a host is told of the statuses within. */
#ifndef TG_API_STATUS_H
#define TG_API_STATUS_H

#include <tidegate.h>

#include "util/status.h"

/* A caller's mistake, and a cap that he ran into, are the same to him. */
enum tidegate_status tg_public_status(enum tg_status status);

#endif
