/* failure.h - errors of scripts: the err table that `error` stages get, and what the engine hears. */
#ifndef TG_LUA_FAILURE_H
#define TG_LUA_FAILURE_H

#include <lua.h>

#include "engine/interceptor.h"
#include "lua/state.h"

struct tg_call;

/* What a task's result means to the engine; makes the err table of a failure. Not from inside Lua. */
enum tg_step tg_failure_step(struct tg_call *call, enum tg_lua_result result);

/* Pushes the err table for an `error` stage; makes one when what failed was not in Lua. Raises. */
void tg_failure_push(lua_State *L, struct tg_call *call);

/* Pushes a text for what was raised, the value at index, without calling any metamethod of it. */
void tg_failure_push_text(lua_State *L, int index);

/* The error value that writes raise when the client has gone: tg.closed. */
void tg_failure_push_closed(lua_State *L);
int tg_failure_raise_closed(lua_State *L) __attribute__((noreturn));

/* Pushes an error whose answer, when it is raised and nobody handles it, has this status. */
void tg_failure_push_status(lua_State *L, int status, const char *message);

/* The message at index, which a script is given, has this status when it is raised, with or without a
 * place before it: by assert(tg.fetch(…)), for one.  Of the latest 64 messages of a state.  Raises out of memory. */
void tg_failure_remember(lua_State *L, int index, int status);

/* Raises an error whose answer, when nobody handles it, has this status. */
int tg_failure_raise_status(lua_State *L, int status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

void tg_failure_open(lua_State *L); /* once per state */

#endif
