/* bind_json.c - a writer whose client is a buffer; and a reader that keeps nothing. */
#include "lua/bind_json.h"

#include <lauxlib.h>

#include "body/json_check.h"
#include "lua/bind_writer.h"
#include "lua/print.h"
#include "util/buf.h"

#define TEXT_TYPE "tidegate.Text"

struct text {
    struct tg_gather gather;
    struct tg_writer writer;
    struct tg_response_head head;
    struct tg_buf buf;
    bool open;
};

/* --- The sink ----------------------------------------------------------------------------------- */

static enum tg_status commit(void *sink, const struct tg_response_head *head)
{
    (void)sink;
    (void)head;
    return TG_OK;
}

static enum tg_status send_runs(void *sink, const struct iovec *runs, int n, unsigned flags)
{
    struct text *text = sink;
    (void)flags;
    for (int i = 0; i < n; i++)
        if (tg_buf_add(&text->buf, runs[i].iov_base, runs[i].iov_len) != TG_OK)
            return TG_ENOMEM;
    return TG_OK;
}

static enum tg_status send_lent(void *sink, const void *data, size_t len, unsigned flags,
                                tg_release_fn release, void *arg)
{
    struct text *text = sink;
    (void)flags;
    enum tg_status status = tg_buf_add(&text->buf, data, len) == TG_OK ? TG_OK : TG_ENOMEM;
    release(data, len, arg);
    return status;
}

static size_t pending(void *sink)
{
    (void)sink;
    return 0;
}

/* Nothing ever waits for it. */
static void on_drain(void *sink, size_t low_water, void (*fn)(void *arg), void *arg)
{
    (void)sink;
    (void)low_water;
    (void)fn;
    (void)arg;
}

static const struct tg_sink_ops text_ops = {
    .commit = commit,
    .send = send_runs,
    .send_lent = send_lent,
    .pending = pending,
    .on_drain = on_drain,
};

/* --- The text ----------------------------------------------------------------------------------- */

static int text_close(lua_State *L)
{
    struct text *text = lua_touserdata(L, 1);
    if (!text->open)
        return 0;
    text->open = false;
    tg_writer_fini(&text->writer);
    tg_gather_fini(&text->gather);
    tg_buf_fini(&text->buf);
    return 0;
}

static struct text *new_text(lua_State *L)
{
    struct text *text = lua_newuserdatauv(L, sizeof *text, 0);
    text->open = false;
    luaL_setmetatable(L, TEXT_TYPE);
    if (tg_gather_init(&text->gather, TG_WRITER_ROOM_MAX) != TG_OK)
        luaL_error(L, "not enough memory");
    struct tg_writer_options options = {
        .ops = &text_ops,
        .sink = text,
        .gather = &text->gather,
        .high_water = SIZE_MAX,
    };
    tg_buf_init(&text->buf, TG_JSON_TEXT_MAX);
    tg_writer_init(&text->writer, &options);
    text->head = (struct tg_response_head){.length = TG_LENGTH_UNKNOWN};
    tg_writer_begin(&text->writer, &text->head);
    text->open = true;
    return text;
}

static int print_into(lua_State *L)
{
    struct text *text = lua_touserdata(L, 1);
    return tg_print_value(L, &text->writer, 2);
}

/* Stack: value, text. */
static int encoded(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    (void)context;
    struct text *text = lua_touserdata(L, 2);
    tg_out_check(L, tg_writer_end(&text->writer));
    lua_pushlstring(L, text->buf.p ? text->buf.p : "", text->buf.len);
    return 1;
}

int tg_json_encode(lua_State *L)
{
    luaL_checkany(L, 1);
    lua_settop(L, 1);
    struct text *text = new_text(L);
    lua_toclose(L, 2);
    lua_pushcfunction(L, print_into);
    lua_pushlightuserdata(L, text);
    lua_pushvalue(L, 1);
    lua_callk(L, 2, 0, 0, encoded);
    return encoded(L, LUA_OK, 0);
}

static int l_valid(lua_State *L)
{
    struct tg_slice text;
    luaL_checktype(L, 1, LUA_TSTRING);
    text.p = lua_tolstring(L, 1, &text.len);
    lua_pushboolean(L, tg_json_valid(text));
    return 1;
}

void tg_json_open(lua_State *L)
{
    luaL_newmetatable(L, TEXT_TYPE);
    lua_pushcfunction(L, text_close);
    lua_setfield(L, -2, "__close");
    lua_pushcfunction(L, text_close);
    lua_setfield(L, -2, "__gc");
    lua_pop(L, 1);
    lua_pushcfunction(L, tg_json_encode);
    lua_setfield(L, -2, "encode");
    lua_pushcfunction(L, tg_json_decode);
    lua_setfield(L, -2, "decode");
    lua_pushcfunction(L, l_valid);
    lua_setfield(L, -2, "valid");
}
