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
