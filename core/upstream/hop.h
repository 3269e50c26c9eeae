/* hop.h - which fields belong to one connection, and go no further (RFC 9110, 7.6.1). */
#ifndef TG_UPSTREAM_HOP_H
#define TG_UPSTREAM_HOP_H

#include <stdbool.h>

#include "util/slice.h"

/* Connection itself, framing, upgrades, what is between us and a proxy. */
bool tg_hop_by_hop(struct tg_slice name);

/* Whether the value of a Connection field names it. */
bool tg_hop_names(struct tg_slice connection, struct tg_slice name);

#endif
