/* script_settings.c - what a service table says besides routes: addresses, TLS, workers, log, limits. */
#include "lua/script_impl.h"

#include <string.h>

#include <lauxlib.h>

#include "util/mem.h"

static void take_listen(lua_State *L, struct tg_lua_script *script, int description)
{
    if (lua_getfield(L, description, "listen") == LUA_TTABLE) {
        size_t count = lua_rawlen(L, -1);
        script->listen = tg_lua_list_of(L, count, sizeof *script->listen);
        for (size_t i = 0; i < count; i++) {
            lua_rawgeti(L, -1, (lua_Integer)i + 1);
            const char *address = lua_tostring(L, -1);
            script->listen[i] = address ? tg_strdup(address) : NULL;
            if (!script->listen[i])
                tg_lua_no_memory(L);
            script->listen_count++;
            lua_pop(L, 1);
        }
    }
    lua_pop(L, 1);
}

static void open_tls(lua_State *L, struct tg_lua_script *script, const struct tg_tls_pair *pairs,
                     size_t count)
{
    for (size_t i = 0; i < count; i++) {
        tg_lua_script_tell_file(script, pairs[i].cert);
        tg_lua_script_tell_file(script, pairs[i].key);
    }
    if (tg_tls_context_new(&script->tls, pairs, count, script->o.host.ticket_key,
                           script->problems) == TG_ENOMEM)
        tg_lua_no_memory(L);
}

static void take_tls(lua_State *L, struct tg_lua_script *script, int description)
{
    if (script->o.tls.cert) {
        open_tls(L, script, &script->o.tls, 1);
        return;
    }
    if (lua_getfield(L, description, "tls") != LUA_TTABLE) {
        lua_pop(L, 1);
        return;
    }
    size_t count = lua_rawlen(L, -1);
    struct tg_tls_pair *pairs = lua_newuserdatauv(L, (count + 1) * sizeof *pairs, 0);
    int keep = lua_gettop(L);
    for (size_t i = 0; i < count; i++) {
        lua_rawgeti(L, keep - 1, (lua_Integer)i + 1);
        lua_getfield(L, -1, "cert");
        lua_getfield(L, -2, "key");
        pairs[i] = (struct tg_tls_pair){lua_tostring(L, -2), lua_tostring(L, -1)};
        lua_settop(L, keep); /* the description keeps the texts */
    }
    open_tls(L, script, pairs, count);
    lua_settop(L, keep - 2);
}

static void take_workers(lua_State *L, struct tg_lua_script *script, int description)
{
    if (lua_getfield(L, description, "workers") == LUA_TNUMBER)
        script->workers = (unsigned)lua_tointeger(L, -1);
    lua_pop(L, 1);
}

/* service.lua has checked it, and made it a table. */
static void take_log(lua_State *L, struct tg_lua_script *script, int description)
{
    static const char *const formats[] = {"off", "text", "json", NULL};
    script->log = TG_ACCESS_TEXT;
    if (lua_getfield(L, description, "log") == LUA_TTABLE) {
        lua_getfield(L, -1, "format");
        script->log = (enum tg_access_format)luaL_checkoption(L, -1, "text", formats);
        lua_getfield(L, -2, "headers");
        size_t count = lua_rawlen(L, -1);
        for (size_t i = 0; i < count && i < TG_ACCESS_FIELDS_MAX; i++) {
            lua_rawgeti(L, -1, (lua_Integer)i + 1);
            script->log_fields.names[i] = tg_strdup(luaL_checkstring(L, -1));
            if (!script->log_fields.names[i])
                tg_lua_no_memory(L);
            script->log_fields.count++;
            lua_pop(L, 1);
        }
        lua_pop(L, 2);
        script->engine.access_fields = &script->log_fields;
    }
    lua_pop(L, 1);
}

static void take_limits(lua_State *L, struct tg_lua_script *script, int description)
{
    if (lua_getfield(L, description, "limits") == LUA_TTABLE) {
        lua_pushnil(L);
        while (lua_next(L, -2)) {
            const char *why =
                tg_limits_set(&script->limits, lua_tostring(L, -2), lua_tonumber(L, -1));
            if (why)
                luaL_error(L, "limits.%s %s", lua_tostring(L, -2), why);
            lua_pop(L, 1);
        }
    }
    lua_pop(L, 1);
}

void tg_lua_script_take_settings(lua_State *L, struct tg_lua_script *script, int description)
{
    take_limits(L, script, description);
    take_workers(L, script, description);
    take_listen(L, script, description);
    take_log(L, script, description);
    if (!script->guest) /* whose certificates may be elsewhere */
        take_tls(L, script, description);
}

void tg_lua_script_free_settings(struct tg_lua_script *script)
{
    tg_tls_context_release(script->tls);
    for (size_t i = 0; i < script->listen_count; i++)
        tg_free(script->listen[i]);
    tg_free(script->listen);
    for (size_t i = 0; i < script->log_fields.count; i++)
        tg_free(script->log_fields.names[i]);
}

const struct tg_limits *tg_lua_script_limits(const struct tg_lua_script *script)
{
    return &script->limits;
}

enum tg_access_format tg_lua_script_log(const struct tg_lua_script *script)
{
    return script->log;
}

unsigned tg_lua_script_workers(const struct tg_lua_script *script)
{
    return script->workers;
}

struct tg_tls_context *tg_lua_script_tls(const struct tg_lua_script *script)
{
    return script->tls;
}

const char *tg_lua_script_listen(const struct tg_lua_script *script, size_t n)
{
    return n < script->listen_count ? script->listen[n] : NULL;
}
