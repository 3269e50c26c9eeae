/* bind_compress.h - tg.compress{…}: an interceptor that codes responses on their way out. */
#ifndef TG_LUA_BIND_COMPRESS_H
#define TG_LUA_BIND_COMPRESS_H

#include <lua.h>

void tg_compress_open(lua_State *L); /* adds compress to the table on top; once per state */

#endif
