/* endpoint.c - what one route says: its path's params and their constraints. */
#include <stdlib.h>

#include "engine/route_tree.h"
#include "engine/router.h"
#include "util/mem.h"

/* What a route's path says. */
struct shape {
    struct tg_slice names[TG_ROUTE_PARAMS_MAX];
    size_t param_count;
};

static bool find_param(const struct tg_slice *names, size_t count, struct tg_slice name, size_t *at)
{
    for (*at = 0; *at < count; ++*at)
        if (tg_slice_equal(names[*at], name))
            return true;
    return false;
}

static bool name_char(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_' ||
           c == '-';
}

/* "id.json" is refused rather than taken for a name: it was meant as a pattern. */
static bool add_name(struct shape *shape, struct tg_slice name)
{
    size_t at;
    if (!name.len || shape->param_count == TG_ROUTE_PARAMS_MAX ||
        find_param(shape->names, shape->param_count, name, &at))
        return false;
    for (size_t i = 0; i < name.len; i++)
        if (!name_char(name.p[i]))
            return false;
    shape->names[shape->param_count++] = name;
    return true;
}

static bool parse_path(struct tg_slice path, struct shape *shape)
{
    shape->param_count = 0;
    if (!path.len || path.p[0] != '/' || memchr(path.p, '\0', path.len))
        return false;
    struct tg_route_steps steps = {path.p + 1, path.p + path.len};
    struct tg_slice segment;
    for (size_t count = 1; tg_route_next(&steps, &segment); count++) {
        if (count > TG_ROUTE_SEGMENTS_MAX)
            return false;
        if (!segment.len || (segment.p[0] != ':' && segment.p[0] != '*'))
            continue;
        if (segment.p[0] == '*' && steps.at)
            return false; /* a splat takes the rest, so nothing can follow it */
        if (!add_name(shape, (struct tg_slice){segment.p + 1, segment.len - 1}))
            return false;
    }
    return true;
}

static int compare_checks(const void *a, const void *b)
{
    const struct tg_route_check *x = a;
    const struct tg_route_check *y = b;
    if (x->param != y->param)
        return x->param < y->param ? -1 : 1;
    return (x->constraint > y->constraint) - (x->constraint < y->constraint);
}

static enum tg_status add_checks(struct tg_endpoint *endpoint, const struct tg_route_spec *spec)
{
    if (!spec->constraint_count)
        return TG_OK;
    endpoint->checks = tg_calloc(spec->constraint_count, sizeof *endpoint->checks);
    if (!endpoint->checks)
        return TG_ENOMEM;
    for (size_t i = 0; i < spec->constraint_count; i++) {
        struct tg_route_check *check = &endpoint->checks[i];
        if (!find_param(endpoint->names, endpoint->param_count, spec->constraints[i].param,
                        &check->param))
            return TG_EINVAL;
        check->constraint = spec->constraints[i].constraint;
    }
    endpoint->check_count = spec->constraint_count;
    qsort(endpoint->checks, endpoint->check_count, sizeof *endpoint->checks, compare_checks);
    return TG_OK;
}

static enum tg_status add_names(struct tg_endpoint *endpoint, struct tg_slice path,
                                const struct shape *shape)
{
    if (!shape->param_count)
        return TG_OK;
    endpoint->path = tg_strndup(path.p, path.len);
    endpoint->names = tg_calloc(shape->param_count, sizeof *endpoint->names);
    if (!endpoint->path || !endpoint->names)
        return TG_ENOMEM;
    for (size_t i = 0; i < shape->param_count; i++)
        endpoint->names[i] =
            (struct tg_slice){endpoint->path + (shape->names[i].p - path.p), shape->names[i].len};
    endpoint->param_count = shape->param_count;
    return TG_OK;
}

enum tg_status tg_endpoint_new(struct tg_endpoint **out, const struct tg_route_spec *spec)
{
    *out = NULL;
    struct shape shape;
    if (!parse_path(spec->path, &shape))
        return TG_EINVAL;
    struct tg_endpoint *endpoint = tg_calloc(1, sizeof *endpoint);
    if (!endpoint)
        return TG_ENOMEM;
    endpoint->route = spec->route;
    enum tg_status status = add_names(endpoint, spec->path, &shape);
    if (status == TG_OK)
        status = add_checks(endpoint, spec);
    if (status != TG_OK) {
        tg_endpoint_free(endpoint);
        return status;
    }
    *out = endpoint;
    return TG_OK;
}

void tg_endpoint_free(struct tg_endpoint *endpoint)
{
    if (!endpoint)
        return;
    tg_free(endpoint->path);
    tg_free(endpoint->names);
    tg_free(endpoint->checks);
    tg_free(endpoint);
}
