/* file_body.h - files as bodies: conditions, ranges, and the bytes. */
#ifndef TG_LUA_FILE_BODY_H
#define TG_LUA_FILE_BODY_H

#include <lua.h>

#include "lua/body_kind.h"

extern const struct tg_body_kind tg_file_kind;

void tg_file_body_open(lua_State *L); /* once per state */

/* Closes a file that was described and will not be written; nothing when there is none. */
void tg_file_drop(struct tg_out *out);

#endif
