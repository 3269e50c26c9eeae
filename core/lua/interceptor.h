/* interceptor.h - interceptors that are written in Lua. */
#ifndef TG_LUA_INTERCEPTOR_H
#define TG_LUA_INTERCEPTOR_H

#include <stdbool.h>

#include <lua.h>

#include "engine/interceptor.h"
#include "lua/state.h"

enum { TG_LUA_STAGES = 3 }; /* enter, leave, error */

struct tg_lua_interceptor {
    struct tg_interceptor base;
    int fn[TG_LUA_STAGES]; /* registry references; LUA_NOREF for a stage it lacks */
    bool handler;          /* fn[enter] is called as handler(request, ctx) */
    bool plain;            /* and has no parameter for ctx */
    char *name;
    struct tg_lua_interceptor *next; /* in its owner's list */
};

/* From the normalised table at index: { name, enter, leave, error } or { name, handler }.  It is put
 * at the front of *list before anything can raise. */
struct tg_lua_interceptor *tg_lua_interceptor_new(lua_State *L, int index,
                                                  struct tg_lua_interceptor **list);
void tg_lua_interceptors_free(struct tg_lua *lua, struct tg_lua_interceptor *list);

#endif
