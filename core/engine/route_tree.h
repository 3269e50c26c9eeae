/* route_tree.h - what routes are kept in: a tree with a node per path segment.  Only the router
 * includes this. */
#ifndef TG_ENGINE_ROUTE_TREE_H
#define TG_ENGINE_ROUTE_TREE_H

#include <stddef.h>
#include <stdint.h>

#include "util/slice.h"
#include "util/status.h"

struct tg_route_node;
struct tg_route_spec;

struct tg_route_slot {
    struct tg_route_node *node; /* NULL: free */
    uint32_t hash;
};

/* Nodes by key.  Its size is a power of two, or 0 while it is empty. */
struct tg_route_table {
    struct tg_route_slot *slots;
    size_t size;
    size_t count;
};

struct tg_route_check {
    size_t param; /* which one, from 0 */
    int constraint;
};

/* A route at the node where its path ends. */
struct tg_endpoint {
    struct tg_endpoint *next;
    int method; /* an index into the router's methods */
    void *route;
    char *path;             /* what the names point into */
    struct tg_slice *names; /* of its params, in the path's order */
    size_t param_count;
    struct tg_route_check *checks; /* sorted, so that equal ones compare equal */
    size_t check_count;
};

struct tg_route_node {
    char *key; /* a literal segment as decoded, or a host in lower case */
    size_t key_len;
    struct tg_route_table literals;
    struct tg_route_node *param;
    struct tg_route_node *splat;
    struct tg_endpoint *endpoints; /* those with checks first, each kind in the order of adding */
};

/* How the bytes of a key that is looked for are written. */
enum tg_route_spelling { TG_SPELT_PLAIN, TG_SPELT_ESCAPED, TG_SPELT_NOCASE };

/* NULL when it is not there. */
struct tg_route_node *tg_route_table_find(const struct tg_route_table *table, struct tg_slice key,
                                          enum tg_route_spelling spelling);

/* Finds or makes; key is copied (in lower case for TG_SPELT_NOCASE).  NULL: no memory. */
struct tg_route_node *tg_route_table_make(struct tg_route_table *table, struct tg_slice key,
                                          enum tg_route_spelling spelling);
void tg_route_table_fini(struct tg_route_table *table); /* frees the nodes too */

/* Finds or makes the node where path, which must be well formed, ends.  NULL: no memory; what was
 * made by then stays and matches nothing. */
struct tg_route_node *tg_route_node_make(struct tg_route_node *root, struct tg_slice path);
void tg_route_node_fini(struct tg_route_node *node); /* frees what hangs below it, not itself */

/* Takes endpoint, unless a route with the same method and the same checks is there: that one is
 * returned then. */
struct tg_endpoint *tg_route_node_add(struct tg_route_node *node, struct tg_endpoint *endpoint);

/* Checks spec's path and constraints and copies what they say; the method is left for the caller.
 * TG_EINVAL, TG_ENOMEM. */
enum tg_status tg_endpoint_new(struct tg_endpoint **out, const struct tg_route_spec *spec);
void tg_endpoint_free(struct tg_endpoint *endpoint); /* NULL is fine */

/* Takes the first segment off *rest, and the slash after it; false when none is left.  Begin with
 * what follows the path's first slash.  "a/" has two: "a" and "". */
struct tg_route_steps {
    const char *at; /* NULL: no more */
    const char *end;
};
bool tg_route_next(struct tg_route_steps *steps, struct tg_slice *segment);

#endif
