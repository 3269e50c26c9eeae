/* embed.c - two gateways in a program with a loop and a timer of its own.
 *   cc embed.c $(pkg-config --cflags --libs tidegate) -o embed && ./embed */
#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tidegate.h>
static void hello(struct tidegate_exchange *x, void *arg)
{
    const char *name = tidegate_param(x, "name");
    tidegate_respond_bytes(x, name ? 200 : 500, "text/plain", name, name ? strlen(name) : 0);
}
static void tick(evutil_socket_t fd, short what, void *gateway)
{
    tidegate_publish(gateway, "ticks", NULL, "tick", 4);
}
static struct tidegate *serve(struct event_base *base, const char *script)
{
    struct tidegate_options o;
    struct tidegate *g;
    tidegate_options_init(&o, sizeof o);
    o.script = "embed.lua", o.script_text = script, o.base = base;
    o.listen = "127.0.0.1:0";
    if (tidegate_new(&g, &o) || tidegate_route(g, "GET", "/hello/:name", hello, NULL) ||
        tidegate_start(g))
        fprintf(stderr, "%s\n", g ? tidegate_error(g) : "not enough memory"), exit(1);
    return g;
}
static const char script[] =
    "local ticks = require('tidegate').topic('ticks')\n"
    "return { routes = { { '/', get = function() return { body = ticks } end } } }";
int main(void)
{
    const char *seconds = getenv("SECONDS");
    struct event_base *base = event_base_new();
    struct tidegate *one = serve(base, "return { routes = {} }"), *two = serve(base, script);
    struct event *timer = event_new(base, -1, EV_PERSIST, tick, two);
    event_add(timer, &(struct timeval){0, 100000});
    printf("%s %s\n", tidegate_listener(one, 0), tidegate_listener(two, 0)), fflush(stdout);
    event_base_loopexit(base, &(struct timeval){seconds ? strtol(seconds, NULL, 10) : 60, 0});
    event_base_dispatch(base);
    event_free(timer), tidegate_free(one), tidegate_free(two), event_base_free(base);
}
