/* edn.h - names of fields in EDN (edn-format.org); its strings and numbers are JSON's. */
#ifndef TG_BODY_EDN_H
#define TG_BODY_EDN_H

#include <stdbool.h>

#include "body/writer.h"
#include "util/slice.h"
#include "util/status.h"

/* Whether it reads back from behind a colon: a symbol of ASCII, perhaps with a namespace ("a/b"). */
bool tg_edn_is_keyword(struct tg_slice name);

/* A keyword where that can be, else a string.  As tg_json_string(). */
enum tg_status tg_edn_name(struct tg_writer *w, struct tg_slice name);

#endif
