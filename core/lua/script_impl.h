/* script_impl.h - a loaded script, for the files that make one. */
#ifndef TG_LUA_SCRIPT_IMPL_H
#define TG_LUA_SCRIPT_IMPL_H

#include "lua/script.h"

#include "lua/interceptor.h"
#include "lua/life.h"

struct tg_host_route {
    struct tg_lua_route route;
    struct tg_host_route *next;
};

struct tg_lua_script {
    struct tg_lua_script_options o;
    bool guest; /* in the state of another: tg_lua_script_guest() */
    struct tg_lua *lua;
    struct tg_script engine;
    struct tg_buf *problems; /* while it loads */

    struct tg_lua_interceptor *interceptors;
    struct tg_lua_route *routes;
    size_t route_count;
    struct tg_host_route *host_routes; /* the host's, in the order of adding */
    size_t host_count; /* of the host's interceptors, that are first in every chain */
    struct tg_chain around;
    struct tg_chain not_found;
    char **listen;
    size_t listen_count;
    unsigned workers;
    enum tg_access_format log;
    struct tg_access_fields log_fields;
    struct tg_limits limits;
    struct tg_tls_context *tls; /* NULL: none */
    struct tg_lua_life life;
    bool loading;
    uint64_t load_until; /* nanoseconds */
    int patterns;        /* reference: the constraints' patterns, by number */
    int pattern_count;
    int match; /* reference: string.match */
};

/* What the engine calls of a script's exchanges. */
extern const struct tg_script_ops tg_lua_script_ops;

/* Before its routes are taken: the router, and where the patterns of constraints are kept.  False: no
 * memory.  tg_lua_script_keep_patterns() raises. */
bool tg_lua_script_make_router(struct tg_lua_script *script);
void tg_lua_script_keep_patterns(lua_State *L, struct tg_lua_script *script);
void tg_lua_script_forget_patterns(const struct tg_lua_script *script);

/* What the description at an index says of routes, and of all else; they raise. */
void tg_lua_script_take_routes(lua_State *L, struct tg_lua_script *script, int description);
void tg_lua_script_take_settings(lua_State *L, struct tg_lua_script *script, int description);

void tg_lua_script_free_routes(struct tg_lua_script *script);
void tg_lua_script_free_settings(struct tg_lua_script *script);

/* Tells of a file before it is read: one that does not load is to be watched, too. */
void tg_lua_script_tell_file(const struct tg_lua_script *script, const char *path);

/* Raise where there is no memory. */
int tg_lua_no_memory(lua_State *L);
void *tg_lua_list_of(lua_State *L, size_t count, size_t size);

#endif
