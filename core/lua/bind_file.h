/* bind_file.h - tg.file: a file as a body. */
#ifndef TG_LUA_BIND_FILE_H
#define TG_LUA_BIND_FILE_H

#include <stdint.h>

#include <lua.h>

#define TG_FILE_TYPE "tidegate.File"

struct tg_call;

void tg_file_open(lua_State *L); /* makes the metatable; once per state */
int tg_file_new(lua_State *L);   /* tg.file(path) */

/* Opens the file value at index for call, which has no other open: returns its size.  Raises an error
 * with status 404 or 403 when there is none to send. */
uint64_t tg_file_take(lua_State *L, struct tg_call *call, int index);

/* The media type by its extension. */
const char *tg_file_media_type(lua_State *L, int index);

void tg_file_drop(struct tg_call *call); /* closes what is open, if anything */

#endif
