/* router.c - adding routes, and the walk that finds one. */
#include "engine/router.h"

#include <stdint.h>

#include "engine/route_tree.h"
#include "util/mem.h"
#include "util/percent.h"

/* The first entries of a router's methods. */
enum { ANY, GET, HEAD, OPTIONS, KNOWN_METHODS };
enum { NO_SUCH_METHOD = -1, METHODS = KNOWN_METHODS + TG_ROUTE_METHODS_MAX };

struct method {
    char name[TG_ROUTE_METHOD_MAX];
    size_t len;
};

struct tg_router {
    tg_constraint_fn constraint;
    void *arg;
    struct method methods[METHODS];
    int method_count;
    struct tg_route_table hosts;
    struct tg_route_table wildcards; /* by what follows the "*." */
    struct tg_route_node everywhere;
};

static int add_method(struct tg_router *router, struct tg_slice name)
{
    struct method *method = &router->methods[router->method_count];
    memcpy(method->name, name.p, name.len);
    method->len = name.len;
    return router->method_count++;
}

struct tg_router *tg_router_new(tg_constraint_fn constraint, void *arg)
{
    struct tg_router *router = tg_calloc(1, sizeof *router);
    if (!router)
        return NULL;
    router->constraint = constraint;
    router->arg = arg;
    router->method_count = ANY + 1;
    add_method(router, TG_SLICE("GET"));
    add_method(router, TG_SLICE("HEAD"));
    add_method(router, TG_SLICE("OPTIONS"));
    return router;
}

void tg_router_free(struct tg_router *router)
{
    if (!router)
        return;
    tg_route_table_fini(&router->hosts);
    tg_route_table_fini(&router->wildcards);
    tg_route_node_fini(&router->everywhere);
    tg_free(router);
}

static struct tg_slice method_name(const struct tg_router *router, int method)
{
    return (struct tg_slice){router->methods[method].name, router->methods[method].len};
}

static int find_method(const struct tg_router *router, struct tg_slice name)
{
    for (int i = ANY + 1; i < router->method_count; i++)
        if (tg_slice_equal(method_name(router, i), name))
            return i;
    return NO_SUCH_METHOD;
}

static bool alphanumeric(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

/* A token (RFC 9110, 5.6.2). */
static bool is_token(struct tg_slice name)
{
    for (size_t i = 0; i < name.len; i++)
        if (!alphanumeric(name.p[i]) && (!name.p[i] || !strchr("!#$%&'*+-.^_`|~", name.p[i])))
            return false;
    return name.len > 0;
}

/* The method's index, made if need be, or NO_SUCH_METHOD. */
static int intern_method(struct tg_router *router, struct tg_slice name)
{
    if (!name.len)
        return ANY;
    int method = find_method(router, name);
    if (method != NO_SUCH_METHOD)
        return method;
    if (name.len > TG_ROUTE_METHOD_MAX || router->method_count == METHODS || !is_token(name))
        return NO_SUCH_METHOD;
    return add_method(router, name);
}

/* Takes the "*." off a host's front. */
static bool is_wildcard(struct tg_slice *host)
{
    if (host->len < 2 || host->p[0] != '*' || host->p[1] != '.')
        return false;
    *host = (struct tg_slice){host->p + 2, host->len - 2};
    return true;
}

/* A bracketed IPv6 address has colons; elsewhere one would begin a port. */
static bool valid_host(struct tg_slice host)
{
    bool wildcard = is_wildcard(&host);
    if (!host.len)
        return !wildcard;
    if (host.len > TG_ROUTE_HOST_MAX || host.p[host.len - 1] == '.')
        return false;
    const char *banned = host.p[0] == '[' ? "*/@ " : "*/@ :";
    for (size_t i = 0; i < host.len; i++)
        if (strchr(banned, host.p[i])) /* a NUL too */
            return false;
    return true;
}

static struct tg_route_node *make_root(struct tg_router *router, struct tg_slice host)
{
    if (!host.len)
        return &router->everywhere;
    struct tg_route_table *table = is_wildcard(&host) ? &router->wildcards : &router->hosts;
    return tg_route_table_make(table, host, TG_SPELT_NOCASE);
}

enum tg_status tg_router_add(struct tg_router *router, const struct tg_route_spec *spec,
                             void **clash)
{
    *clash = NULL;
    if (!valid_host(spec->host) || (spec->constraint_count && !router->constraint))
        return TG_EINVAL;
    struct tg_endpoint *endpoint;
    enum tg_status status = tg_endpoint_new(&endpoint, spec);
    if (status != TG_OK)
        return status;
    endpoint->method = intern_method(router, spec->method);
    if (endpoint->method == NO_SUCH_METHOD) {
        status = TG_EINVAL;
        goto fail;
    }
    struct tg_route_node *root = make_root(router, spec->host);
    struct tg_route_node *node = root ? tg_route_node_make(root, spec->path) : NULL;
    if (!node) {
        status = TG_ENOMEM;
        goto fail;
    }
    const struct tg_endpoint *there = tg_route_node_add(node, endpoint);
    if (there) {
        *clash = there->route;
        status = TG_ELIMIT;
        goto fail;
    }
    return TG_OK;
fail:
    tg_endpoint_free(endpoint);
    return status;
}

/* One request's way through the trees. */
struct walk {
    const struct tg_router *router;
    int method;
    int fallback;     /* GET for HEAD, else NO_SUCH_METHOD */
    bool collecting;  /* what the path allows, after nothing was found */
    uint64_t allowed; /* a bit per method */
    const char *end;  /* of the path */
    struct tg_param *params;
    size_t count; /* of params with a value now */
};

static bool holds(const struct tg_router *router, int constraint, struct tg_slice value)
{
    char decoded[TG_ROUTE_VALUE_MAX];
    if (!memchr(value.p, '%', value.len))
        return router->constraint(router->arg, constraint, value.p, value.len);
    if (value.len > sizeof decoded)
        return false;
    size_t len = tg_percent_decode(value.p, value.len, false, decoded);
    return router->constraint(router->arg, constraint, decoded, len);
}

static bool satisfied(const struct walk *walk, const struct tg_endpoint *endpoint)
{
    for (size_t i = 0; i < endpoint->check_count; i++) {
        const struct tg_route_check *check = &endpoint->checks[i];
        if (!holds(walk->router, check->constraint, walk->params[check->param].value))
            return false;
    }
    return true;
}

/* How well an endpoint's method suits the request's; 0: not at all. */
static int rank_of(const struct walk *walk, int method)
{
    if (method == walk->method)
        return 3;
    if (method == walk->fallback)
        return 2;
    return method == ANY ? 1 : 0;
}

static const struct tg_endpoint *arrive(struct walk *walk, const struct tg_route_node *node)
{
    const struct tg_endpoint *best = NULL;
    int best_rank = 0;
    for (const struct tg_endpoint *e = node->endpoints; e; e = e->next) {
        int rank = rank_of(walk, e->method);
        if (!walk->collecting && rank > best_rank && satisfied(walk, e)) {
            best = e;
            best_rank = rank;
        }
        if (walk->collecting && e->method != ANY && satisfied(walk, e))
            walk->allowed |= (uint64_t)1 << e->method;
    }
    return best;
}

static const struct tg_endpoint *descend(struct walk *walk, const struct tg_route_node *node,
                                         const char *at);

/* Goes to node, having taken what leads there: the path goes on at rest, or ends if it is NULL. */
static const struct tg_endpoint *step(struct walk *walk, const struct tg_route_node *node,
                                      const char *rest)
{
    return rest ? descend(walk, node, rest) : arrive(walk, node);
}

static const struct tg_endpoint *step_with(struct walk *walk, const struct tg_route_node *node,
                                           struct tg_slice value, const char *rest)
{
    walk->params[walk->count++].value = value;
    const struct tg_endpoint *found = step(walk, node, rest);
    if (!found)
        walk->count--;
    return found;
}

/* Each node has one parent and takes one segment, so that a walk never comes to it twice, and the
 * tree's depth bounds the recursion. */
static const struct tg_endpoint *descend(struct walk *walk, const struct tg_route_node *node,
                                         const char *at)
{
    struct tg_route_steps steps = {at, walk->end};
    struct tg_slice segment;
    tg_route_next(&steps, &segment);

    const struct tg_endpoint *found = NULL;
    const struct tg_route_node *literal =
        tg_route_table_find(&node->literals, segment, TG_SPELT_ESCAPED);
    if (literal)
        found = step(walk, literal, steps.at);
    if (!found && node->param && segment.len)
        found = step_with(walk, node->param, segment, steps.at);
    if (!found && node->splat && at < walk->end) {
        struct tg_slice rest = {at, (size_t)(walk->end - at)};
        found = step_with(walk, node->splat, rest, NULL);
    }
    return found;
}

static const struct tg_endpoint *try_root(struct walk *walk, const struct tg_route_node *root,
                                          struct tg_slice path)
{
    return root ? descend(walk, root, path.p + 1) : NULL;
}

static const struct tg_endpoint *search(struct walk *walk, struct tg_slice host,
                                        struct tg_slice path)
{
    const struct tg_router *router = walk->router;
    const struct tg_endpoint *found = NULL;
    if (host.len <= TG_ROUTE_HOST_MAX)
        found = try_root(walk, tg_route_table_find(&router->hosts, host, TG_SPELT_NOCASE), path);
    for (size_t i = 1; !found && router->wildcards.count && i < host.len; i++) {
        struct tg_slice tail = {host.p + i + 1, host.len - i - 1};
        if (host.p[i] != '.' || tail.len > TG_ROUTE_HOST_MAX)
            continue;
        found =
            try_root(walk, tg_route_table_find(&router->wildcards, tail, TG_SPELT_NOCASE), path);
    }
    return found ? found : try_root(walk, &router->everywhere, path);
}

static int compare_names(struct tg_slice a, struct tg_slice b)
{
    int order = memcmp(a.p, b.p, a.len < b.len ? a.len : b.len);
    return order ? order : (a.len > b.len) - (a.len < b.len);
}

/* The first of the allowed methods by name, or NO_SUCH_METHOD. */
static int least(const struct tg_router *router, uint64_t allowed)
{
    int best = NO_SUCH_METHOD;
    for (int i = 0; i < router->method_count; i++) {
        if (!(allowed >> i & 1))
            continue;
        if (best == NO_SUCH_METHOD ||
            compare_names(method_name(router, i), method_name(router, best)) < 0)
            best = i;
    }
    return best;
}

/* Names that do not fit are left out whole. */
static void print_allow(const struct tg_router *router, uint64_t allowed,
                        char allow[TG_ROUTE_ALLOW_SIZE])
{
    size_t len = 0;
    int method = least(router, allowed);
    for (; method != NO_SUCH_METHOD; method = least(router, allowed)) {
        struct tg_slice name = method_name(router, method);
        allowed &= ~((uint64_t)1 << method);
        if (len + 2 + name.len >= TG_ROUTE_ALLOW_SIZE)
            continue;
        if (len) {
            memcpy(allow + len, ", ", 2);
            len += 2;
        }
        memcpy(allow + len, name.p, name.len);
        len += name.len;
    }
    allow[len] = '\0';
}

static void found_route(struct tg_match *out, const struct tg_endpoint *endpoint)
{
    out->kind = TG_MATCH_FOUND;
    out->route = endpoint->route;
    out->param_count = endpoint->param_count;
    for (size_t i = 0; i < endpoint->param_count; i++)
        out->params[i].name = endpoint->names[i];
}

void tg_router_match(const struct tg_router *router, struct tg_slice method, struct tg_slice host,
                     struct tg_slice path, struct tg_match *out)
{
    out->kind = TG_MATCH_NO_PATH;
    out->route = NULL;
    out->param_count = 0;
    out->allow[0] = '\0';
    if (!path.len || path.p[0] != '/')
        return;
    if (!tg_percent_valid(path.p, path.len)) {
        out->kind = TG_MATCH_BAD_PATH;
        return;
    }
    if (host.len && host.p[host.len - 1] == '.')
        host.len--;

    struct walk walk = {.router = router, .end = path.p + path.len, .params = out->params};
    walk.method = find_method(router, method);
    walk.fallback = walk.method == HEAD ? GET : NO_SUCH_METHOD;
    const struct tg_endpoint *endpoint = search(&walk, host, path);
    if (endpoint) {
        found_route(out, endpoint);
        return;
    }
    walk.collecting = true;
    search(&walk, host, path);
    if (!walk.allowed)
        return;
    if (walk.allowed >> GET & 1)
        walk.allowed |= (uint64_t)1 << HEAD;
    walk.allowed |= (uint64_t)1 << OPTIONS;
    out->kind = TG_MATCH_NO_METHOD;
    print_allow(router, walk.allowed, out->allow);
}
