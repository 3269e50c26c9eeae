/* routes.c - routes as an aligned table: measured in one pass, printed in another. */
#include "cli/routes.h"

#include <string.h>

enum { METHOD, PATH, HOST, NAME, INTERCEPTORS, COLUMNS };

static const char *const titles[COLUMNS] = {"METHOD", "PATH", "HOST", "NAME", "INTERCEPTORS"};

struct table {
    FILE *out;
    size_t widths[COLUMNS]; /* 0: no route has anything in it */
    size_t spaces;          /* owed on this line */
};

/* Characters, not bytes, of what is UTF-8. */
static size_t width_of(const char *text)
{
    size_t width = 0;
    for (; *text; text++)
        width += ((unsigned char)*text & 0xC0) != 0x80;
    return width;
}

static const char *cell(const struct tidegate_route_info *route, int column)
{
    switch (column) {
    case METHOD:
        return route->method;
    case PATH:
        return route->path;
    case HOST:
        return route->host;
    default:
        return route->name;
    }
}

static size_t width_of_interceptors(const struct tidegate_route_info *route)
{
    size_t width = 0;
    for (size_t i = 0; i < route->interceptor_count; i++)
        width += width_of(route->interceptors[i]) + 1;
    return width;
}

static void measure(void *arg, const struct tidegate_route_info *route)
{
    struct table *table = arg;
    for (int i = 0; i < COLUMNS; i++) {
        size_t width = i == INTERCEPTORS ? width_of_interceptors(route) : width_of(cell(route, i));
        if (width > table->widths[i])
            table->widths[i] = width;
    }
}

/* A column's spaces are printed before what follows it, so that no line ends with some. */
static void print_cell(struct table *table, int column, const char *text)
{
    if (!table->widths[column])
        return;
    size_t width = width_of(text);
    if (width)
        fprintf(table->out, "%*s%s", (int)table->spaces, "", text);
    table->spaces = (width ? 0 : table->spaces) + table->widths[column] - width + 2;
}

static void end_line(struct table *table)
{
    fputc('\n', table->out);
    table->spaces = 0;
}

static void print_route(void *arg, const struct tidegate_route_info *route)
{
    struct table *table = arg;
    for (int i = 0; i < INTERCEPTORS; i++)
        print_cell(table, i, cell(route, i));
    for (size_t i = 0; i < route->interceptor_count; i++)
        fprintf(table->out, "%*s%s", i ? 1 : (int)table->spaces, "", route->interceptors[i]);
    end_line(table);
}

void cli_routes_print(const struct tidegate *g, FILE *out)
{
    struct table table = {.out = out};
    tidegate_each_route(g, measure, &table);
    for (int i = 0; i < COLUMNS; i++)
        if (table.widths[i] && table.widths[i] < strlen(titles[i]))
            table.widths[i] = strlen(titles[i]);
    for (int i = 0; i < COLUMNS; i++)
        print_cell(&table, i, titles[i]);
    end_line(&table);
    tidegate_each_route(g, print_route, &table);
}

/* --- explain ---------------------------------------------------------------------------------- */

static void print_match(void *arg, const struct tidegate_route_info *route,
                        const struct tidegate_param_info *params, size_t count)
{
    FILE *out = arg;
    fprintf(out, "route:        %s %s%s\n", route->method, route->host, route->path);
    if (*route->name)
        fprintf(out, "name:         %s\n", route->name);
    for (size_t i = 0; i < route->interceptor_count; i++)
        fprintf(out, "%-13s %s\n", i ? "" : "interceptors:", route->interceptors[i]);
    for (size_t i = 0; i < count; i++)
        fprintf(out, "%-13s %s = %s\n", i ? "" : "parameters:", params[i].name, params[i].value);
}

/* Splits "http://host/path?query" and "/path?query". */
static void split(const char *text, char *host, size_t size, char *path, size_t path_size)
{
    const char *scheme = strstr(text, "://");
    const char *from = scheme && scheme < strchr(text, '/') ? scheme + 3 : text;
    const char *slash = from == text ? text : strchr(from, '/');
    size_t len = slash ? (size_t)(slash - from) : strlen(from);
    const char *colon = memchr(from, ':', len);
    if (colon)
        len = (size_t)(colon - from);
    snprintf(host, size, "%.*s", (int)len, from);
    snprintf(path, path_size, "%s", slash ? slash : "/");
    path[strcspn(path, "?#")] = '\0';
}

bool cli_explain_print(const struct tidegate *g, const char *method, const char *path, FILE *out)
{
    char host[256];
    char plain[4096];
    split(path, host, sizeof host, plain, sizeof plain);
    switch (tidegate_explain(g, method, host, plain, print_match, out)) {
    case TIDEGATE_OK:
        return true;
    case TIDEGATE_AGAIN:
        fprintf(stderr, "tidegate: %s %s: the path has routes, but none for the method (405)\n",
                method, path);
        return false;
    case TIDEGATE_EINVAL:
        fprintf(stderr, "tidegate: %s: not a path (400)\n", path);
        return false;
    default:
        fprintf(stderr, "tidegate: %s: no route has it (404)\n", path);
        return false;
    }
}
