/* forward.h - tg.forward(request, policy): the headers of a request as a proxy passes them on. */
#ifndef TG_LUA_FORWARD_H
#define TG_LUA_FORWARD_H

#include <lua.h>

#include "util/slice.h"

#define TG_FORWARD_TYPE "tidegate.Forward"

void tg_forward_open(lua_State *L); /* adds forward to the table on top; once per state */

/* Pushes one of the usual policy for the request at index. */
void tg_forward_push(lua_State *L, int index);

/* Calls add(arg, name, value) for each of the fields of the one at index.  What the values point to
 * is the request's, or kept by the table at scratch.  add may raise. */
void tg_forward_each(lua_State *L, int index, int scratch,
                     void (*add)(void *arg, struct tg_slice name, struct tg_slice value),
                     void *arg);

#endif
