/* router.h - which route a request's method, host and path belong to.
 *
 * A tree by path segment: a literal before a :param before a *splat, with backtracking, so the cost
 * grows with the path's length and not with the number of routes.  A node whose methods lack the
 * request's is passed over in favour of the next candidate; when none is left the answer says
 * which methods there are.  Immutable once built; knows nothing of Lua.
 *
 * A literal is compared with the decoded segment; a segment is split off before it is decoded.  "/a"
 * and "/a/" differ, ".." is a segment like others, a :param or *splat takes at least a byte.  Two
 * routes have one shape when they differ in the names of their params only: with other constraints
 * they may stand side by side, and are tried before the one without, in the order of adding.
 *
 * A match allocates nothing and comes to each node of the tree once at most, whatever the path; it
 * goes no deeper than the longest route, which has TG_ROUTE_SEGMENTS_MAX segments at most.
 */
#ifndef TG_ENGINE_ROUTER_H
#define TG_ENGINE_ROUTER_H

#include <stdbool.h>
#include <stddef.h>

#include "util/slice.h"
#include "util/status.h"

struct tg_router;

enum {
    TG_ROUTE_PARAMS_MAX = 32,
    TG_ROUTE_SEGMENTS_MAX = 256,
    TG_ROUTE_HOST_MAX = 255,
    TG_ROUTE_METHODS_MAX = 60, /* different ones in a router */
    TG_ROUTE_METHOD_MAX = 32,  /* bytes of one's name */
    TG_ROUTE_ALLOW_SIZE = 512, /* room for every registered method */
    TG_ROUTE_VALUE_MAX = 8192, /* bytes of an escaped value that meets a constraint; none above */
};

struct tg_param {
    struct tg_slice name;  /* the router's */
    struct tg_slice value; /* a segment of the request's path, still encoded; a splat holds '/' */
};

enum tg_match_kind {
    TG_MATCH_FOUND,
    TG_MATCH_NO_PATH,   /* 404 */
    TG_MATCH_NO_METHOD, /* 405, or the answer to OPTIONS: allow is set */
    TG_MATCH_BAD_PATH,  /* 400: a bad escape */
};

struct tg_match {
    enum tg_match_kind kind;
    void *route; /* what tg_router_add() was given */
    struct tg_param params[TG_ROUTE_PARAMS_MAX];
    size_t param_count;
    char allow[TG_ROUTE_ALLOW_SIZE]; /* "GET, HEAD, OPTIONS, POST": for TG_MATCH_NO_METHOD */
};

/* Says whether a decoded segment satisfies constraint, a value given to tg_router_add(). */
typedef bool (*tg_constraint_fn)(void *arg, int constraint, const char *segment, size_t len);

/* NULL: no memory.  constraint may be NULL when no route has any; arg is borrowed. */
struct tg_router *tg_router_new(tg_constraint_fn constraint, void *arg);
void tg_router_free(struct tg_router *router);

struct tg_route_constraint {
    struct tg_slice param;
    int constraint; /* handed back to the constraint function */
};

struct tg_route_spec {
    struct tg_slice method; /* "GET"; "" for any */
    struct tg_slice host;   /* "", "example.com" or "*.example.com" (one label or more); no port */
    struct tg_slice path;   /* "/users/:id", "/files/" and a final "*path" */
    const struct tg_route_constraint *constraints;
    size_t constraint_count;
    void *route; /* borrowed */
};

/* Everything is copied but route.  TG_EINVAL: the path, host or method is malformed or past its cap,
 * or a constraint is for no param of the path; TG_ELIMIT: another route of the same shape, host and
 * method is there, and *clash is its route; TG_ENOMEM. */
TG_MUST_CHECK enum tg_status tg_router_add(struct tg_router *router,
                                           const struct tg_route_spec *spec, void **clash);

/* path is the request's, still encoded and without its query; host without its port ("" for none).
 * Routes of the request's host come first, then those of "*." and as much of its end as possible, then
 * those of every host.  Hosts compare without case and without a final dot.  HEAD falls to GET. */
void tg_router_match(const struct tg_router *router, struct tg_slice method, struct tg_slice host,
                     struct tg_slice path, struct tg_match *out);

#endif
