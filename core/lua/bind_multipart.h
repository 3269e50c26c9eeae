/* bind_multipart.h - the parser behind tg.multipart. */
#ifndef TG_LUA_BIND_MULTIPART_H
#define TG_LUA_BIND_MULTIPART_H

#include <lua.h>

void tg_multipart_open(lua_State *L); /* adds _multipart to the table on top; once per state */

#endif
