/* core.c - gathers what C provides into one table. */
#include "lua/core.h"

#include <lauxlib.h>
#include <lualib.h>

#include "lua/bind_channel.h"
#include "lua/bind_clock.h"
#include "lua/bind_compress.h"
#include "lua/bind_csv.h"
#include "lua/bind_fetch.h"
#include "lua/bind_file.h"
#include "lua/bind_filter.h"
#include "lua/bind_folder.h"
#include "lua/bind_format.h"
#include "lua/bind_group.h"
#include "lua/bind_multipart.h"
#include "lua/bind_request.h"
#include "lua/bind_sequence.h"
#include "lua/bind_shared.h"
#include "lua/bind_sse.h"
#include "lua/bind_stats.h"
#include "lua/bind_task.h"
#include "lua/bind_test.h"
#include "lua/bind_time.h"
#include "lua/bind_topic.h"
#include "lua/bind_wire.h"
#include "lua/body_reader.h"
#include "lua/failure.h"

static int open_core(lua_State *L)
{
    lua_newtable(L);
    tg_time_open(L);
    tg_task_open(L);
    tg_group_open(L);
    tg_channels_open(L);
    tg_sequence_open(L);
    tg_formats_open(L);
    tg_csv_open(L);
    tg_shared_open(L);
    tg_multipart_open(L);
    tg_stats_open(L);
    tg_fetch_open(L);
    tg_topics_open(L);
    tg_sse_open(L);
    tg_folder_open(L);
    tg_compress_open(L);
    tg_body_readers_open(L);
    tg_filters_open(L);
    tg_test_open(L);
    tg_clock_open(L);
    tg_wires_open(L);
    lua_pushcfunction(L, tg_parse_form);
    lua_setfield(L, -2, "_parse_form");
    lua_pushcfunction(L, tg_file_new);
    lua_setfield(L, -2, "file");
    tg_failure_push_closed(L);
    lua_setfield(L, -2, "closed");
    return 1;
}

void tg_core_open(lua_State *L)
{
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
    lua_pushcfunction(L, open_core);
    lua_setfield(L, -2, "tidegate.core");
    lua_pop(L, 1);
}
