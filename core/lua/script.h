/* script.h - one loaded script on one worker: its routes, and what the engine calls of it. */
#ifndef TG_LUA_SCRIPT_H
#define TG_LUA_SCRIPT_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/exchange.h"
#include "http/tls.h"
#include "lua/host.h"
#include "lua/state.h"
#include "util/buf.h"
#include "util/limits.h"

struct event_base;
struct tg_upstream;
struct tg_lua_script;

struct tg_lua_script_options {
    const char *path; /* of the script, or its name in messages */
    const char *text; /* its text; NULL: the file at path */
    bool program;     /* it returns no service: tg_lua_program_start() runs it */
    struct event_base *base;
    const struct tg_log *log;
    struct tg_upstream *upstream;   /* borrowed; NULL: scripts reach no other server */
    struct tg_lua_host host;        /* copied */
    struct tg_tls_pair tls;         /* instead of the script's; NULLs: what that says */
    struct tg_slices *slices;       /* as in tg_lua_options */
    const struct tg_limits *limits; /* where the script says nothing */
    /* Sets limits that win over the script's own; may be NULL. */
    void (*override)(struct tg_limits *limits, void *arg);
    void *override_arg;
    /* A file that the script is about to load or require, now or later; may be NULL. */
    void (*on_file)(void *arg, const char *path);
    void *on_file_arg;
    /* Asked now and then while the script loads: true makes it fail.  May be NULL. */
    bool (*give_up)(void *arg);
    void *give_up_arg;
    void (*suspended)(void *arg); /* as in tg_lua_options */
    void *suspended_arg;
    int (*setup)(lua_State *L, void *arg); /* the host's; may be NULL */
    void *setup_arg;
};

/* Loads and checks the script, on any thread: the state is then handed to the worker's, and until it
 * is touches nothing of base that another thread may use.  On TG_EINVAL *problems has every problem, a line each; on TG_ENOMEM
 * it may be empty. *out is then NULL. */
enum tg_status tg_lua_script_new(struct tg_lua_script **out,
                                 const struct tg_lua_script_options *options,
                                 struct tg_buf *problems);

/* On the loop's thread, before the first request. */
void tg_lua_script_adopt(struct tg_lua_script *script);

/* Whether its service has a check; and as tg_lua_life_check(). */
bool tg_lua_script_has_check(const struct tg_lua_script *script);
bool tg_lua_script_check(struct tg_lua_script *script, struct tg_buf *problem,
                         void (*done)(void *arg), void *arg);

/* As tg_lua_life_start() and tg_lua_life_stop(). */
void tg_lua_script_start(struct tg_lua_script *script);
bool tg_lua_script_stop(struct tg_lua_script *script, void (*done)(void *arg), void *arg);

/* A service in a script's own state, for its tests: of the service table at index, whose problems are
 * raised.  It has no life: no check, on_start and on_stop.  Pushes its description.  *slot, which is set
 * before anything can raise, is the caller's, for tg_lua_script_free() inside Lua. */
void tg_lua_script_guest(lua_State *L, int index, struct tg_lua_script **slot);

/* Its exchanges are over by now.  NULL is fine. */
void tg_lua_script_free(struct tg_lua_script *script);

struct tg_script *tg_lua_script_engine(struct tg_lua_script *script);

const struct tg_limits *tg_lua_script_limits(const struct tg_lua_script *script);

/* What the service table says; NULL past the last address. */
const char *tg_lua_script_listen(const struct tg_lua_script *script, size_t n);
struct tg_tls_context *tg_lua_script_tls(const struct tg_lua_script *script); /* its; NULL: none */
unsigned tg_lua_script_workers(const struct tg_lua_script *script);           /* 0: nothing */
enum tg_access_format tg_lua_script_log(const struct tg_lua_script *script);

/* Finds the places where the exchanges of its routes are counted. */
void tg_lua_script_count_in(struct tg_lua_script *script, struct tg_route_figures *table);

struct tg_lua_route {
    const char *method; /* "" for any */
    const char *host;
    const char *path;
    struct tg_chain chain;
};
/* The nth route in the script's order; NULL past the last. */
const struct tg_lua_route *tg_lua_script_route(const struct tg_lua_script *script, size_t n);

/* What the host adds; borrowed.  Before the script serves.  An interceptor comes before the script's own in
 * every chain, and after those that were added before.  A route is inside of the service's interceptors;
 * its name is the handler's.  TG_EINVAL, TG_ELIMIT: as of tg_router_add(); TG_ENOMEM. */
TG_MUST_CHECK enum tg_status tg_lua_script_add_interceptor(struct tg_lua_script *script,
                                                           const struct tg_interceptor *item);
TG_MUST_CHECK enum tg_status tg_lua_script_add_route(struct tg_lua_script *script,
                                                     const char *method, const char *path,
                                                     const struct tg_interceptor *handler);

struct tg_lua *tg_lua_script_state(const struct tg_lua_script *script);

#endif
