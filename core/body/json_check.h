/* json_check.h - whether bytes are a JSON text (RFC 8259). */
#ifndef TG_BODY_JSON_CHECK_H
#define TG_BODY_JSON_CHECK_H

#include <stdbool.h>

#include "util/slice.h"

enum { TG_JSON_DEPTH_MAX = 128 }; /* of lists and objects in each other */

enum tg_json_fault {
    TG_JSON_FINE,
    TG_JSON_NOT_UTF8,
    TG_JSON_TOO_DEEP,
    TG_JSON_UNEXPECTED, /* the bytes there, or the end of the text */
};

/* One value with white space around it, in valid UTF-8, and no deeper than TG_JSON_DEPTH_MAX. *at is where
 * it is at fault, from 0 on. */
enum tg_json_fault tg_json_check(struct tg_slice text, size_t *at);
bool tg_json_valid(struct tg_slice text);

bool tg_utf8_valid(struct tg_slice text); /* RFC 3629 */

#endif
