/* bind_topic.h - tg.topic(name[, options]), and topics as bodies. */
#ifndef TG_LUA_BIND_TOPIC_H
#define TG_LUA_BIND_TOPIC_H

#include <lua.h>

#include "body/source.h"
#include "topic/post.h"

#define TG_TOPIC_TYPE "tidegate.Topic"

struct tg_body_kind;
struct tg_call;
struct tg_out;

/* Adds `topic` to the table on top. */
void tg_topics_open(lua_State *L);

/* The post of the worker that the state is for: raises when there is none. */
struct tg_post *tg_topics_post(lua_State *L);

/* The topic at index: raises unless it is one.  Good for as long as the value is. */
struct tg_topic *tg_topic_check(lua_State *L, int index);

/* Subscribes the client of out to the topic at index, from the event behind the id `after` on (p is
 * NULL: from now on).  As tg_body_kind.start: whoever calls it flushes the writer, sets done, and ends
 * the writer then.  Raises. */
struct tg_source *tg_topic_start(lua_State *L, struct tg_out *out, int index, enum tg_form form,
                                 struct tg_slice after);

/* Pushes the id that the client has seen last: the field Last-Event-ID, else `after` in the query; nil
 * when it says none, and p is NULL. */
struct tg_slice tg_topic_push_last_id(lua_State *L, const struct tg_call *call);

extern const struct tg_body_kind tg_topic_kind; /* topic_body.c */

/* topic:events(after) (read_topic.c), and topic:_poll(after, timeout, lines). */
int tg_topic_events(lua_State *L);
int tg_topic_poll(lua_State *L);
void tg_topic_readers_open(lua_State *L);

#endif
