/* fetch_input.h - the body of a request to another server: a string, the client's, or any body there is. */
#ifndef TG_LUA_FETCH_INPUT_H
#define TG_LUA_FETCH_INPUT_H

#include <stdbool.h>

#include <lua.h>

struct tg_fetch_body;
struct tg_fetch_options;

/* Pushes a reader of the option body of the table at index, begun, where that has to be produced; else
 * nil. */
void tg_fetch_input_push_reader(lua_State *L, int index);

/* For a reader that is on the stack at index 3: what to send of the body, and how, is not known before
 * this gives true.  Raises what its producer has raised by then. */
bool tg_fetch_input_is_ready(lua_State *L);

/* Suspends the caller until that may have changed. */
int tg_fetch_input_wait(lua_State *L, lua_KFunction k);

/* Makes the options' body, if there is one, the source of body's request; body is at index. */
void tg_fetch_input_take(lua_State *L, struct tg_fetch_options *o, struct tg_fetch_body *body,
                         int index);

/* The source of a request that is over. */
void tg_fetch_input_close(struct tg_fetch_body *body);

#endif
