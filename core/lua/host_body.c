/* host_body.c - a host's body goes on by itself, wherever a script puts it. */
#include "lua/host_body.h"

#include <lauxlib.h>

#include "engine/exchange.h"
#include "lua/body_kind.h"

#define HOST_BODY_TYPE "tidegate.HostBody"

struct handle {
    struct tg_host_body *body; /* NULL: it is let go of */
};

static struct tg_host_body *body_at(lua_State *L, int index)
{
    return ((const struct handle *)luaL_checkudata(L, index, HOST_BODY_TYPE))->body;
}

static void describe(lua_State *L, struct tg_out *out, int index, struct tg_body_about *about)
{
    (void)out;
    const struct tg_host_body *body = body_at(L, index);
    if (body)
        about->length = body->length;
}

static void drop(lua_State *L, struct tg_out *out, int index)
{
    (void)out;
    struct tg_host_body *body = body_at(L, index);
    if (body)
        body->drop(body);
}

static struct tg_source *start(lua_State *L, struct tg_out *out, int index)
{
    struct tg_host_body *body = body_at(L, index);
    struct tg_source *source = body ? body->start(body, out->writer) : NULL;
    if (!source)
        luaL_error(L, "the body was written before, or is there no more");
    return source;
}

static const struct tg_body_kind kind = {.describe = describe, .drop = drop, .start = start};

static int l_gc(lua_State *L)
{
    struct handle *handle = luaL_checkudata(L, 1, HOST_BODY_TYPE);
    tg_host_body_release(handle->body);
    handle->body = NULL;
    return 0;
}

void tg_host_body_push(lua_State *L, struct tg_exchange *x)
{
    struct handle *handle = lua_newuserdatauv(L, sizeof *handle, 0);
    handle->body = NULL;
    luaL_setmetatable(L, HOST_BODY_TYPE);
    handle->body = x->host_ops->body(x);
    if (!handle->body)
        luaL_error(L, "not enough memory");
}

void tg_host_body_open(lua_State *L)
{
    luaL_newmetatable(L, HOST_BODY_TYPE);
    lua_pushcfunction(L, l_gc);
    lua_setfield(L, -2, "__gc");
    lua_pushboolean(L, 0);
    lua_setfield(L, -2, "__metatable");
    tg_body_kind_set(L, &kind);
    lua_pop(L, 1);
}
