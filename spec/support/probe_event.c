/* probe_event.c - opens the formatting of text/event-stream to specs. */
#include <lauxlib.h>
#include <lua.h>

#include "body/event.h"
#include "util/mem.h"

static int push_status(lua_State *L, enum tg_status status)
{
    static const char *const names[] = {"limit",  "invalid", "io",   "memory",
                                        "closed", "ok",      "again"};
    lua_pushnil(L);
    lua_pushstring(L, names[status - TG_ELIMIT]);
    return 2;
}

/* The field called name of the table at 1, which keeps it. */
static struct tg_slice slice_field(lua_State *L, const char *name)
{
    struct tg_slice slice = {NULL, 0};
    if (lua_getfield(L, 1, name) == LUA_TSTRING)
        slice.p = lua_tolstring(L, -1, &slice.len);
    lua_pop(L, 1);
    return slice;
}

static struct tg_event event_at_1(lua_State *L)
{
    struct tg_event event = {
        .name = slice_field(L, "event"),
        .id = slice_field(L, "id"),
        .data = slice_field(L, "data"),
        .retry = TG_EVENT_NO_RETRY,
    };
    if (lua_getfield(L, 1, "retry") == LUA_TNUMBER)
        event.retry = (uint64_t)lua_tointeger(L, -1);
    lua_pop(L, 1);
    return event;
}

/* What buf holds, or the status; buf is empty afterwards. */
static int push_buf(lua_State *L, struct tg_buf *buf, enum tg_status status)
{
    int results = 1;
    lua_pushlstring(L, buf->p ? buf->p : "", buf->len);
    if (status != TG_OK)
        results += push_status(L, status);
    tg_buf_fini(buf);
    return results;
}

/* format({ event=, id=, data=, retry= }[, cap[, fail_at]]) -> text[, nil, status]: a buffer that held
 * "<" before */
static int p_format(lua_State *L)
{
    struct tg_buf buf;
    struct tg_event event = event_at_1(L);
    tg_buf_init(&buf, (size_t)luaL_optinteger(L, 2, 1 << 20));
    if (tg_buf_add(&buf, "<", 1) != TG_OK)
        return luaL_error(L, "no memory");
    tg_mem_fail_at((unsigned)luaL_optinteger(L, 3, 0));
    enum tg_status status = tg_event_format(&buf, &event);
    tg_mem_fail_at(0);
    return push_buf(L, &buf, status);
}

/* pieces(kind, piece, …): "data" or "comment"; of comments there is only one piece */
static int p_pieces(lua_State *L)
{
    static const char *const kinds[] = {"data", "comment", NULL};
    struct tg_buf buf;
    tg_buf_init(&buf, 1 << 20);
    int top = lua_gettop(L);
    struct tg_event_pen pen = tg_event_pen_to_buf(&buf);
    bool comment = luaL_checkoption(L, 1, NULL, kinds) == 1;
    if (!comment)
        tg_event_begin_data(&pen);
    for (int i = 2; i <= top; i++) {
        struct tg_slice piece;
        piece.p = luaL_checklstring(L, i, &piece.len);
        if (comment)
            tg_event_comment(&pen, piece);
        else
            tg_event_add_data(&pen, piece);
    }
    return push_buf(L, &buf, tg_event_end(&pen));
}

__attribute__((visibility("default"))) int luaopen_probe_event(lua_State *L);
int luaopen_probe_event(lua_State *L)
{
    static const luaL_Reg functions[] = {{"format", p_format}, {"pieces", p_pieces}, {NULL, NULL}};
    luaL_newlib(L, functions);
    return 1;
}
