/* vary.h - which fields of the request have decided what a response is (RFC 9110, 12.5.5). */
#ifndef TG_ENGINE_VARY_H
#define TG_ENGINE_VARY_H

#include "engine/exchange.h"

/* Adds a field name to the response's Vary, unless it is there, or Vary is "*".  As
 * tg_exchange_add_field(). */
TG_MUST_CHECK enum tg_status tg_exchange_vary(struct tg_exchange *x, struct tg_slice by);

#endif
