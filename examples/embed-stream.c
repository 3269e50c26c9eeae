/* embed-stream.c - a body of a gigabyte, an interceptor, and a function for scripts, in C.
 *
 *   cc embed-stream.c $(pkg-config --cflags --libs tidegate) -pthread -o embed-stream && ./embed-stream
 */
#include <lauxlib.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tidegate.h>
#include <time.h>

/* --- A body that is produced as fast as its client reads ------------------------------------------ */

struct gigabyte {
    int64_t left;
};

static enum tidegate_status produce(void *arg, struct tidegate_writer *w)
{
    static const char piece[16384];
    struct gigabyte *body = arg;
    while (body->left > 0) {
        enum tidegate_status status = tidegate_write(w, piece, sizeof piece);
        if (status < 0)
            return status;
        body->left -= (int64_t)sizeof piece;
        if (status == TIDEGATE_AGAIN)
            return TIDEGATE_AGAIN; /* the client is slower: called again when it has caught up */
    }
    return TIDEGATE_OK;
}

static void gigabyte(struct tidegate_exchange *x, void *arg)
{
    (void)arg;
    struct gigabyte *body = malloc(sizeof *body);
    if (!body) {
        tidegate_fail(x, 503, "no memory");
        return;
    }
    body->left = 1 << 30;
    struct tidegate_body b = {"application/octet-stream", body->left, produce, free, body};
    tidegate_respond(x, 200, &b);
}

/* --- Around every request ------------------------------------------------------------------------- */

static void leave(struct tidegate_exchange *x, void *arg)
{
    (void)arg;
    int64_t sum;
    tidegate_shared_increment(*(struct tidegate **)arg, "figures", tidegate_method(x), 1, &sum);
}

/* --- work(text): what takes long, on another thread, while the script waits ------------------------- */

struct work {
    atomic_int users; /* the thread, and the script for as long as it waits */
    struct tidegate_ticket *ticket;
    char text[];
};

static void let_go(void *arg)
{
    struct work *work = arg;
    if (atomic_fetch_sub(&work->users, 1) == 1)
        free(work);
}

static void *toil(void *arg)
{
    struct work *work = arg;
    nanosleep(&(struct timespec){0, 20000000}, NULL); /* a database, say */
    for (char *c = work->text; *c; c++)
        *c = (char)(*c >= 'a' && *c <= 'z' ? *c - 32 : *c);
    tidegate_resume(work->ticket);
    let_go(work);
    return NULL;
}

static void begin(struct tidegate_ticket *ticket, void *arg)
{
    pthread_t thread;
    struct work *work = arg;
    work->ticket = ticket;
    if (pthread_create(&thread, NULL, toil, work) == 0) {
        pthread_detach(thread);
        return;
    }
    tidegate_resume(ticket);
    let_go(work);
}

static int finish(lua_State *L, void *arg)
{
    struct work *work = arg;
    lua_pushstring(L, work->text);
    let_go(work);
    return 1;
}

static int l_work(lua_State *L)
{
    const char *text = luaL_checkstring(L, 1);
    size_t size = strlen(text) + 1;
    struct work *work = malloc(sizeof *work + size);
    if (!work)
        return luaL_error(L, "no memory");
    atomic_init(&work->users, 2);
    memcpy(work->text, text, size);
    return tidegate_lua_wait(L, begin, finish, let_go, work);
}

static int setup(lua_State *L, void *arg)
{
    (void)arg;
    lua_register(L, "work", l_work);
    return 0;
}

static const char script[] =
    "local tg = require('tidegate')\n"
    "return { routes = {\n"
    "  { '/work/:text', get = function(r) return { body = work(r.path_params.text) } end },\n"
    "  { '/count', get = function()\n"
    "    return { body = tostring(tg.shared('figures'):get('GET')) }\n"
    "  end },\n"
    "} }";

int main(int argc, char **argv)
{
    struct tidegate *g = NULL;
    struct tidegate_interceptor around = {.name = "count", .leave = leave, .arg = &g};
    struct tidegate_options o;
    tidegate_options_init(&o, sizeof o);
    o.script = "embed-stream.lua";
    o.script_text = argc > 1 ? argv[1] : script;
    o.listen = "127.0.0.1:0";
    o.workers = 2;
    o.setup = setup;
    if (tidegate_new(&g, &o) || tidegate_intercept(g, &around) ||
        tidegate_route(g, "GET", "/gigabyte", gigabyte, NULL) || tidegate_start(g)) {
        fprintf(stderr, "%s\n", g ? tidegate_error(g) : "not enough memory");
        return 1;
    }
    printf("%s\n", tidegate_listener(g, 0));
    fflush(stdout);
    tidegate_run(g);
    tidegate_free(g);
    return 0;
}
