/* print.h - prints Lua values through a writer, suspending whenever its client is slow. */
#ifndef TG_LUA_PRINT_H
#define TG_LUA_PRINT_H

#include <lua.h>

#include "body/format.h"
#include "body/writer.h"

struct tg_out;

enum { TG_PRINT_DEPTH_MAX = 128 }; /* of tables and sequences in each other */

/* All take over the C function that calls them, its stack included: `return tg_print_body(…)`. They
 * return no results, perhaps only after waits, so the caller needs no continuation; one that has
 * more to do calls such a function with lua_callk().  They raise what must not be printed, with
 * its path ("$.a.b[3]", from 1 on), and what stops the writer.
 *
 * The writer may go while a script still holds what could print to it. */

/* The value at index as a whole body of out: a sequence as the format frames it, a table as one value,
 * or, where the format has lines, a list as an element a line.  Nothing is written before the first
 * element is there, so that a producer that fails at once can still be answered with an error. */
int tg_print_body(lua_State *L, const struct tg_out *out, int index);

/* The same, as rows of CSV, whatever out's format, for what tg.csv() has made. */
int tg_print_csv(lua_State *L, const struct tg_out *out, int index);

/* The value at index as JSON; other bodies inside it are refused, as what has no text. */
int tg_print_value(lua_State *L, struct tg_writer *w, int index);

/* The value at index as one element by itself, and what follows an element in this format: a line
 * break where it has nothing, lest two numbers become one. */
int tg_print_element(lua_State *L, const struct tg_out *out, int index);

#endif
