/* probe_upstream.c - opens requests to other servers to specs, without a gateway.  Never installed. */
#include <event2/event.h>
#include <lauxlib.h>
#include <lua.h>

#include "upstream/client.h"
#include "upstream/decode.h"
#include "upstream/fetch.h"
#include "upstream/url.h"
#include "util/mem.h"

#define CLIENT "probe.Client"
#define FETCH  "probe.Fetch"

/* --- Parts ------------------------------------------------------------------------------------ */

/* The bytes in a block of their own, so that a sanitizer sees a read past their end. */
static char *exact_copy(lua_State *L, const char *bytes, size_t len)
{
    char *copy = tg_malloc(len ? len : 1);
    if (!copy)
        luaL_error(L, "not enough memory");
    else
        memcpy(copy, bytes, len);
    return copy;
}

static void push_head(lua_State *L, const struct tg_upstream_head *head)
{
    struct tg_fetch_field field;
    lua_createtable(L, 0, 4);
    lua_pushinteger(L, head->status);
    lua_setfield(L, -2, "status");
    if (head->length != TG_FETCH_LENGTH_UNKNOWN) {
        lua_pushinteger(L, (lua_Integer)head->length);
        lua_setfield(L, -2, "length");
    }
    lua_pushboolean(L, head->coded);
    lua_setfield(L, -2, "chunked");
    lua_pushboolean(L, head->close);
    lua_setfield(L, -2, "close");
    lua_newtable(L);
    for (size_t i = 0; tg_upstream_head_field(head, i, &field); i++) {
        lua_pushlstring(L, field.name.p, field.name.len);
        lua_pushlstring(L, field.value.p, field.value.len);
        lua_concat(L, 2);
        lua_pushstring(L, tg_upstream_head_is_hop(head, i) ? " hop" : "");
        lua_concat(L, 2);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    lua_setfield(L, -2, "fields");
}

/* head(lines, most) -> a table; or nil and why, or nil and nothing when it does not end. */
static int l_head(lua_State *L)
{
    size_t len;
    const char *text = luaL_checklstring(L, 1, &len);
    struct tg_upstream_head head;
    enum tg_upstream_line result = TG_LINE_TAKEN;
    const char *why = NULL;
    tg_upstream_head_init(&head, (size_t)luaL_optinteger(L, 2, 65536));
    for (const char *end = text + len; text < end && result == TG_LINE_TAKEN;) {
        const char *lf = memchr(text, '\n', (size_t)(end - text));
        size_t line = lf ? (size_t)(lf - text) + 1 : (size_t)(end - text);
        char *copy = exact_copy(L, text, line);
        result = tg_upstream_head_line(&head, (struct tg_slice){copy, line}, &why);
        tg_free(copy);
        text += line;
    }
    if (result == TG_LINE_ENDS) {
        push_head(L, &head);
        tg_upstream_head_fini(&head);
        return 1;
    }
    tg_upstream_head_fini(&head);
    lua_pushnil(L);
    lua_pushstring(L, result == TG_LINE_LIMIT ? "limit" : why);
    return 2;
}

/* url(text) -> origin, authority, target */
static int l_url(lua_State *L)
{
    struct tg_url url;
    if (!tg_url_split(luaL_checkstring(L, 1), &url))
        return 0;
    lua_pushlstring(L, url.origin.p, url.origin.len);
    lua_pushlstring(L, url.authority.p, url.authority.len);
    lua_pushlstring(L, url.target.p, url.target.len);
    return 3;
}

static int l_resolve(lua_State *L)
{
    char *url = tg_url_resolve(luaL_checkstring(L, 1), luaL_checkstring(L, 2));
    lua_pushstring(L, url);
    tg_free(url);
    return 1;
}

/* decode(coded, piece, most) -> text, whether that is all, or nil and the status */
static int l_decode(lua_State *L)
{
    size_t len;
    const char *coded = luaL_checklstring(L, 1, &len);
    size_t piece = (size_t)luaL_checkinteger(L, 2);
    struct tg_decode *decode = tg_decode_new((uint64_t)luaL_optinteger(L, 3, 1 << 30));
    enum tg_status status = TG_OK;
    luaL_Buffer text;
    luaL_buffinit(L, &text);
    for (size_t at = 0; at < len && status == TG_OK; at += piece) {
        struct tg_slice block;
        size_t n = piece < len - at ? piece : len - at;
        char *copy = exact_copy(L, coded + at, n);
        tg_decode_feed(decode, copy, n);
        tg_free(copy);
        status = tg_decode_next(decode, &block);
        while (status == TG_OK && block.len) {
            luaL_addlstring(&text, block.p, block.len);
            tg_decode_taken(decode);
            status = tg_decode_next(decode, &block);
        }
    }
    bool whole = tg_decode_complete(decode);
    tg_decode_free(decode);
    luaL_pushresult(&text);
    if (status != TG_OK) {
        lua_pushnil(L);
        lua_pushstring(L, tg_status_text(status));
        return 2;
    }
    lua_pushboolean(L, whole);
    return 2;
}

/* --- A client --------------------------------------------------------------------------------- */

struct client {
    struct event_base *base;
    struct tg_limits limits;
    struct tg_upstream *upstream;
};

struct fetch {
    struct tg_fetch *fetch;
    const char *body;
    size_t len;
    size_t at;
    bool told;
};

static int l_client(lua_State *L)
{
    struct client *client = lua_newuserdatauv(L, sizeof *client, 0);
    *client = (struct client){.base = event_base_new()};
    luaL_setmetatable(L, CLIENT);
    tg_limits_init(&client->limits);
    struct tg_upstream_options options = {.base = client->base, .limits = &client->limits};
    client->upstream = tg_upstream_new(&options);
    if (client->upstream)
        return 1;
    lua_pushnil(L);
    return 1;
}

static struct client *client_at(lua_State *L)
{
    return luaL_checkudata(L, 1, CLIENT);
}

static int client_close(lua_State *L)
{
    struct client *client = client_at(L);
    tg_upstream_free(client->upstream);
    client->upstream = NULL;
    if (client->base)
        event_base_free(client->base);
    client->base = NULL;
    return 0;
}

/* turn(seconds): what happens next, or nothing in that time */
static int client_turn(lua_State *L)
{
    struct client *client = client_at(L);
    double seconds = luaL_checknumber(L, 2);
    struct timeval tv = {(time_t)seconds, (suseconds_t)((seconds - (double)(time_t)seconds) * 1e6)};
    event_base_loopexit(client->base, &tv);
    event_base_loop(client->base, EVLOOP_ONCE);
    return 0;
}

static long pull(void *arg, char *buffer, size_t size)
{
    struct fetch *fetch = arg;
    size_t n = fetch->len - fetch->at < size ? fetch->len - fetch->at : size;
    memcpy(buffer, fetch->body + fetch->at, n);
    fetch->at += n;
    return (long)n;
}

static void rewind_body(void *arg)
{
    ((struct fetch *)arg)->at = 0;
}

static void on_news(void *arg)
{
    ((struct fetch *)arg)->told = true;
}

static uint64_t number(lua_State *L, const char *name, lua_Integer otherwise)
{
    lua_getfield(L, 2, name);
    lua_Integer n = luaL_optinteger(L, -1, otherwise);
    lua_pop(L, 1);
    return (uint64_t)n;
}

/* start{ url =, method =, body =, chunked =, redirects =, decode = } -> fetch, or nil and the status */
static int client_start(lua_State *L)
{
    static const struct tg_fetch_source source = {pull, rewind_body};
    struct client *client = client_at(L);
    struct tg_fetch_field field = {TG_SLICE("X-Probe"), TG_SLICE("1")};
    struct fetch *fetch = lua_newuserdatauv(L, sizeof *fetch, 1);
    *fetch = (struct fetch){0};
    luaL_setmetatable(L, FETCH);
    lua_pushvalue(L, 2);
    lua_setiuservalue(L, -2, 1);
    struct tg_fetch_request request = {
        .fields = &field,
        .field_count = 1,
        .source_arg = fetch,
        .redirects = (unsigned)number(L, "redirects", 0),
        .decode_max = number(L, "decode", 0),
        .connect_timeout = 1000,
        .head_timeout = 5000,
        .idle_timeout = 5000,
    };
    lua_getfield(L, 2, "url");
    request.url = luaL_checkstring(L, -1);
    lua_getfield(L, 2, "method");
    request.method = luaL_optstring(L, -1, "GET");
    lua_getfield(L, 2, "body");
    fetch->body = lua_tolstring(L, -1, &fetch->len);
    lua_getfield(L, 2, "chunked");
    request.source = fetch->body ? &source : NULL;
    request.length = lua_toboolean(L, -1) ? TG_FETCH_LENGTH_UNKNOWN : fetch->len;
    lua_pop(L, 4);
    enum tg_status status = tg_fetch_start(&fetch->fetch, client->upstream, &request);
    if (status == TG_OK)
        return 1;
    lua_pushnil(L);
    lua_pushstring(L, tg_status_text(status));
    return 2;
}

static struct fetch *fetch_at(lua_State *L)
{
    return luaL_checkudata(L, 1, FETCH);
}

/* fetch:read() -> "wait"; "data" and the bytes, which are consumed; "end" and the status; "failed" and
 * the kind of failure */
static int fetch_read(lua_State *L)
{
    struct fetch *fetch = fetch_at(L);
    struct tg_slice data;
    tg_fetch_wait(fetch->fetch, on_news, fetch);
    switch (tg_fetch_peek(fetch->fetch, &data)) {
    case TG_FETCH_DATA:
        lua_pushliteral(L, "data");
        lua_pushlstring(L, data.p, data.len);
        tg_fetch_consume(fetch->fetch, data.len);
        return 2;
    case TG_FETCH_WAIT:
        lua_pushliteral(L, "wait");
        return 1;
    case TG_FETCH_END:
        lua_pushliteral(L, "end");
        lua_pushinteger(L, tg_fetch_status(fetch->fetch));
        return 2;
    case TG_FETCH_FAILED:
        break;
    }
    lua_pushliteral(L, "failed");
    lua_pushstring(L, tg_fetch_failure_name(tg_fetch_failure(fetch->fetch)));
    return 2;
}

static int fetch_free(lua_State *L)
{
    struct fetch *fetch = fetch_at(L);
    tg_fetch_free(fetch->fetch);
    fetch->fetch = NULL;
    return 0;
}

/* --- Memory ----------------------------------------------------------------------------------- */

static int l_fail_at(lua_State *L)
{
    tg_mem_fail_at((unsigned)luaL_checkinteger(L, 1));
    return 0;
}

static int l_blocks(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)tg_mem_blocks());
    return 1;
}

static void add_class(lua_State *L, const char *name, const luaL_Reg *methods, lua_CFunction close)
{
    luaL_newmetatable(L, name);
    lua_newtable(L);
    luaL_setfuncs(L, methods, 0);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, close);
    lua_setfield(L, -2, "__close");
    lua_pushcfunction(L, close);
    lua_setfield(L, -2, "__gc");
    lua_pop(L, 1);
}

__attribute__((visibility("default"))) int luaopen_probe_upstream(lua_State *L);

int luaopen_probe_upstream(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"head", l_head},     {"url", l_url},         {"resolve", l_resolve}, {"decode", l_decode},
        {"client", l_client}, {"fail_at", l_fail_at}, {"blocks", l_blocks},   {NULL, NULL}};
    static const luaL_Reg client[] = {
        {"start", client_start}, {"turn", client_turn}, {"close", client_close}, {NULL, NULL}};
    static const luaL_Reg fetch[] = {{"read", fetch_read}, {"free", fetch_free}, {NULL, NULL}};
    add_class(L, CLIENT, client, client_close);
    add_class(L, FETCH, fetch, fetch_free);
    luaL_newlib(L, functions);
    return 1;
}
