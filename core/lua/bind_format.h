/* bind_format.h - tg.format: formats of the script's own, and all formats by media type. */
#ifndef TG_LUA_BIND_FORMAT_H
#define TG_LUA_BIND_FORMAT_H

#include <lua.h>

#include "body/format.h"

enum { TG_SCRIPT_FORMATS_MAX = 64 };

void tg_formats_open(lua_State *L); /* adds tg.format to the table on top; once per state */

/* The format of a Content-Type: the library's, or one that the script has added; NULL: neither. */
const struct tg_format *tg_formats_find(lua_State *L, struct tg_slice content_type);

/* The nth of all, the one that wins ties first; NULL past the last. */
const struct tg_format *tg_formats_at(lua_State *L, size_t n);

/* Of a format of the script's: pushes the function that prints an element, or what is at the end. */
void tg_format_push_function(lua_State *L, const struct tg_format *format, bool finish);
bool tg_format_finishes(const struct tg_format *format); /* there is such a one for the end */

#endif
