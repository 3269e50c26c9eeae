/* body.h - produces the body of a response: its type decides how (DESIGN, section 3). */
#ifndef TG_LUA_BODY_H
#define TG_LUA_BODY_H

#include <stdbool.h>

#include <lua.h>

struct tg_call;
struct tg_out;
struct tg_response_info;

/* The last that a C function does on a call's task, as what it returns: sends ctx.response. */
int tg_body_produce(lua_State *L, struct tg_call *call);

/* Lets go of the body of call's ctx.response, which is not written, or not to its end. */
void tg_body_drop(lua_State *L, struct tg_call *call);

/* Whether the value at index is a table that does not write itself, or a sequence. */
bool tg_body_is_printed(lua_State *L, int index);

/* ctx:write_response(response), ctx:write_response_body(body), ctx:flush(), ctx:response_sent(). */
int tg_body_write_response(lua_State *L);
int tg_body_write_response_body(lua_State *L);
int tg_body_flush(lua_State *L);
int tg_body_response_sent(lua_State *L);

/* Whether the value at index, a table or userdata, is a body of a type of its own: it writes itself. */
bool tg_body_is_leaf(lua_State *L, int index);

/* Pushes a function of (struct tg_out * as light userdata, body) that writes the body at index, of any
 * type.  Raises when it is none. */
void tg_body_push_way(lua_State *L, int index);

/* The media type of the body at index, as body_kind.h has it; that of out's format where it is printed
 * in that, or may be taken to be: functions, and objects that say nothing. */
const char *tg_body_media_type(lua_State *L, const struct tg_out *out, int index);

/* Whether the value at index is a body of any type: nil is an empty one. */
bool tg_body_is_one(lua_State *L, int index);

/* Of a body that is changed on its way into a response, of which said is known: chooses the format that
 * it is printed in, and returns its Content-Type or NULL, which is good for as long as the body is. May
 * raise.  Whoever calls it has the type's drop called, if the body is not written to out. */
const char *tg_body_describe_inner(lua_State *L, struct tg_out *out, int index,
                                   const struct tg_response_info *said);

#endif
