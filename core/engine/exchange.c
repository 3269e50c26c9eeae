/* exchange.c - runs chains, one step at a time, and ends exchanges. */
#include "engine/exchange.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "body/encode_sink.h"
#include "engine/compress.h"
#include "http/list.h"
#include "http/reason.h"
#include "util/clock.h"
#include "util/mem.h"

static const char *const plain_type = "Content-Type: text/plain; charset=utf-8\r\n";

const char *tg_stage_name(enum tg_stage stage)
{
    static const char *const names[] = {"enter", "leave", "error", "body"};
    return names[stage];
}

const char *tg_ending_name(enum tg_ending ending)
{
    static const char *const names[] = {"done",  "client_closed", "timeout",
                                        "error", "shutdown",      "cancelled"};
    return names[ending];
}

/* --- Answers of the engine's own -------------------------------------------------------------- */

static enum tg_step answer(struct tg_exchange *x, int status, const char *fields)
{
    char body[64];
    int len = status == 204 ? 0 : snprintf(body, sizeof body, "%s\n", tg_reason(status));
    if (tg_exchange_respond(x, status, (struct tg_slice){fields, strlen(fields)},
                            (struct tg_slice){body, (size_t)len}) == TG_OK)
        return TG_STEP_DONE;
    tg_exchange_fail(x, 500, "not enough memory", NULL);
    return TG_STEP_FAILED;
}

static enum tg_step run_unmatched(const struct tg_interceptor *self, struct tg_exchange *x,
                                  enum tg_stage stage)
{
    (void)self;
    (void)stage;
    char fields[384];
    switch (x->matched) {
    case TG_MATCH_NO_METHOD:
        snprintf(fields, sizeof fields, "Allow: %s\r\n%s", x->allow ? x->allow : "", plain_type);
        if (tg_slice_equal(tg_conn_span(x->conn, tg_conn_head(x->conn)->method),
                           TG_SLICE("OPTIONS"))) {
            snprintf(fields, sizeof fields, "Allow: %s\r\n", x->allow ? x->allow : "");
            return answer(x, 204, fields);
        }
        return answer(x, 405, fields);
    case TG_MATCH_BAD_PATH:
        return answer(x, 400, plain_type);
    case TG_MATCH_FOUND:
    case TG_MATCH_NO_PATH:
        break;
    }
    return answer(x, 404, plain_type);
}

static const struct tg_interceptor_ops unmatched_ops = {run_unmatched};
static const struct tg_interceptor unmatched = {
    .ops = &unmatched_ops, .name = "router", .stages = 1U << TG_STAGE_ENTER};

/* --- Ending ----------------------------------------------------------------------------------- */

static void clear_error(struct tg_error *error)
{
    tg_free(error->message);
    tg_free(error->traceback);
    *error = (struct tg_error){0};
}

int tg_exchange_sent_status(const struct tg_exchange *x)
{
    return x->writer.committed ? x->head.status : 0;
}

static void stop_source(struct tg_exchange *x)
{
    struct tg_source *source = x->source;
    x->source = NULL;
    if (source)
        source->stop(source);
}

static void leave_script(struct tg_script *script)
{
    if (!--script->users && script->on_unused)
        script->on_unused(script->on_unused_arg);
}

/* The writer, and what is between it and the connection. */
static void end_writer(struct tg_exchange *x)
{
    tg_writer_fini(&x->writer);
    tg_encode_sink_free(x->encode);
    x->encode = NULL;
}

static void count(struct tg_exchange *x, enum tg_ending ending, uint64_t now)
{
    struct tg_engine_stats *stats = &x->engine->stats;
    int status = tg_exchange_sent_status(x);
    tg_count(&stats->ended[ending], 1);
    tg_count(&stats->answered[status / 100 % 6], 1);
    tg_count(&stats->bytes, x->writer.bytes);
    tg_route_count(x->stats, status, (now - x->started) / 1000U, x->writer.bytes);
}

/* conn is still there: it outlives the calls of its events, and tg_conn_abort() comes last. */
static void end(struct tg_exchange *x, enum tg_ending ending)
{
    struct tg_script *script = x->script;
    uint64_t now = tg_clock_ns();
    count(x, ending, now);
    tg_access_log_exchange(x, tg_ending_name(ending), now);
    if (x->engine->ended)
        x->engine->ended(x, ending);
    stop_source(x);
    script->ops->close(x, ending);
    if (x->host)
        x->host_ops->close(x, tg_ending_name(ending));
    end_writer(x);
    tg_compress_release(x->compress);
    clear_error(&x->error);
    tg_buf_fini(&x->fields);
    tg_buf_fini(&x->plain);
    tg_free(x->own_queue);
    tg_free(x->params);
    tg_free(x->allow);
    tg_free(x->kept_log);
    tg_free(x);
    leave_script(script);
}

static void abort_exchange(struct tg_exchange *x, enum tg_ending ending)
{
    struct tg_conn *conn = x->conn;
    end(x, ending);
    tg_conn_abort(conn);
}

static void log_failure(const struct tg_exchange *x, const char *outcome)
{
    const struct tg_error *e = &x->error;
    enum tg_level level = e->status >= 500 ? TG_LOG_ERROR : TG_LOG_INFO;
    char id[TG_EXCHANGE_ID_SIZE];
    tg_exchange_print_id(x, id);
    tg_log(x->engine->log, level, "%s: %s after %" PRIu64 " bytes, id %s: %s%s%s: %s%s%s",
           tg_exchange_route(x), outcome, x->writer.bytes, id, tg_stage_name(e->stage),
           e->interceptor ? " of " : "", e->interceptor ? e->interceptor : "",
           e->message ? e->message : "not enough memory", e->traceback ? "; " : "",
           e->traceback ? e->traceback : "");
}

/* --- The body --------------------------------------------------------------------------------- */

static void begin_writer(struct tg_exchange *x)
{
    const struct tg_limits *limits = x->engine->limits;
    struct tg_writer_options options = {
        .ops = tg_conn_sink(x->conn),
        .sink = x->conn,
        .gather = x->engine->gather,
        .high_water = limits->high_water ? limits->high_water : SIZE_MAX,
        .low_water = limits->low_water,
    };
    tg_writer_init(&x->writer, &options);
}

void tg_exchange_set_compress(struct tg_exchange *x, struct tg_compress *policy)
{
    tg_compress_hold(policy);
    tg_compress_release(x->compress);
    x->compress = policy;
}

enum tg_status tg_exchange_begin_body(struct tg_exchange *x)
{
    enum tg_status status = x->compress ? tg_compress_apply(x) : TG_OK;
    if (status != TG_OK)
        return status;
    x->head.fields = tg_buf_slice(&x->fields);
    tg_writer_begin(&x->writer, &x->head);
    return TG_OK;
}

static enum tg_step produce_plain(struct tg_exchange *x)
{
    x->head.length = x->plain.len;
    enum tg_status status = tg_exchange_begin_body(x);
    if (status < 0) {
        tg_exchange_fail(x, 500, tg_status_text(status), NULL);
        return TG_STEP_FAILED;
    }
    if (tg_exchange_is_head(x) || x->head.status == 204 || x->head.status == 304)
        status = tg_writer_end_bodyless(&x->writer);
    else
        status = tg_writer_write(&x->writer, x->plain.p, x->plain.len);
    if (status >= 0)
        status = tg_writer_end(&x->writer);
    if (status >= 0 || status == TG_ECLOSED)
        return TG_STEP_DONE;
    tg_exchange_fail(x, 500, tg_status_text(status), NULL);
    return TG_STEP_FAILED;
}

static void on_source_done(void *arg, enum tg_status status)
{
    struct tg_exchange *x = arg;
    x->source = NULL;
    if (status == TG_OK)
        status = tg_writer_end(&x->writer);
    if (status < 0 && status != TG_ECLOSED)
        tg_exchange_fail(x, 500, tg_status_text(status), NULL);
    tg_exchange_go_on(x, status < 0 ? TG_STEP_FAILED : TG_STEP_DONE);
}

/* --- Without a script ------------------------------------------------------------------------- */

static enum tg_step produce_nothing(struct tg_exchange *x)
{
    (void)x;
    return TG_STEP_DONE;
}

static void do_nothing(struct tg_exchange *x)
{
    (void)x;
}

static void close_nothing(struct tg_exchange *x, enum tg_ending ending)
{
    (void)x;
    (void)ending;
}

static bool release_nothing(struct tg_exchange *x)
{
    (void)x;
    return false;
}

static void where_nothing(const struct tg_exchange *x, char *text, size_t size)
{
    (void)x;
    (void)size;
    *text = '\0';
}

static const struct tg_script_ops no_script_ops = {
    .produce = produce_nothing,
    .entered = produce_nothing,
    .drop_response = do_nothing,
    .cancel = do_nothing,
    .close = close_nothing,
    .release = release_nothing,
    .where = where_nothing,
};

/* A stream that may last for days must not keep a script alive that was long replaced, nor what only
 * the chain needed. */
static void forget_script(struct tg_exchange *x)
{
    struct tg_script *script = x->script;
    tg_access_log_keep(x);
    x->script = &x->engine->none;
    x->script->ops = &no_script_ops;
    x->script->users++;
    x->chain = NULL;
    x->queue = NULL;
    x->count = 0;
    x->entered = 0;
    x->back = 0;
    tg_free(x->own_queue);
    tg_free(x->params);
    x->own_queue = NULL;
    x->params = NULL;
    x->param_count = 0;
    clear_error(&x->error);
    tg_conn_forget_fields(x->conn);
    leave_script(script);
}

void tg_exchange_drive(struct tg_exchange *x, struct tg_source *source)
{
    source->done = on_source_done;
    source->arg = x;
    x->source = source;
    if (x->writer.committed && x->script->ops->release(x))
        forget_script(x);
}

/* --- The chain: what comes next --------------------------------------------------------------- */

static enum tg_step run_stage(struct tg_exchange *x, size_t index, enum tg_stage stage)
{
    const struct tg_interceptor *interceptor = x->queue[index];
    if (!(interceptor->stages & 1U << stage))
        return TG_STEP_DONE;
    return interceptor->ops->run(interceptor, x, stage);
}

static bool enters_no_more(const struct tg_exchange *x)
{
    return x->terminated || x->responded || x->entered == x->count;
}

static void turn_back(struct tg_exchange *x)
{
    x->phase = TG_PHASE_LEAVE;
    x->back = x->entered;
}

static void turn_to_body(struct tg_exchange *x)
{
    x->phase = TG_PHASE_BODY;
    x->back = x->entered;
}

static enum tg_step next_enter(struct tg_exchange *x)
{
    if (x->watched && !x->tried && x->entered) {
        x->tried = true;
        return x->script->ops->entered(x);
    }
    if (enters_no_more(x)) {
        turn_back(x);
        return TG_STEP_DONE;
    }
    x->tried = false;
    size_t index = x->entered++;
    return run_stage(x, index, TG_STAGE_ENTER);
}

static enum tg_step next_leave(struct tg_exchange *x)
{
    if (!x->back) {
        turn_to_body(x);
        return TG_STEP_DONE;
    }
    return run_stage(x, --x->back, TG_STAGE_LEAVE);
}

const struct tg_interceptor *tg_exchange_next(struct tg_exchange *x,
                                              const struct tg_interceptor_ops *ops,
                                              enum tg_stage *stage)
{
    while (!x->watched) {
        bool enter = x->phase == TG_PHASE_ENTER;
        *stage = enter ? TG_STAGE_ENTER : TG_STAGE_LEAVE;
        if (enter && enters_no_more(x)) {
            turn_back(x);
            continue;
        }
        if (!enter && (x->phase != TG_PHASE_LEAVE || !x->back))
            break;
        const struct tg_interceptor *next = x->queue[enter ? x->entered : x->back - 1];
        bool runs = next->stages & 1U << *stage;
        if (runs && next->ops != ops)
            break;
        if (enter)
            x->entered++;
        else
            x->back--;
        if (runs)
            return next;
    }
    return NULL;
}

bool tg_exchange_next_is_body(struct tg_exchange *x)
{
    if (x->phase != TG_PHASE_LEAVE || x->back || x->produced || x->writer.committed ||
        x->responded != TG_RESPONDED_SCRIPT)
        return false;
    turn_to_body(x);
    x->produced = true;
    return true;
}

static enum tg_step next_error(struct tg_exchange *x)
{
    while (x->back) {
        size_t index = --x->back;
        if (x->queue[index]->stages & 1U << TG_STAGE_ERROR)
            return run_stage(x, index, TG_STAGE_ERROR);
    }
    x->phase = TG_PHASE_GIVE_UP;
    return TG_STEP_DONE;
}

/* For whoever writes the script, and for nobody else; where the script's side cannot. */
static enum tg_step answer_in_full(struct tg_exchange *x)
{
    const struct tg_error *e = &x->error;
    struct tg_buf body;
    struct tg_slice fields = {plain_type, strlen(plain_type)};
    tg_buf_init(&body, TG_RESPONSE_FIELDS_MAX);
    enum tg_status status =
        tg_buf_addf(&body, "%d %s\n\n%s\n\nroute: %s\nstage: %s\ninterceptor: %s\n%s\n", e->status,
                    tg_reason(e->status), e->message ? e->message : "not enough memory",
                    tg_exchange_route(x), tg_stage_name(e->stage),
                    e->interceptor ? e->interceptor : "(none)", e->traceback ? e->traceback : "");
    if (status == TG_OK)
        status = tg_exchange_respond(x, e->status, fields, tg_buf_slice(&body));
    tg_buf_fini(&body);
    return status == TG_OK ? TG_STEP_DONE : answer(x, e->status, plain_type);
}

static enum tg_step give_up(struct tg_exchange *x)
{
    int status = x->error.status;
    log_failure(x, "unhandled");
    tg_buf_clear(&x->fields);
    x->phase = TG_PHASE_BODY;
    x->produced = false;
    x->gave_up = true;
    if (x->engine->dev)
        return x->script->ops->explain(x) ? TG_STEP_DONE : answer_in_full(x);
    return answer(x, status, plain_type);
}

/* The low-level calls have written a body, and perhaps failed: it ends as what it is. */
static enum tg_step end_sent(struct tg_exchange *x)
{
    if (x->responded) {
        tg_log(x->engine->log, TG_LOG_ERROR, "%s: response already sent: %d was, %d is dropped",
               tg_exchange_route(x), x->head.status, x->response_status);
        x->script->ops->drop_response(x);
    }
    bool exceeded = x->writer.failed == TG_ELIMIT;
    enum tg_status status = tg_writer_end(&x->writer);
    const char *why = "the body was broken off by an error before";
    if (status >= 0 || status == TG_ECLOSED)
        return TG_STEP_DONE;
    if (status == TG_ELIMIT)
        why = exceeded ? "the body is longer than its Content-Length"
                       : "the body is shorter than its Content-Length";
    tg_exchange_fail(x, 500, why, NULL);
    return TG_STEP_FAILED;
}

/* A script's response has them already, and what is given up has none. */
static enum tg_status add_host_fields(struct tg_exchange *x)
{
    if (!x->host || x->responded == TG_RESPONDED_SCRIPT || x->gave_up)
        return TG_OK;
    return x->host_ops->fields(x);
}

static enum tg_step next_body(struct tg_exchange *x)
{
    if (x->produced) {
        x->phase = TG_PHASE_SENT;
        return TG_STEP_DONE;
    }
    x->produced = true;
    if (x->writer.committed)
        return end_sent(x);
    if (!x->responded) {
        tg_exchange_fail(x, 500, "no response: nobody has returned one, or set ctx.response", NULL);
        x->phase = TG_PHASE_GIVE_UP;
        return TG_STEP_DONE;
    }
    enum tg_status status = add_host_fields(x);
    if (status != TG_OK) {
        tg_exchange_fail(x, 500, tg_status_text(status), NULL);
        return TG_STEP_FAILED;
    }
    switch (x->responded) {
    case TG_RESPONDED_PLAIN:
        return produce_plain(x);
    case TG_RESPONDED_HOST:
        return x->host_ops->produce(x);
    case TG_RESPONDED_SCRIPT:
    case TG_RESPONDED_NOT:
        break;
    }
    return x->script->ops->produce(x);
}

/* Where errors go from the step that has failed: its own interceptor first, then outwards. */
static void turn_to_errors(struct tg_exchange *x)
{
    switch (x->phase) {
    case TG_PHASE_ENTER:
        x->back = x->entered;
        break;
    case TG_PHASE_LEAVE:
        x->back++;
        break;
    case TG_PHASE_BODY: /* back is where the last handler of a body's failure stood, or the end */
        stop_source(x);
        end_writer(x);
        begin_writer(x);
        tg_buf_clear(&x->fields);
        x->produced = false;
        x->body_failed = true;
        x->responded = TG_RESPONDED_NOT;
        x->script->ops->drop_response(x);
        break;
    case TG_PHASE_ERROR:
    case TG_PHASE_GIVE_UP:
    case TG_PHASE_SENT:
        break;
    }
    x->phase = TG_PHASE_ERROR;
    if (x->hopeless)
        x->back = 0;
}

/* What a step's end means; false when x is over or gone. */
static bool step_ended(struct tg_exchange *x, enum tg_step step)
{
    if (step == TG_STEP_DONE && x->phase == TG_PHASE_ERROR) {
        clear_error(&x->error); /* handled */
        x->phase = x->body_failed ? TG_PHASE_BODY : TG_PHASE_LEAVE;
    }
    if (step != TG_STEP_FAILED)
        return true;
    if (x->writer.failed == TG_ECLOSED) { /* the client has gone; conn says so from the loop */
        x->phase = TG_PHASE_SENT;
        x->waiting = true;
        return false;
    }
    if (x->writer.committed || x->gave_up) {
        if (!x->gave_up)
            log_failure(x, "aborted");
        abort_exchange(x, TG_ENDING_ERROR);
        return false;
    }
    turn_to_errors(x);
    return true;
}

static enum tg_step next_step(struct tg_exchange *x)
{
    switch (x->phase) {
    case TG_PHASE_ENTER:
        return next_enter(x);
    case TG_PHASE_LEAVE:
        return next_leave(x);
    case TG_PHASE_ERROR:
        return next_error(x);
    case TG_PHASE_BODY:
        return next_body(x);
    case TG_PHASE_GIVE_UP:
        return give_up(x);
    case TG_PHASE_SENT:
        break;
    }
    return TG_STEP_WAIT;
}

/* The last of what was coded is with the connection. */
static void on_encoded(void *arg, enum tg_status status)
{
    struct tg_exchange *x = arg;
    if (status == TG_OK)
        tg_conn_finish(x->conn);
    if (status == TG_OK || status == TG_ECLOSED) /* which conn says, too */
        return;
    tg_exchange_fail(x, 500, tg_status_text(status), NULL);
    log_failure(x, "aborted");
    abort_exchange(x, TG_ENDING_ERROR);
}

static void finish(struct tg_exchange *x)
{
    if (x->encode && tg_encode_sink_busy(x->encode))
        tg_encode_sink_on_end(x->encode, on_encoded, x);
    else
        tg_conn_finish(x->conn);
}

static void drive(struct tg_exchange *x, enum tg_step step)
{
    x->waiting = false;
    while (step != TG_STEP_WAIT) {
        if (!step_ended(x, step))
            return;
        if (x->phase == TG_PHASE_SENT)
            break;
        step = next_step(x);
    }
    x->waiting = true;
    if (x->writer.committed)
        tg_buf_fini(&x->fields); /* they are sent */
    if (x->phase == TG_PHASE_SENT)
        finish(x); /* x may be gone after it */
}

void tg_exchange_go_on(struct tg_exchange *x, enum tg_step step)
{
    drive(x, step);
}

static void cancel(struct tg_exchange *x)
{
    x->script->ops->cancel(x);
    if (x->host)
        x->host_ops->cancel(x);
}

/* What has not entered yet does not any more; what has, leaves. */
void tg_exchange_stop(struct tg_exchange *x)
{
    if (!x->waiting || x->phase == TG_PHASE_SENT || !x->writer.committed)
        return;
    stop_source(x);
    cancel(x);
    x->terminated = true;
    x->stopped = true;
    drive(x, TG_STEP_DONE);
}

/* --- What the connection tells ---------------------------------------------------------------- */

static void on_gone(void *arg, enum tg_gone why)
{
    static const enum tg_ending endings[] = {
        [TG_GONE_CLIENT] = TG_ENDING_CLIENT_CLOSED,
        [TG_GONE_TIMEOUT] = TG_ENDING_TIMEOUT,
        [TG_GONE_SHUTDOWN] = TG_ENDING_SHUTDOWN,
        [TG_GONE_ABORTED] = TG_ENDING_ERROR,
    };
    end(arg, endings[why]);
}

static void on_finished(void *arg)
{
    struct tg_exchange *x = arg;
    enum tg_ending ending = x->stopped ? TG_ENDING_SHUTDOWN : TG_ENDING_DONE;
    end(x, x->gave_up ? TG_ENDING_ERROR : ending);
}

static void on_late(void *arg)
{
    struct tg_exchange *x = arg;
    if (!x->waiting || x->phase == TG_PHASE_SENT)
        return;
    int status = x->upstreams ? 504 : 503;
    x->hopeless = x->late;
    x->late = true;
    stop_source(x);
    cancel(x);
    tg_exchange_fail(x, status, "no response within limits.response_timeout", NULL);
    tg_exchange_go_on(x, TG_STEP_FAILED);
}

static const struct tg_conn_events conn_events = {on_gone, on_finished, on_late};

/* --- Beginning -------------------------------------------------------------------------------- */

static struct tg_slice without_port(struct tg_slice authority)
{
    size_t n = authority.len;
    while (n && authority.p[n - 1] >= '0' && authority.p[n - 1] <= '9')
        n--;
    if (n && authority.p[n - 1] == ':')
        authority.len = n - 1;
    return authority;
}

static const struct tg_interceptor *const only_unmatched[] = {&unmatched};

/* The service's interceptors, then the router's own answer. */
static enum tg_status enqueue_unmatched(struct tg_exchange *x)
{
    const struct tg_chain *around = x->script->around;
    bool theirs = x->matched == TG_MATCH_NO_PATH && x->script->not_found;
    x->chain = theirs ? x->script->not_found : around;
    x->queue = x->chain->items;
    x->count = x->chain->count;
    if (theirs)
        return TG_OK;
    if (x->count)
        return tg_exchange_enqueue(x, &unmatched);
    x->queue = only_unmatched;
    x->count = 1;
    return TG_OK;
}

static enum tg_status keep_match(struct tg_exchange *x, const struct tg_match *match)
{
    x->matched = match->kind;
    if (match->kind == TG_MATCH_NO_METHOD) {
        x->allow = tg_strdup(match->allow);
        if (!x->allow)
            return TG_ENOMEM;
    }
    if (match->kind != TG_MATCH_FOUND)
        return enqueue_unmatched(x);
    x->chain = match->route;
    x->queue = x->chain->items;
    x->count = x->chain->count;
    if (!match->param_count)
        return TG_OK;
    x->params = tg_malloc(match->param_count * sizeof *x->params);
    if (!x->params)
        return TG_ENOMEM;
    memcpy(x->params, match->params, match->param_count * sizeof *x->params);
    x->param_count = match->param_count;
    return TG_OK;
}

static enum tg_status route(struct tg_exchange *x)
{
    const struct tg_head *head = tg_conn_head(x->conn);
    struct tg_match *match = &x->engine->match;
    struct tg_slice path = tg_conn_span(x->conn, head->path);
    struct tg_slice method = tg_conn_span(x->conn, head->method);
    if (tg_slice_equal(path, TG_SLICE("*"))) { /* OPTIONS *: of the server, not of a resource */
        match->kind = TG_MATCH_NO_METHOD;
        snprintf(match->allow, sizeof match->allow, "GET, HEAD, OPTIONS");
        return keep_match(x, match);
    }
    tg_router_match(x->script->router, method, without_port(tg_conn_span(x->conn, head->authority)),
                    path, match);
    return keep_match(x, match);
}

void tg_exchange_begin(struct tg_engine *engine, struct tg_conn *conn)
{
    struct tg_exchange *x = tg_calloc(1, sizeof *x);
    if (!x) {
        tg_conn_abort(conn);
        return;
    }
    x->engine = engine;
    x->script = engine->script;
    x->script->users++;
    x->generation = x->script->generation;
    x->conn = conn;
    x->number = ++engine->exchanges;
    tg_count(&engine->stats.begun, 1);
    x->started = tg_clock_ns();
    tg_buf_init(&x->fields, TG_RESPONSE_FIELDS_MAX);
    tg_buf_init(&x->plain, TG_RESPONSE_FIELDS_MAX);
    begin_writer(x);
    tg_conn_take(conn, &conn_events, x);
    enum tg_status status = route(x);
    x->stats = x->chain ? x->chain->stats : NULL;
    if (status == TG_OK)
        drive(x, TG_STEP_DONE);
    else
        abort_exchange(x, TG_ENDING_ERROR);
}

/* --- For interceptors ------------------------------------------------------------------------- */

void tg_exchange_fail(struct tg_exchange *x, int status, const char *message, const char *traceback)
{
    const struct tg_interceptor *running = tg_exchange_running(x);
    enum tg_stage stage = tg_exchange_stage(x);
    char *text = message ? tg_strdup(message) : NULL; /* it may be that of the error before */
    char *trace = traceback ? tg_strdup(traceback) : NULL;
    clear_error(&x->error);
    x->error.set = true;
    x->error.stage = stage;
    x->error.interceptor = running ? running->name : NULL;
    x->error.status = status;
    x->error.message = text;
    x->error.traceback = trace;
}

enum tg_status tg_exchange_respond(struct tg_exchange *x, int status, struct tg_slice fields,
                                   struct tg_slice body)
{
    tg_buf_clear(&x->fields);
    tg_buf_clear(&x->plain);
    enum tg_status added = tg_buf_add(&x->fields, fields.p, fields.len);
    if (added == TG_OK)
        added = tg_buf_add(&x->plain, body.p, body.len);
    if (added != TG_OK)
        return added;
    x->head = (struct tg_response_head){.status = status, .length = TG_LENGTH_UNKNOWN};
    x->responded = TG_RESPONDED_PLAIN;
    return TG_OK;
}

enum tg_status tg_exchange_enqueue(struct tg_exchange *x, const struct tg_interceptor *interceptor)
{
    if (x->count == TG_QUEUE_MAX)
        return TG_ELIMIT;
    if (!x->own_queue || x->count == x->own_size) {
        size_t size = x->count * 2 + 8;
        const struct tg_interceptor **queue = tg_realloc(x->own_queue, size * sizeof *queue);
        if (!queue)
            return TG_ENOMEM;
        if (!x->own_queue && x->count)
            memcpy(queue, x->queue, x->count * sizeof *queue);
        x->own_queue = queue;
        x->own_size = size;
        x->queue = queue;
    }
    x->own_queue[x->count++] = interceptor;
    return TG_OK;
}

void tg_exchange_terminate(struct tg_exchange *x)
{
    x->terminated = true;
}

const struct tg_interceptor *tg_exchange_running(const struct tg_exchange *x)
{
    size_t index = x->phase == TG_PHASE_ENTER ? x->entered - 1 : x->back;
    if (x->phase == TG_PHASE_BODY || x->phase == TG_PHASE_GIVE_UP || !x->entered ||
        index >= x->count)
        return NULL;
    return x->queue[index];
}

enum tg_stage tg_exchange_stage(const struct tg_exchange *x)
{
    switch (x->phase) {
    case TG_PHASE_ENTER:
        return TG_STAGE_ENTER;
    case TG_PHASE_LEAVE:
        return TG_STAGE_LEAVE;
    case TG_PHASE_ERROR:
        return TG_STAGE_ERROR;
    case TG_PHASE_BODY:
    case TG_PHASE_GIVE_UP:
    case TG_PHASE_SENT:
        break;
    }
    return TG_STAGE_BODY;
}

const char *tg_exchange_route(const struct tg_exchange *x)
{
    if (x->chain && x->chain->name)
        return x->chain->name;
    return x->stats ? x->stats->name : "(no route)";
}

const char *tg_exchange_phase(const struct tg_exchange *x)
{
    return x->phase == TG_PHASE_SENT ? "sent" : tg_stage_name(tg_exchange_stage(x));
}

int tg_exchange_print_id(const struct tg_exchange *x, char id[TG_EXCHANGE_ID_SIZE])
{
    return snprintf(id, TG_EXCHANGE_ID_SIZE, "%08" PRIx32 "-%" PRIx64, x->engine->epoch, x->number);
}

bool tg_exchange_is_head(const struct tg_exchange *x)
{
    return tg_slice_equal(tg_conn_span(x->conn, tg_conn_head(x->conn)->method), TG_SLICE("HEAD"));
}

bool tg_exchange_has_field(const struct tg_exchange *x, struct tg_slice name)
{
    struct tg_slice rest = tg_buf_slice(&x->fields);
    while (rest.len > name.len) {
        const char *end = memchr(rest.p, '\n', rest.len);
        if (rest.p[name.len] == ':' &&
            tg_slice_equal_nocase((struct tg_slice){rest.p, name.len}, name))
            return true;
        size_t line = end ? (size_t)(end - rest.p) + 1 : rest.len;
        rest.p += line;
        rest.len -= line;
    }
    return false;
}

/* The fields have changed, and perhaps moved: what is to be committed is what they are now. */
static void follow_fields(struct tg_exchange *x)
{
    if (x->head.fields.p)
        x->head.fields = tg_buf_slice(&x->fields);
}

enum tg_status tg_exchange_add_field(struct tg_exchange *x, struct tg_slice name,
                                     struct tg_slice value)
{
    if (!tg_is_token(name.p, name.len) || !tg_is_field_value(value.p, value.len))
        return TG_EINVAL;
    size_t before = x->fields.len;
    enum tg_status status = tg_buf_add(&x->fields, name.p, name.len);
    if (status == TG_OK)
        status = tg_buf_add(&x->fields, ": ", 2);
    if (status == TG_OK)
        status = tg_buf_add(&x->fields, value.p, value.len);
    if (status == TG_OK)
        status = tg_buf_add(&x->fields, "\r\n", 2);
    if (status != TG_OK)
        x->fields.len = before;
    follow_fields(x);
    return status;
}

/* The next field line from *at on, without its CRLF; *at goes behind it.  False at the end. */
static bool next_line(const struct tg_exchange *x, size_t *at, struct tg_slice *name,
                      struct tg_slice *value)
{
    const char *line = x->fields.p + *at;
    size_t left = x->fields.len - *at;
    const char *colon = left ? memchr(line, ':', left) : NULL;
    const char *end = colon ? memchr(colon, '\r', left - (size_t)(colon - line)) : NULL;
    if (!end)
        return false;
    *name = (struct tg_slice){line, (size_t)(colon - line)};
    *value = (struct tg_slice){colon + 2, (size_t)(end - colon - 2)};
    *at += (size_t)(end - line) + 2;
    return true;
}

bool tg_exchange_lists(const struct tg_exchange *x, struct tg_slice name, struct tg_slice element)
{
    struct tg_slice own;
    struct tg_slice value;
    for (size_t at = 0; next_line(x, &at, &own, &value);)
        if (tg_slice_equal_nocase(own, name) && tg_list_has(value, element))
            return true;
    return false;
}

bool tg_exchange_find_field(const struct tg_exchange *x, struct tg_slice name,
                            struct tg_slice *value)
{
    struct tg_slice own;
    for (size_t at = 0; next_line(x, &at, &own, value);)
        if (tg_slice_equal_nocase(own, name))
            return true;
    return false;
}

void tg_exchange_remove_field(struct tg_exchange *x, struct tg_slice name)
{
    struct tg_slice own;
    struct tg_slice value;
    for (size_t from = 0, at = 0; next_line(x, &at, &own, &value); from = at) {
        if (!tg_slice_equal_nocase(own, name))
            continue;
        memmove(x->fields.p + from, x->fields.p + at, x->fields.len - at);
        x->fields.len -= at - from;
        at = from;
    }
    follow_fields(x);
}
