/* read_all.h - stream:all(), for whatever has a read of its own. */
#ifndef TG_LUA_READ_ALL_H
#define TG_LUA_READ_ALL_H

#include <stdint.h>

#include <lua.h>

/* Takes over the C function that calls it: `return tg_read_all(…)`.  Calls read, a function of (stream)
 * that gives the next chunk or nil, for the stream at index 1, and returns the whole as a string.  More
 * than most bytes (0: any number) raise an error of status 413 that begins with what, a literal. */
int tg_read_all(lua_State *L, lua_CFunction read, uint64_t most, const char *what);

#endif
