/* bind_file.h - tg.file: a file as a body. */
#ifndef TG_LUA_BIND_FILE_H
#define TG_LUA_BIND_FILE_H

#include <lua.h>

#define TG_FILE_TYPE "tidegate.File"

struct tg_out;

void tg_file_open(lua_State *L); /* makes the metatable; once per state */
int tg_file_new(lua_State *L);   /* tg.file(path) */

void tg_file_drop(struct tg_out *out); /* closes what is open, if anything */

#endif
