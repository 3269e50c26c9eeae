/* fetch_body.h - response.body of tg.fetch: a stream of what another server sends. */
#ifndef TG_LUA_FETCH_BODY_H
#define TG_LUA_FETCH_BODY_H

#include <stdbool.h>
#include <stdint.h>

#include <lua.h>

#include "body/writer.h"
#include "upstream/fetch.h"

#define TG_FETCH_BODY_TYPE "tidegate.UpstreamBody"

struct tg_body_reader;
struct tg_call;
struct tg_conn;
struct tg_exchange;
struct tg_task;

/* User values of the body. */
enum {
    TG_FETCH_BODY_ANCHOR = 1, /* what its request's body is read from */
    TG_FETCH_BODY_KEPT,       /* what else its request was made of: its load is in it */
    TG_FETCH_BODY_VALUES = TG_FETCH_BODY_KEPT,
};

#define TG_FETCH_LOAD_TYPE "tidegate.UpstreamLoad"

/* How many requests to one server are under way, for who chooses among several. */
struct tg_fetch_load {
    unsigned count;
};

/* A request's body: in memory, as the client sends it, or as it is produced. */
struct tg_fetch_input {
    const char *bytes;
    size_t len;
    size_t at;
    struct tg_call *call;          /* whose request's body it is; or NULL */
    struct tg_body_reader *reader; /* or NULL */
    bool waiting;                  /* for more */
    int status;                    /* what is wrong with the client's body: 400, 413 */
};

struct tg_fetch_body {
    struct tg_fetch *fetch;       /* NULL: not begun, or read to its end, or closed */
    struct tg_upstream_head head; /* of its response, once that is there */
    bool decoded;                 /* its coding is undone */
    bool ended;                   /* all of it was read */
    uint64_t taken;               /* bytes that were read */
    uint64_t length;              /* or TG_FETCH_LENGTH_UNKNOWN */
    struct tg_fetch_input input;

    struct tg_fetch_load *load; /* that it is counted in; NULL: none */

    /* The exchange that it is cancelled with, and its other ones. */
    struct tg_exchange *exchange;
    bool awaited; /* counted in exchange->upstreams */
    struct tg_fetch_body *next;
    struct tg_fetch_body **link;

    struct tg_task *task;       /* that waits for it, or for its end while it is pumped */
    struct tg_writer *writer;   /* while it is pumped */
    struct tg_writer_wish wish; /* to write on */
    enum tg_status written;
};

void tg_fetch_body_open(lua_State *L); /* once per state */

/* core.fetch_load() -> a new counter, for tg.fetch's option load: load:count(). */
int tg_fetch_load_new(lua_State *L);

/* Pushes one that belongs to the call's exchange; to nobody's when call is NULL. */
struct tg_fetch_body *tg_fetch_body_new(lua_State *L, struct tg_call *call);

/* Ends its transfer: what was not read is lost, and whoever waits for it is told. */
void tg_fetch_body_close(struct tg_fetch_body *body);

/* The same for all of an exchange that ends. */
void tg_fetch_bodies_close(struct tg_fetch_body *list);

/* Its head is there, or never will be. */
void tg_fetch_body_answered(struct tg_fetch_body *body);

/* Raises the failure of its fetch as an error with a status. */
int tg_fetch_body_raise(lua_State *L, struct tg_fetch_body *body, int index);

#endif
