/* body_reader.h - any body, read as chunks: its producer runs in a task of its own, which writes to a pipe.
 *
 * A reader is a userdata.  C reads from its pipe (body/pipe.h):
 *
 *     struct tg_body_reader *reader = tg_body_reader_new(L, index);  -- keep what it pushes
 *     tg_body_reader_start(L, -1);
 *     tg_pipe_peek(tg_body_reader_pipe(reader), &data) …
 *     tg_body_reader_close(reader);
 *
 * The producer is a task below the one that starts it, so it is cancelled with that one; it is held
 * back by the limits high_water and low_water, and its waits flush what it wrote, as everywhere.
 */
#ifndef TG_LUA_BODY_READER_H
#define TG_LUA_BODY_READER_H

#include <lua.h>

#include "body/pipe.h"
#include "lua/body_kind.h"

#define TG_BODY_READER_TYPE "tidegate.BodyReader"

struct tg_body_reader;

void tg_body_readers_open(lua_State *L); /* adds read_body to the table on top; once per state */

/* Pushes a reader of the body at index, for the exchange whose task runs.  Nothing is produced yet.
 * Raises where the value is no body, or no exchange's task runs. */
struct tg_body_reader *tg_body_reader_new(lua_State *L, int index);

/* Where the producer writes to: a body may be described to it before the start. */
struct tg_out *tg_body_reader_out(struct tg_body_reader *reader);

/* The producer begins, from the loop; nothing when it has begun.  Raises. */
void tg_body_reader_start(lua_State *L, int index);

struct tg_pipe *tg_body_reader_pipe(struct tg_body_reader *reader);

/* Once the pipe says TG_PIPE_FAILED: raises what the producer has raised. */
int tg_body_reader_raise(lua_State *L, int index);

/* A function of (reader): the next chunk as a string of at most 64 KiB, nil at the end.  Starts the
 * producer, waits, and raises what that raises. */
int tg_body_reader_read(lua_State *L);

/* No more is read: the producer is cancelled.  From the loop or from inside Lua; nothing the second
 * time. */
void tg_body_reader_close(struct tg_body_reader *reader);

/* The same inside Lua, also for a reader that was not started. */
void tg_body_reader_close_at(lua_State *L, int index);

#endif
