/* bind_popen.h - io.popen, without its wait for the process that ends with the file. */
#ifndef TG_LUA_BIND_POPEN_H
#define TG_LUA_BIND_POPEN_H

#include <stdbool.h>

#include <lauxlib.h>

/* Takes the place of io.popen and of what collects and closes Lua's files; once per state. */
void tg_popen_open(lua_State *L);

/* Closes an open file that is io.popen's and leaves its process to end when it likes, and to be
 * reaped then.  False for any other file, which stays as it is. */
bool tg_popen_close(luaL_Stream *stream);

#endif
