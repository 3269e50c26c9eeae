/* csv.h - cells of CSV (RFC 4180). */
#ifndef TG_BODY_CSV_H
#define TG_BODY_CSV_H

#include <stdbool.h>
#include <stddef.h>

#include "body/writer.h"
#include "util/slice.h"
#include "util/status.h"

/* Whether a text stands in a cell as it is: it is not empty (an empty cell is no text at all), and has no
 * separator, quote or line break. */
bool tg_csv_is_plain(struct tg_slice text, char separator);

/* The inside of a cell in quotes: prints what of *s fits into size bytes (2 or more), takes it off *s, and
 * returns the length of what was printed. */
size_t tg_csv_escape(char *out, size_t size, const char **s, size_t *len);

/* A whole cell, in quotes where it needs them.  As tg_writer_write(). */
enum tg_status tg_csv_cell(struct tg_writer *w, struct tg_slice text, char separator);

#endif
