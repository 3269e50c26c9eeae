/* bind_request.h - request: what a script sees of a request, made when it looks. */
#ifndef TG_LUA_BIND_REQUEST_H
#define TG_LUA_BIND_REQUEST_H

#include <stdbool.h>

#include <lua.h>

struct tg_call;

void tg_request_open(lua_State *L); /* makes the metatables; once per state */

/* Pushes the table of the headers that the script has set: name to string, or false for one that it
 * took away.  False, and nothing is pushed, when there are none. */
bool tg_request_push_set_headers(lua_State *L, const struct tg_call *call);

/* parse_form(text, lists, most): a form's pairs (application/x-www-form-urlencoded) as a table, the first
 * value of each name or lists of all; nil when there are more than most. */
int tg_parse_form(lua_State *L);

#endif
