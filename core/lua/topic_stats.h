/* topic_stats.h - the figures of topics, for scripts. */
#ifndef TG_LUA_TOPIC_STATS_H
#define TG_LUA_TOPIC_STATS_H

#include <lua.h>

/* Pushes a table of the figures of all topics, and of each. Raises. */
void tg_topics_push_stats(lua_State *L);

void tg_topic_stats_open(lua_State *L); /* once per state */

#endif
