/* fetch_response.h - what tg.fetch returns: a response table whose headers are made when looked at. */
#ifndef TG_LUA_FETCH_RESPONSE_H
#define TG_LUA_FETCH_RESPONSE_H

#include <stdbool.h>

#include <lua.h>

#include "upstream/head.h"

struct tg_fetch_body;

void tg_fetch_response_open(lua_State *L); /* once per state */

/* Pushes the response whose body is at index; its head is there. */
void tg_fetch_response_push(lua_State *L, struct tg_fetch_body *body, int index);

bool tg_fetch_response_is(lua_State *L, int index);

/* Where the value at index is such a response: puts its body in its place. */
void tg_fetch_response_unwrap(lua_State *L, int index);

/* Where the value at index is such a response, and nobody has looked at its headers: the body that
 * has them.  Else NULL. */
const struct tg_fetch_body *tg_fetch_response_untouched(lua_State *L, int index);

/* The nth field that goes on to a client; *n moves behind it.  False when there are no more. */
bool tg_fetch_response_field(const struct tg_fetch_body *body, size_t *n,
                             struct tg_fetch_field *field);

#endif
