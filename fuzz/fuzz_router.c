/* fuzz_router.c - matches hostile methods, hosts and paths, and checks what comes out against a
 * plain reading of the rules.  Input: method, host and path, a line each. */
#include <stdint.h>
#include <stdlib.h>

#include "engine/router.h"
#include "util/percent.h"

static const struct {
    const char *method;
    const char *host;
    const char *path;
    const char *digits; /* the param that must be digits, or "" */
} table[] = {
    {"GET", "", "/", ""},
    {"GET", "", "/a", ""},
    {"POST", "", "/a", ""},
    {"", "", "/a/", ""},
    {"GET", "", "/a/new", ""},
    {"PUT", "", "/a/:id", "id"},
    {"GET", "", "/a/:id/x", ""},
    {"GET", "", "/:p/:q/:r", "q"},
    {"GET", "", "/:p/:q/:r", ""},
    {"DELETE", "", "/f/*rest", ""},
    {"GET", "", "/caf\xc3\xa9//:id/*rest", ""},
    {"HEAD", "", "/a/:id/x", ""},
    {"GET", "a.test", "/a", ""},
    {"GET", "*.test", "/:p", ""},
    {"PUT", "*.b.test", "/*all", "all"},
};

enum { COUNT = sizeof table / sizeof *table };

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition))                                                                          \
            abort();                                                                               \
    } while (0)

static bool digits(void *arg, int constraint, const char *segment, size_t len)
{
    (void)arg;
    (void)constraint;
    for (size_t i = 0; i < len; i++)
        if (segment[i] < '0' || segment[i] > '9')
            return false;
    return true;
}

static struct tg_slice text(const char *s)
{
    return (struct tg_slice){s, strlen(s)};
}

static int numbers[COUNT];

static struct tg_router *make_router(void)
{
    struct tg_router *router = tg_router_new(digits, NULL);
    CHECK(router);
    for (int i = 0; i < COUNT; i++) {
        struct tg_route_constraint constraint = {text(table[i].digits), 1};
        struct tg_route_spec spec = {
            text(table[i].method), text(table[i].host),      text(table[i].path),
            &constraint,           *table[i].digits ? 1 : 0, &numbers[i],
        };
        void *clash;
        numbers[i] = i;
        CHECK(tg_router_add(router, &spec, &clash) == TG_OK);
    }
    return router;
}

static struct tg_slice cut(struct tg_slice *rest, char separator)
{
    struct tg_slice head = *rest;
    const char *at = rest->len ? memchr(rest->p, separator, rest->len) : NULL;
    head.len = at ? (size_t)(at - rest->p) : rest->len;
    size_t taken = head.len + (at ? 1 : 0);
    *rest = (struct tg_slice){taken ? rest->p + taken : rest->p, rest->len - taken};
    return head;
}

static bool decoded_equal(struct tg_slice encoded, struct tg_slice plain)
{
    const char *end = encoded.p + encoded.len;
    size_t i = 0;
    for (const char *p = encoded.p; p < end; i++)
        if (i == plain.len || tg_percent_next(&p, end) != (unsigned char)plain.p[i])
            return false;
    return i == plain.len;
}

static bool decoded_digits(struct tg_slice value)
{
    if (memchr(value.p, '%', value.len) && value.len > TG_ROUTE_VALUE_MAX)
        return false;
    const char *end = value.p + value.len;
    for (const char *p = value.p; p < end;) {
        unsigned char c = tg_percent_next(&p, end);
        if (c < '0' || c > '9')
            return false;
    }
    return true;
}

static bool param_fits(int route, struct tg_slice name, struct tg_slice value)
{
    return value.len && (!tg_slice_equal(name, text(table[route].digits)) || decoded_digits(value));
}

/* Whether the route's pattern alone takes the path. */
static bool path_fits(int route, struct tg_slice path)
{
    struct tg_slice pattern = {table[route].path + 1, strlen(table[route].path) - 1};
    path = (struct tg_slice){path.p + 1, path.len - 1};
    for (;;) {
        bool last = !pattern.len || !memchr(pattern.p, '/', pattern.len);
        struct tg_slice wanted = cut(&pattern, '/');
        struct tg_slice name = {wanted.p + 1, wanted.len ? wanted.len - 1 : 0};
        if (wanted.len && *wanted.p == '*')
            return param_fits(route, name, path);
        bool end = !path.len || !memchr(path.p, '/', path.len);
        struct tg_slice segment = cut(&path, '/');
        bool fits = wanted.len && *wanted.p == ':' ? param_fits(route, name, segment)
                                                   : decoded_equal(segment, wanted);
        if (!fits || last != end)
            return false;
        if (last)
            return true;
    }
}

static bool host_fits(int route, struct tg_slice host)
{
    struct tg_slice wanted = text(table[route].host);
    if (host.len && host.p[host.len - 1] == '.')
        host.len--;
    if (!wanted.len || tg_slice_equal_nocase(host, wanted))
        return true;
    if (*wanted.p != '*' || host.len < wanted.len)
        return false;
    struct tg_slice tail = {host.p + host.len - wanted.len + 1, wanted.len - 1};
    return tg_slice_equal_nocase(tail, (struct tg_slice){wanted.p + 1, wanted.len - 1});
}

static bool method_fits(int route, struct tg_slice method)
{
    struct tg_slice wanted = text(table[route].method);
    return !wanted.len || tg_slice_equal(method, wanted) ||
           (tg_slice_equal(method, TG_SLICE("HEAD")) && tg_slice_equal(wanted, TG_SLICE("GET")));
}

static void check_params(const struct tg_match *match, struct tg_slice path)
{
    CHECK(match->param_count <= TG_ROUTE_PARAMS_MAX);
    for (size_t i = 0; i < match->param_count; i++) {
        struct tg_slice value = match->params[i].value;
        CHECK(match->params[i].name.len && value.len);
        CHECK(value.p > path.p && value.p + value.len <= path.p + path.len);
    }
}

static void check(const struct tg_match *match, struct tg_slice method, struct tg_slice host,
                  struct tg_slice path)
{
    if (!path.len || *path.p != '/') {
        CHECK(match->kind == TG_MATCH_NO_PATH);
        return;
    }
    bool bad = memchr(path.p, '\0', path.len) || !tg_percent_valid(path.p, path.len);
    CHECK(bad == (match->kind == TG_MATCH_BAD_PATH));
    if (bad)
        return;
    bool some_path = false;
    bool some_method = false;
    for (int i = 0; i < COUNT; i++) {
        bool fits = host_fits(i, host) && path_fits(i, path);
        some_path = some_path || fits;
        some_method = some_method || (fits && method_fits(i, method));
    }
    enum tg_match_kind none = some_path ? TG_MATCH_NO_METHOD : TG_MATCH_NO_PATH;
    CHECK(match->kind == (some_method ? TG_MATCH_FOUND : none));
    CHECK((match->kind == TG_MATCH_NO_METHOD) == (strstr(match->allow, "OPTIONS") != NULL));
    if (match->kind != TG_MATCH_FOUND)
        return;
    int route = *(const int *)match->route;
    CHECK(host_fits(route, host) && path_fits(route, path) && method_fits(route, method));
    check_params(match, path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct tg_router *router;
    if (!router)
        router = make_router();
    struct tg_slice path = {(const char *)data, size};
    struct tg_slice method = cut(&path, '\n');
    struct tg_slice host = cut(&path, '\n');
    struct tg_match match;
    tg_router_match(router, method, host, path, &match);
    check(&match, method, host, path);
    return 0;
}
