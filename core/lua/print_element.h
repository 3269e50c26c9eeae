/* print_element.h - elements of formats whose elements are no JSON: rows, events, and the script's. */
#ifndef TG_LUA_PRINT_ELEMENT_H
#define TG_LUA_PRINT_ELEMENT_H

#include "lua/print_impl.h"

enum tg_element {
    TG_ELEMENT_DONE, /* it is printed */
    TG_ELEMENT_OPEN, /* a part of it has taken its place on top: that is to be printed as format->inner */
    TG_ELEMENT_CALL, /* in its place are a function and two arguments: its result is the text */
};

/* Prints the element on top, number n.  The printer is at 1.  Raises what cannot be printed. */
enum tg_element tg_print_special(lua_State *L, struct tg_printer *p, const struct tg_format *format,
                                 lua_Integer n);

static inline bool tg_is_special(const struct tg_format *format)
{
    return format->dialect > TG_DIALECT_EDN;
}

#endif
