/* explain.h - the page that --dev shows of an error that nobody has handled. */
#ifndef TG_LUA_EXPLAIN_H
#define TG_LUA_EXPLAIN_H

#include <stdbool.h>

#include "engine/exchange.h"

/* Sets the exchange's response.  False: it could not be made; nothing has changed.  Not from inside
 * Lua. */
bool tg_explain(struct tg_exchange *x, const char *script_path);

#endif
