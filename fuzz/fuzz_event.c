/* fuzz_event.c - formats any event whole, in pieces and through a writer, and has it read by another
 * reading of the standard (WHATWG HTML, 9.2.6).
 * Input: what there is, the lengths of name and id, the length of the pieces, the buffer's cap (two
 * bytes); then name, id, and data. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "body/event.h"

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition))                                                                          \
            abort();                                                                               \
    } while (0)

enum { HAS_NAME = 1, HAS_ID = 2, HAS_DATA = 4, HAS_RETRY = 8, HAS_COMMENT = 16, HEADER = 6 };

/* --- A sink that keeps what it gets ----------------------------------------------------------- */

static enum tg_status keep_head(void *sink, const struct tg_response_head *head)
{
    (void)sink;
    (void)head;
    return TG_OK;
}

static enum tg_status keep(void *sink, const struct iovec *runs, int n, unsigned flags)
{
    (void)flags;
    for (int i = 0; i < n; i++)
        CHECK(tg_buf_add(sink, runs[i].iov_base, runs[i].iov_len) == TG_OK);
    return TG_OK;
}

static size_t nothing_pending(void *sink)
{
    (void)sink;
    return 0;
}

/* --- A client ----------------------------------------------------------------------------------- */

struct client {
    struct tg_buf type;
    struct tg_buf data;
    struct tg_buf id;
    uint64_t retry;
    unsigned dispatched;
    struct tg_buf got_type; /* of the last event that was dispatched */
    struct tg_buf got_data;
    struct tg_buf got_id;
};

static void set(struct tg_buf *buf, const char *p, size_t len)
{
    tg_buf_clear(buf);
    CHECK(tg_buf_add(buf, p, len) == TG_OK);
}

static void dispatch(struct client *client)
{
    set(&client->got_id, client->id.p, client->id.len);
    if (client->data.len) {
        set(&client->got_data, client->data.p, client->data.len - 1);
        set(&client->got_type, client->type.p, client->type.len);
        if (!client->type.len)
            set(&client->got_type, "message", 7);
        client->dispatched++;
    }
    tg_buf_clear(&client->data);
    tg_buf_clear(&client->type);
}

static bool is(const char *name, size_t len, const char *what)
{
    return strlen(what) == len && memcmp(name, what, len) == 0;
}

static void set_retry(struct client *client, const char *value, size_t len)
{
    uint64_t n = 0;
    for (size_t i = 0; i < len; i++) {
        if (value[i] < '0' || value[i] > '9')
            return;
        n = n * 10 + (uint64_t)(value[i] - '0');
    }
    client->retry = n;
}

static void read_line(struct client *client, const char *line, size_t len)
{
    if (!len) {
        dispatch(client);
        return;
    }
    const char *colon = memchr(line, ':', len);
    size_t name_len = colon ? (size_t)(colon - line) : len;
    const char *value = colon ? colon + 1 : line + len;
    size_t value_len = (size_t)(line + len - value);
    if (colon && value_len && *value == ' ') {
        value++;
        value_len--;
    }
    if (colon == line)
        return; /* a comment */
    if (is(line, name_len, "event"))
        set(&client->type, value, value_len);
    else if (is(line, name_len, "data"))
        CHECK(tg_buf_add(&client->data, value, value_len) == TG_OK &&
              tg_buf_add(&client->data, "\n", 1) == TG_OK);
    else if (is(line, name_len, "id") && !memchr(value, '\0', value_len))
        set(&client->id, value, value_len);
    else if (is(line, name_len, "retry"))
        set_retry(client, value, value_len);
    else
        abort(); /* nobody has asked for such a field */
}

static void read_stream(struct client *client, const char *p, size_t len)
{
    size_t from = 0;
    for (size_t i = 0; i < len; i++) {
        if (p[i] == '\n' && i && p[i - 1] == '\r') {
            from = i + 1;
        } else if (p[i] == '\n' || p[i] == '\r') {
            read_line(client, p + from, i - from);
            from = i + 1;
        }
    }
    CHECK(from == len); /* the last line is ended */
}

static void client_fini(struct client *client)
{
    struct tg_buf *all[] = {&client->type,     &client->data,     &client->id,
                            &client->got_type, &client->got_data, &client->got_id};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        tg_buf_fini(all[i]);
}

static void client_init(struct client *client)
{
    *client = (struct client){.retry = TG_EVENT_NO_RETRY};
    struct tg_buf *all[] = {&client->type,     &client->data,     &client->id,
                            &client->got_type, &client->got_data, &client->got_id};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        tg_buf_init(all[i], SIZE_MAX / 2);
    set(&client->id, "before", 6);
}

/* --- What is wanted ----------------------------------------------------------------------------- */

/* Every line break as LF. */
static void expect_data(struct tg_buf *buf, struct tg_slice data)
{
    for (size_t i = 0; i < data.len; i++) {
        bool second = data.p[i] == '\n' && i && data.p[i - 1] == '\r';
        if (!second)
            CHECK(tg_buf_add(buf, data.p[i] == '\r' ? "\n" : data.p + i, 1) == TG_OK);
    }
}

static bool same(const struct tg_buf *buf, struct tg_slice text)
{
    return tg_slice_equal(tg_buf_slice(buf), text);
}

static void check_read(const struct tg_buf *stream, const struct tg_event *event, unsigned events)
{
    struct client client;
    struct tg_buf data;
    client_init(&client);
    tg_buf_init(&data, SIZE_MAX / 2);
    read_stream(&client, stream->p, stream->len);
    CHECK(client.dispatched == (event->data.p ? events : 0));
    CHECK(client.retry == event->retry);
    if (event->data.p) {
        expect_data(&data, event->data);
        CHECK(same(&client.got_data, tg_buf_slice(&data)));
        CHECK(same(&client.got_type, event->name.len ? event->name : TG_SLICE("message")));
    }
    if (stream->len)
        CHECK(same(&client.got_id, event->id.p ? event->id : TG_SLICE("before")));
    tg_buf_fini(&data);
    client_fini(&client);
}

static bool fits_a_line(struct tg_slice value)
{
    return value.len <= TG_EVENT_FIELD_MAX && !memchr(value.p, '\0', value.len) &&
           !memchr(value.p, '\n', value.len) && !memchr(value.p, '\r', value.len);
}

/* --- The ways to format it ------------------------------------------------------------------------ */

static void in_pieces(struct tg_event_pen *pen, const struct tg_event *event, size_t piece)
{
    if (event->name.p)
        CHECK(tg_event_name(pen, event->name) == TG_OK);
    if (event->id.p)
        CHECK(tg_event_id(pen, event->id) == TG_OK);
    if (event->retry != TG_EVENT_NO_RETRY)
        CHECK(tg_event_retry(pen, event->retry) == TG_OK);
    if (event->data.p)
        CHECK(tg_event_begin_data(pen) == TG_OK);
    for (size_t at = 0; event->data.p && at < event->data.len; at += piece) {
        size_t left = event->data.len - at;
        struct tg_slice part = {event->data.p + at, left < piece ? left : piece};
        CHECK(tg_event_add_data(pen, part) == TG_OK);
        CHECK(tg_event_add_data(pen, (struct tg_slice){part.p, 0}) == TG_OK);
    }
    CHECK(tg_event_end(pen) == TG_OK);
}

static void check_writer(const struct tg_event *event, size_t piece, const struct tg_buf *whole)
{
    static const struct tg_sink_ops ops = {
        .commit = keep_head, .send = keep, .pending = nothing_pending};
    struct tg_buf kept;
    struct tg_response_head head = {.status = 200, .length = TG_LENGTH_UNKNOWN};
    struct tg_gather gather;
    struct tg_writer w;
    tg_buf_init(&kept, SIZE_MAX / 2);
    CHECK(tg_gather_init(&gather, 1) == TG_OK);
    struct tg_writer_options options = {&ops, &kept, &gather, SIZE_MAX, 0};
    tg_writer_init(&w, &options);
    tg_writer_begin(&w, &head);
    struct tg_event_pen pen = tg_event_pen_to_writer(&w);
    in_pieces(&pen, event, piece);
    CHECK(tg_writer_end(&w) == TG_OK);
    CHECK(same(&kept, tg_buf_slice(whole)));
    tg_writer_fini(&w);
    tg_gather_fini(&gather);
    tg_buf_fini(&kept);
}

static void check_cap(const struct tg_event *event, size_t cap, const struct tg_buf *whole)
{
    struct tg_buf small;
    tg_buf_init(&small, 3 + cap);
    CHECK(tg_buf_add(&small, ":\n\n", 3) == TG_OK);
    enum tg_status status = tg_event_format(&small, event);
    CHECK(status == (whole->len <= cap ? TG_OK : TG_ELIMIT));
    CHECK(small.len == (status == TG_OK ? 3 + whole->len : 3) && !small.p[small.len]);
    tg_buf_fini(&small);
}

static void check_event(const struct tg_event *event, size_t piece, size_t cap, bool comment)
{
    struct tg_buf stream;
    struct tg_buf whole;
    tg_buf_init(&stream, SIZE_MAX / 2);
    tg_buf_init(&whole, SIZE_MAX / 2);
    CHECK(tg_event_format(&whole, event) == TG_OK);
    check_writer(event, piece, &whole);
    check_cap(event, cap, &whole);
    for (unsigned i = 0; i < 2; i++) {
        struct tg_event_pen pen = tg_event_pen_to_buf(&stream);
        in_pieces(&pen, event, piece + i);
        if (comment)
            CHECK(!tg_event_comment(&pen, event->data) && !tg_event_end(&pen));
    }
    check_read(&stream, event, 2);
    tg_buf_fini(&whole);
    tg_buf_fini(&stream);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < HEADER)
        return 0;
    const char *at = (const char *)data + HEADER;
    size_t left = size - HEADER;
    size_t name = data[1] < left ? data[1] : left;
    size_t id = data[2] < left - name ? data[2] : left - name;
    struct tg_event event = {.retry = TG_EVENT_NO_RETRY};
    if (data[0] & HAS_NAME)
        event.name = (struct tg_slice){at, name};
    if (data[0] & HAS_ID)
        event.id = (struct tg_slice){at + name, id};
    if (data[0] & HAS_DATA)
        event.data = (struct tg_slice){at + name + id, left - name - id};
    if (data[0] & HAS_RETRY)
        event.retry = (uint64_t)data[1] * data[2] * data[3];
    bool valid =
        (!event.name.p || fits_a_line(event.name)) && (!event.id.p || fits_a_line(event.id));
    if (valid) {
        check_event(&event, data[3] ? data[3] : 1, (size_t)data[4] << 8 | data[5],
                    data[0] & HAS_COMMENT);
        return 0;
    }
    struct tg_buf buf;
    tg_buf_init(&buf, SIZE_MAX / 2);
    enum tg_status status = tg_event_format(&buf, &event);
    CHECK((status == TG_EINVAL || status == TG_ELIMIT) && !buf.len);
    tg_buf_fini(&buf);
    return 0;
}
