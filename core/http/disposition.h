/* disposition.h - Content-Disposition (RFC 6266). */
#ifndef TG_HTTP_DISPOSITION_H
#define TG_HTTP_DISPOSITION_H

#include "util/buf.h"
#include "util/slice.h"

/* Adds "attachment" to out, with the name under which it is to be saved: as a quoted string for
 * everyone and, where that cannot say it, as UTF-8 for those who read RFC 8187.  A path's folders and
 * what is no character are left out.  TG_ENOMEM, TG_ELIMIT. */
TG_MUST_CHECK enum tg_status tg_disposition_add(struct tg_buf *out, struct tg_slice name);

#endif
