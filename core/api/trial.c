/* trial.c - a worker without listeners, for as long as something runs on it. */
#include "api/trial.h"

#include <event2/event.h>

#include "api/gateway.h"
#include "io/loop.h"
#include "lua/program.h"
#include "util/clock.h"

enum {
    CHECK_SECONDS = 30,
    LOOK_US = 50000, /* how soon a check is given up */
    PRIORITIES = 3, /* the default is the middle one: there is a lower, for what wants to be idle */
};

struct trial {
    struct tidegate *g;
    struct tg_worker worker;
    struct tg_generation *generation; /* the worker's, once it serves */
    struct event *look;
    uint64_t until; /* nanoseconds; 0: for ever */
    bool over;
    bool late;
    bool given_up;
};

/* --- Its life ----------------------------------------------------------------------------------- */

static enum tg_status open_worker(struct trial *t)
{
    struct event_base *base = tg_loop_new();
    if (!base)
        return TG_EIO;
    if (event_base_priority_init(base, PRIORITIES) != 0) {
        event_base_free(base);
        return TG_EIO;
    }
    enum tg_status status = tg_worker_open(&t->worker, &t->g->common, TG_WORKERS_MAX, base);
    t->worker.own_base = true;
    return status;
}

static enum tg_status open_trial(struct trial *t, struct tidegate *g, bool program, uint64_t number,
                                 struct tg_buf *problems)
{
    *t = (struct trial){.g = g};
    enum tg_status status = open_worker(t);
    struct tg_loading loading = {.number = number, .trial = true, .program = program};
    if (status == TG_OK)
        status = tg_gateway_load(g, &t->worker, &loading, &t->generation, problems);
    return status == TG_OK ? tg_worker_serve(&t->worker, t->generation) : status;
}

static void close_trial(struct trial *t)
{
    tg_worker_stop_alarm(&t->worker);
    if (t->look)
        event_free(t->look);
    tg_worker_close(&t->worker);
}

/* --- Running ------------------------------------------------------------------------------------ */

static void on_over(void *arg)
{
    struct trial *t = arg;
    t->over = true;
    event_base_loopbreak(t->worker.base);
}

static void on_look(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct trial *t = arg;
    t->late = t->until && tg_clock_ns() > t->until;
    t->given_up = atomic_load_explicit(&t->g->loader.give_up, memory_order_relaxed);
    if (t->late || t->given_up)
        event_base_loopbreak(t->worker.base);
}

static enum tg_status run_loop(struct trial *t)
{
    static const struct timeval period = {0, LOOK_US};
    t->look = event_new(t->worker.base, -1, EV_PERSIST, on_look, t);
    if (!t->look || event_add(t->look, &period) != 0)
        return TG_ENOMEM;
    while (!t->over && !t->late && !t->given_up)
        if (event_base_loop(t->worker.base, EVLOOP_NO_EXIT_ON_EMPTY) < 0)
            return TG_EIO;
    return TG_OK;
}

/* --- check -------------------------------------------------------------------------------------- */

static enum tg_status run_check(struct trial *t, struct tg_buf *problems)
{
    size_t before = problems->len;
    uint64_t most = t->worker.limits.response_timeout;
    t->until = most ? tg_clock_ns() + most * 1000000U : 0;
    tg_worker_start_alarm(&t->worker);
    enum tg_status status = TG_OK;
    if (tg_lua_script_check(t->generation->script, problems, on_over, t))
        status = run_loop(t);
    if (status == TG_OK && t->late)
        (void)!tg_buf_addf(problems, "check: has not ended within limits.response_timeout");
    if (status == TG_OK && t->given_up)
        (void)!tg_buf_addf(problems, "check: was given up");
    return status == TG_OK && problems->len > before ? TG_EINVAL : status;
}

enum tg_status tg_trial_check(struct tidegate *g, uint64_t number, struct tg_buf *problems)
{
    struct trial t;
    enum tg_status status = open_trial(&t, g, false, number, problems);
    if (status == TG_OK)
        status = run_check(&t, problems);
    close_trial(&t);
    return status;
}

/* --- Programs ----------------------------------------------------------------------------------- */

enum tg_status tg_trial_run(struct tidegate *g, const char *const *args, size_t count, int *code,
                            struct tg_buf *problem)
{
    struct trial t;
    enum tg_status status = open_trial(&t, g, true, 0, problem);
    if (status == TG_OK) {
        struct tg_lua_program program = {
            .script = t.generation->script,
            .path = g->script,
            .text = g->text,
            .args = args,
            .arg_count = count,
            .problem = problem,
            .done = on_over,
            .arg = &t,
        };
        tg_lua_program_start(&program);
        if (!t.over)
            status = run_loop(&t);
        tg_memories_close(&t.worker.memories); /* before what its tasks hold of them */
        tg_lua_program_fini(&program);
        *code = program.code;
    }
    close_trial(&t);
    return status == TG_OK && problem->len ? TG_EINVAL : status;
}
