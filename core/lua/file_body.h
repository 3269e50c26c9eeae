/* file_body.h - files as bodies: conditions, ranges, and the bytes. */
#ifndef TG_LUA_FILE_BODY_H
#define TG_LUA_FILE_BODY_H

#include <lua.h>

#include "lua/body_kind.h"

extern const struct tg_body_kind tg_file_kind;

void tg_file_body_open(lua_State *L); /* once per state */

/* The media type of a path's extension; good for as long as the state. */
const char *tg_file_media_type(lua_State *L, const char *path);

/* Closes a file that was described and will not be written; nothing when there is none. */
void tg_file_drop(struct tg_out *out);

#endif
