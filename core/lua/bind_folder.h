/* bind_folder.h - what lua/tidegate/files.lua asks about folders. */
#ifndef TG_LUA_BIND_FOLDER_H
#define TG_LUA_BIND_FOLDER_H

#include <lua.h>

enum { TG_FOLDER_MAX = 10000 }; /* entries of a folder that are listed */

void tg_folder_open(lua_State *L); /* adds to the table on top */

#endif
