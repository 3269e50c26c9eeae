/* access_log.c - prints lines of the access log; whatever a client has sent, one of JSON is JSON. */
#include "engine/access_log.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "body/json.h"
#include "engine/exchange.h"
#include "engine/trace.h"
#include "util/clock.h"
#include "util/mem.h"

enum { LINE_MAX_BYTES = 256 * 1024, ESCAPED = 256 };

void tg_access_log_init(struct tg_access_log *access)
{
    tg_buf_init(&access->line, LINE_MAX_BYTES);
}

void tg_access_log_fini(struct tg_access_log *access)
{
    tg_buf_fini(&access->line);
}

/* --- Pieces of JSON --------------------------------------------------------------------------- */

static enum tg_status add_text(struct tg_buf *line, const char *text)
{
    return tg_buf_add(line, text, strlen(text));
}

/* In quotes; one longer than most bytes is cut there. */
static enum tg_status add_string(struct tg_buf *line, struct tg_slice value, size_t most)
{
    char escaped[ESCAPED];
    bool cut = value.len > most;
    size_t len = cut ? most : value.len;
    const char *p = value.p;
    enum tg_status status = add_text(line, "\"");
    while (len && status == TG_OK) {
        size_t n = tg_json_escape(escaped, sizeof escaped, &p, &len);
        status = tg_buf_add(line, escaped, n);
    }
    if (status == TG_OK)
        status = add_text(line, cut ? "…\"" : "\"");
    return status;
}

static enum tg_status add_member(struct tg_buf *line, const char *name, struct tg_slice value,
                                 size_t most)
{
    enum tg_status status = tg_buf_addf(line, ",\"%s\":", name);
    return status == TG_OK ? add_string(line, value, most) : status;
}

static struct tg_slice slice_of(const char *text)
{
    return (struct tg_slice){text, strlen(text)};
}

static enum tg_status begin_line(struct tg_buf *line)
{
    struct timespec now;
    struct tm tm;
    char second[32];
    tg_buf_clear(line);
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &tm);
    strftime(second, sizeof second, "%Y-%m-%dT%H:%M:%S", &tm);
    return tg_buf_addf(line, "{\"time\":\"%s.%03dZ\",\"level\":\"info\"", second,
                       (int)(now.tv_nsec / 1000000));
}

/* --- What is kept ----------------------------------------------------------------------------- */

static struct tg_slice field_value(const struct tg_conn *conn, struct tg_slice name)
{
    const struct tg_field *fields = tg_conn_fields(conn);
    size_t count = tg_conn_head(conn)->field_count;
    for (size_t i = 0; i < count; i++)
        if (tg_slice_equal_nocase(tg_conn_field_name(conn, &fields[i]), name))
            return tg_conn_field_value(conn, &fields[i]);
    return (struct tg_slice){NULL, 0};
}

static enum tg_status add_fields(struct tg_buf *line, const struct tg_conn *conn,
                                 const struct tg_access_fields *fields)
{
    enum tg_status status = add_text(line, ",\"headers\":{");
    bool first = true;
    for (size_t i = 0; i < fields->count && status == TG_OK; i++) {
        struct tg_slice value = field_value(conn, slice_of(fields->names[i]));
        if (!value.p)
            continue;
        status = tg_buf_addf(line, "%s\"%s\":", first ? "" : ",", fields->names[i]);
        if (status == TG_OK)
            status = add_string(line, value, TG_ACCESS_VALUE_MAX);
        first = false;
    }
    return status == TG_OK ? add_text(line, "}") : status;
}

/* The trace's id, and the fields that the script wants. */
static enum tg_status add_of_request(struct tg_buf *line, const struct tg_exchange *x)
{
    const struct tg_access_fields *fields = x->script->access_fields;
    struct tg_slice parent = tg_trace_of(x->conn);
    enum tg_status status = TG_OK;
    if (parent.p)
        status = add_member(line, "trace", tg_trace_id(parent), TG_TRACE_ID_LENGTH);
    if (fields && fields->count && status == TG_OK)
        status = add_fields(line, x->conn, fields);
    return status;
}

void tg_access_log_keep(struct tg_exchange *x)
{
    struct tg_buf kept;
    if (x->engine->access.format != TG_ACCESS_JSON || x->kept_log)
        return;
    tg_buf_init(&kept, LINE_MAX_BYTES);
    if (add_of_request(&kept, x) == TG_OK)
        x->kept_log = tg_strndup(kept.len ? kept.p : "", kept.len);
    tg_buf_fini(&kept);
}

/* --- Lines ------------------------------------------------------------------------------------ */

static enum tg_status add_response(struct tg_buf *line, const struct tg_exchange *x,
                                   const char *reason, uint64_t now)
{
    enum tg_status status =
        tg_buf_addf(line, ",\"status\":%d,\"bytes\":%" PRIu64 ",\"duration\":%.6f",
                    tg_exchange_sent_status(x), x->writer.bytes, (double)(now - x->started) / 1e9);
    if (status == TG_OK && x->writer.committed)
        status = tg_buf_addf(line, ",\"ttfb\":%.6f",
                             (double)(x->writer.committed_at - x->started) / 1e9);
    if (status == TG_OK)
        status = tg_buf_addf(line, ",\"reason\":\"%s\"", reason);
    return status;
}

static enum tg_status add_exchange(struct tg_buf *line, const struct tg_exchange *x,
                                   const char *reason, uint64_t now)
{
    const struct tg_head *head = tg_conn_head(x->conn);
    char id[TG_EXCHANGE_ID_SIZE];
    uint16_t port;
    enum tg_status status = begin_line(line);
    tg_exchange_print_id(x, id);
    if (status == TG_OK)
        status = add_member(line, "address", slice_of(tg_conn_peer(x->conn, &port)), SIZE_MAX);
    if (status == TG_OK)
        status = add_member(line, "method", tg_conn_span(x->conn, head->method), SIZE_MAX);
    if (status == TG_OK)
        status =
            add_member(line, "target", tg_conn_span(x->conn, head->target), TG_ACCESS_TARGET_MAX);
    if (status == TG_OK)
        status = add_response(line, x, reason, now);
    if (status == TG_OK)
        status = add_member(line, "route", slice_of(tg_exchange_route(x)), SIZE_MAX);
    if (status == TG_OK)
        status = tg_buf_addf(line, ",\"generation\":%" PRIu64 ",\"id\":\"%s\"", x->generation, id);
    if (status == TG_OK)
        status = x->kept_log ? add_text(line, x->kept_log) : add_of_request(line, x);
    return status == TG_OK ? add_text(line, "}") : status;
}

static void write_line(const struct tg_access_log *access)
{
    if (access->write)
        access->write(access->arg, access->line.p);
    else if (access->log->write && access->log->least <= TG_LOG_INFO)
        access->log->write(access->log->arg, TG_LOG_INFO, access->line.p);
}

static void log_text(const struct tg_exchange *x, const char *reason, uint64_t now)
{
    const struct tg_head *head = tg_conn_head(x->conn);
    struct tg_slice method = tg_conn_span(x->conn, head->method);
    struct tg_slice target = tg_conn_span(x->conn, head->target);
    double ms = (double)(now - x->started) / 1e6;
    char id[TG_EXCHANGE_ID_SIZE];
    tg_exchange_print_id(x, id);
    tg_log(x->engine->access.log, TG_LOG_INFO, "%.*s %.*s %d %" PRIu64 " %.2fms %s %s",
           (int)method.len, method.p, (int)target.len, target.p, tg_exchange_sent_status(x),
           x->writer.bytes, ms, reason, id);
}

void tg_access_log_exchange(struct tg_exchange *x, const char *reason, uint64_t now)
{
    struct tg_access_log *access = &x->engine->access;
    if (access->format == TG_ACCESS_TEXT)
        log_text(x, reason, now);
    else if (access->format == TG_ACCESS_JSON &&
             add_exchange(&access->line, x, reason, now) == TG_OK)
        write_line(access);
}

void tg_access_log_refused(struct tg_access_log *access, const char *peer, int status)
{
    if (access->format == TG_ACCESS_TEXT)
        tg_log(access->log, TG_LOG_INFO, "- - %d 0 0.00ms refused %s", status, peer);
    if (access->format != TG_ACCESS_JSON || begin_line(&access->line) != TG_OK ||
        add_member(&access->line, "address", slice_of(peer), SIZE_MAX) != TG_OK ||
        tg_buf_addf(&access->line, ",\"status\":%d,\"reason\":\"refused\"}", status) != TG_OK)
        return;
    write_line(access);
}
