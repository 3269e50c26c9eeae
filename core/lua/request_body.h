/* request_body.h - request.body: a stream of the client's bytes. */
#ifndef TG_LUA_REQUEST_BODY_H
#define TG_LUA_REQUEST_BODY_H

#include <lua.h>

#define TG_REQUEST_BODY_TYPE "tidegate.RequestBody"

struct tg_call;

void tg_request_body_open(lua_State *L); /* once per state */
void tg_request_body_push(lua_State *L, const struct tg_call *call);

/* Whose body the one at index is.  Raises unless it is one, of an exchange that is not over. */
struct tg_call *tg_request_body_call(lua_State *L, int index);

/* Raises when the whole body was read before: nothing of it is kept. */
void tg_request_body_check_unread(lua_State *L, const struct tg_call *call);

/* The next chunk as a string, or nil at the end, like request.body:read(): for lua_callk(). */
int tg_request_body_read(lua_State *L);

#endif
