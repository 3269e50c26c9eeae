/* print.h - prints Lua values through a writer, suspending whenever its client is slow. */
#ifndef TG_LUA_PRINT_H
#define TG_LUA_PRINT_H

#include <lua.h>

#include "body/format.h"
#include "body/writer.h"

enum { TG_PRINT_DEPTH_MAX = 128 }; /* of tables in tables */

/* Both are to be returned from a C function that runs in a task: what they do after a wait is all
 * that is left of it.  They raise what must not be printed, with its path ("$.a.b[3]"), and what
 * stops the writer.  w and format outlive the wait. */

/* The value at index as a whole body: a sequence as the format frames it, a table as one value, or,
 * where the format has lines, a list as an element a line. */
int tg_print_body(lua_State *L, struct tg_writer *w, const struct tg_format *format, int index);

/* The value at index as one element, with what follows an element in this format. */
int tg_print_element(lua_State *L, struct tg_writer *w, const struct tg_format *format, int index);

#endif
