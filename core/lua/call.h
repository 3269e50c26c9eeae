/* call.h - the script's side of one exchange: what core/lua keeps for it. */
#ifndef TG_LUA_CALL_H
#define TG_LUA_CALL_H

#include <lua.h>

#include "engine/exchange.h"
#include "lua/body_kind.h"
#include "lua/task.h"

#define TG_REQUEST_TYPE "tidegate.Request"
#define TG_CONTEXT_TYPE "tidegate.Context"

/* User values of the request, which is the script's handle on the exchange. */
enum {
    TG_CALL_CONTEXT = 1, /* or, of a bare call, the response alone */
    TG_CALL_CACHE,       /* fields made on demand, and those that the script has set */
    TG_CALL_ERROR,       /* the err table on its way outwards; else nil */
    TG_CALL_ON_CLOSE,    /* a list of functions */
    TG_CALL_PREDICATES,  /* of terminate_when */
    TG_CALL_VALUES = TG_CALL_PREDICATES,
};

struct tg_driven;
struct tg_fetch_body;
struct tg_lua_interceptor;

/* Lives in the request's userdata, which C anchors until the exchange ends.  A script may keep the
 * request for longer: exchange is NULL then. */
struct tg_call {
    struct tg_exchange *exchange;
    struct tg_task *task;
    struct tg_scope scope; /* of task and of what it has spawned */
    int ref;               /* of the request, in the registry */
    const struct tg_lua_interceptor *running;
    enum tg_stage stage;
    bool bare;                           /* nobody has asked for the context yet: there is none */
    bool streamed;                       /* the request's body goes to another server */
    bool body_begun;                     /* something of the request's body was taken */
    bool body_over;                      /* and whoever took it has seen its end */
    struct tg_task *sender;              /* that waits until a file is sent; or NULL */
    struct tg_queue senders;             /* those that have files to send after that */
    struct tg_task *reader;              /* that waits for more of the request's body; or NULL */
    struct tg_lua_interceptor *enqueued; /* made for this exchange; a list */
    struct tg_out out;                   /* the response's body */
    struct tg_fetch_body *fetches;       /* its requests to other servers; a list */
    struct tg_source *source;            /* what is to go on with it, until the engine has it */
    struct tg_driven *driven;            /* what goes on with it, while a task waits for that */
    enum tg_ending ending;               /* for on_close callbacks */
    lua_Integer closers;                 /* how many of them there are */
    lua_Integer closing;                 /* which is being called */
};

/* The metatables of requests and contexts have been made. */
void tg_call_open(lua_State *L);

/* The exchange's call, made when it has none; NULL when out of memory. */
struct tg_call *tg_call_of(struct tg_exchange *x);

/* What the engine is told of a run of its task, which has ended so, or waits. */
enum tg_step tg_call_step(struct tg_call *call, enum tg_lua_result result);

/* The value at index as a live call: raises unless it is a request, or a context.  exchange is
 * NULL in what it gives when the exchange is over. */
struct tg_call *tg_call_check(lua_State *L, int index);

/* The same for a request alone. */
struct tg_call *tg_request_check(lua_State *L, int index);

void tg_call_push_request(lua_State *L, const struct tg_call *call);

/* Whether the value at index, which is to be called with something and the context, has a parameter for
 * the latter. */
bool tg_call_wants_context(lua_State *L, int index);

/* Makes the context when the call is bare: may raise. */
void tg_call_push_context(lua_State *L, struct tg_call *call);

/* ctx.response, through metamethods, without making the context for it. */
void tg_call_push_response(lua_State *L, const struct tg_call *call);

/* The call of the exchange that the running task belongs to; NULL when it is of none. */
struct tg_call *tg_call_current(lua_State *L);

#endif
