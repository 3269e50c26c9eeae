/* list.h - lists in field values: elements with parameters and weights (RFC 9110, 5.6.1 and 12.4.2). */
#ifndef TG_HTTP_LIST_H
#define TG_HTTP_LIST_H

#include <stdbool.h>

#include "util/slice.h"

enum { TG_WEIGHT_MOST = 1000 }; /* q=1 */

/* Takes what stands before the next separator off *rest, without the white space around it. */
struct tg_slice tg_list_take(struct tg_slice *rest, char separator);

/* The weight that an element's parameters (what follows its first ';') give it, in thousandths. */
int tg_list_weight(struct tg_slice parameters);

/* Whether a list that is separated by commas has this token as an element, in any case. */
bool tg_list_has(struct tg_slice list, struct tg_slice token);

#endif
