/* bind_sequence.h - tg.seq, tg.generate and tg.json's marks: values that print as they come. */
#ifndef TG_LUA_BIND_SEQUENCE_H
#define TG_LUA_BIND_SEQUENCE_H

#include <stdbool.h>

#include <lua.h>

#define TG_SEQUENCE_TYPE  "tidegate.Sequence"  /* user values: iterator, state, control, closing */
#define TG_GENERATOR_TYPE "tidegate.Generator" /* user value: the function */

enum { TG_SEQUENCE_VALUES = 4 };

void tg_sequence_open(lua_State *L); /* adds the functions to the table on top; once per state */

bool tg_is_sequence(lua_State *L, int index); /* of either kind */

/* Pushes the sequence of what next gives for the value at index, until that is nil. */
void tg_sequence_push(lua_State *L, lua_CFunction next, int index);

/* For the sequence at index: whether its iterator has come to its end, for good; and that it has now.
 * An iterator with a state or a first control starts again from them, as in a generic for. */
bool tg_sequence_ended(lua_State *L, int index);
void tg_sequence_end(lua_State *L, int index);

enum tg_json_mark { TG_JSON_UNMARKED, TG_JSON_ARRAY, TG_JSON_OBJECT };

/* What tg.json.array or tg.json.object has made of the table at index. */
enum tg_json_mark tg_json_mark(lua_State *L, int index);

/* Pushes the metatable that tg.json.object gives. */
void tg_json_push_object(lua_State *L);

/* Whether the value at index is tg.json.null. */
bool tg_json_is_null(lua_State *L, int index);

#endif
