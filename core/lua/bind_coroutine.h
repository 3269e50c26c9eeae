/* bind_coroutine.h - the coroutine library, as scripts that wait need it. */
#ifndef TG_LUA_BIND_COROUTINE_H
#define TG_LUA_BIND_COROUTINE_H

#include <lua.h>

/* Replaces resume, wrap, yield and close in the global table coroutine: a wait inside a coroutine of the
 * script's own suspends the task that it runs in; yields stay its own. */
void tg_coroutine_open(lua_State *L);

/* coroutine.resume, for C: true and what co yielded or returned, or false and the error. */
int tg_coroutine_resume(lua_State *L);

#endif
