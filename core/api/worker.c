/* worker.c - puts the layers together for one loop. */
#include "api/worker.h"

#include <string.h>
#include <time.h>

#include <event2/event.h>

#include "io/loop.h"

static void on_request(void *arg, struct tg_conn *conn)
{
    struct tg_worker *w = arg;
    tg_exchange_begin(&w->engine, conn);
}

static void on_refused(void *arg, struct tg_conn *conn, int status)
{
    struct tg_worker *w = arg;
    uint16_t port;
    if (w->engine.access_log)
        tg_log(w->log, TG_LOG_INFO, "- - %d 0 0.00ms refused %s", status,
               tg_conn_peer(conn, &port));
}

/* Nothing sits in a buffer while its producer waits. */
static void on_suspended(void *arg)
{
    struct tg_worker *w = arg;
    if (w->gather.owner) /* a failure shows at the producer's next write */
        (void)!tg_writer_flush(w->gather.owner);
}

static enum tg_status open_script(struct tg_worker *w, const struct tg_worker_options *options,
                                  struct tg_buf *problems)
{
    struct tg_lua_script_options script = {
        .path = options->path,
        .text = options->text,
        .base = w->base,
        .log = w->log,
        .limits = &w->limits,
        .suspended = on_suspended,
        .suspended_arg = w,
        .setup = options->setup,
        .setup_arg = options->setup_arg,
    };
    return tg_lua_script_new(&w->script, &script, problems);
}

static enum tg_status open_server(struct tg_worker *w)
{
    struct tg_server_options server = {
        .base = w->base,
        .limits = &w->limits,
        .log = w->log,
        .on_request = on_request,
        .on_refused = on_refused,
        .arg = w,
    };
    w->server = tg_server_new(&server);
    return w->server ? TG_OK : TG_ENOMEM;
}

enum tg_status tg_worker_open(struct tg_worker *w, const struct tg_worker_options *options,
                              struct tg_buf *problems)
{
    *w = (struct tg_worker){.base = options->base, .log = options->log};
    tg_limits_init(&w->limits);
    if (!w->base) {
        w->base = tg_loop_new();
        w->own_base = true;
    }
    if (!w->base)
        return TG_EIO;
    enum tg_status status = open_script(w, options, problems);
    if (status != TG_OK)
        return status;
    status = tg_gather_init(&w->gather, w->limits.gather ? w->limits.gather : 65536);
    if (status != TG_OK)
        return status;
    w->engine = (struct tg_engine){
        .limits = &w->limits,
        .log = w->log,
        .gather = &w->gather,
        .script = tg_lua_script_engine(w->script),
        .access_log = options->access_log,
        .dev = options->dev,
        .epoch = (uint32_t)time(NULL),
    };
    return open_server(w);
}

void tg_worker_close(struct tg_worker *w)
{
    tg_server_free(w->server);
    tg_lua_script_free(w->script);
    tg_gather_fini(&w->gather);
    if (w->own_base && w->base) {
        event_base_loop(w->base, EVLOOP_NONBLOCK); /* bufferevents are freed from the loop */
        event_base_free(w->base);
    }
    *w = (struct tg_worker){0};
}
