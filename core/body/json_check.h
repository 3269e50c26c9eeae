/* json_check.h - whether bytes are a JSON text (RFC 8259). */
#ifndef TG_BODY_JSON_CHECK_H
#define TG_BODY_JSON_CHECK_H

#include <stdbool.h>

#include "util/slice.h"

enum { TG_JSON_DEPTH_MAX = 128 }; /* of lists and objects in each other */

/* One value with white space around it, in valid UTF-8, and no deeper than TG_JSON_DEPTH_MAX. */
bool tg_json_valid(struct tg_slice text);

bool tg_utf8_valid(struct tg_slice text); /* RFC 3629 */

#endif
