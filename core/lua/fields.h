/* fields.h - tables of header fields that are looked up in any case. */
#ifndef TG_LUA_FIELDS_H
#define TG_LUA_FIELDS_H

#include <lua.h>

#include "util/slice.h"

void tg_fields_open(lua_State *L); /* once per state */

void tg_fields_push(lua_State *L); /* an empty one */

/* Adds a field to the table at index: a name that is there already, in any case, gets a list. */
void tg_fields_add(lua_State *L, int index, struct tg_slice name, struct tg_slice value);

/* The same where the name is known to be there in just this case, or not to be. */
void tg_fields_append(lua_State *L, int index, struct tg_slice name, struct tg_slice value);
void tg_fields_set_new(lua_State *L, int index, struct tg_slice name, struct tg_slice value);

#endif
