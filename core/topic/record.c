/* record.c - formats events, and counts who holds them. */
#include "topic/record.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "body/event.h"
#include "body/json.h"
#include "util/clock.h"
#include "util/mem.h"

/* --- Shared bytes ----------------------------------------------------------------------------- */

struct tg_text *tg_text_new(size_t len)
{
    struct tg_text *text = len <= UINT32_MAX ? tg_malloc(sizeof *text + len + 2) : NULL;
    if (!text)
        return NULL;
    char *at = text->line + sizeof text->line;
    atomic_init(&text->refs, 1);
    text->len = len;
    memcpy(text->bytes + len, "\r\n", 2);
    *--at = '\n';
    *--at = '\r';
    do {
        *--at = "0123456789abcdef"[len % 16];
        len /= 16;
    } while (len);
    text->line_len = (unsigned)(text->line + sizeof text->line - at);
    return text;
}

struct tg_parcel tg_text_parcel(const struct tg_text *text)
{
    return (struct tg_parcel){text->bytes, text->len, text->line_len, 2};
}

struct tg_text *tg_text_ref(struct tg_text *text)
{
    atomic_fetch_add_explicit(&text->refs, 1, memory_order_relaxed);
    return text;
}

void tg_text_unref(struct tg_text *text)
{
    if (text && atomic_fetch_sub_explicit(&text->refs, 1, memory_order_acq_rel) == 1)
        tg_free(text);
}

void tg_text_release(const void *data, size_t len, void *text)
{
    (void)data;
    (void)len;
    tg_text_unref(text);
}

/* --- Ids -------------------------------------------------------------------------------------- */

size_t tg_event_id_print(char out[TG_EVENT_ID_MAX], const char epoch[TG_EPOCH_LEN + 1],
                         uint64_t number)
{
    return (size_t)snprintf(out, TG_EVENT_ID_MAX, "%s-%" PRIu64, epoch, number);
}

bool tg_event_id_parse(struct tg_slice id, const char epoch[TG_EPOCH_LEN + 1], uint64_t *number)
{
    uint64_t n = 0;
    size_t at = TG_EPOCH_LEN + 1;
    if (id.len <= at || id.len > at + 19 || memcmp(id.p, epoch, TG_EPOCH_LEN) != 0 ||
        id.p[TG_EPOCH_LEN] != '-')
        return false;
    for (; at < id.len; at++) {
        if (id.p[at] < '0' || id.p[at] > '9')
            return false;
        n = n * 10 + (uint64_t)(id.p[at] - '0');
    }
    *number = n;
    return true;
}

/* --- Formatting: each function is run twice, to measure (at is NULL) and to write --------------- */

struct pen {
    char *at;
    size_t len;
};

static void put(struct pen *pen, const char *bytes, size_t len)
{
    if (pen->at && len)
        memcpy(pen->at + pen->len, bytes, len);
    pen->len += len;
}

#define PUT(pen, literal) put((pen), (literal), sizeof(literal) - 1)

static enum tg_status put_part(void *to, const void *bytes, size_t len)
{
    put(to, bytes, len);
    return TG_OK;
}

static void put_stream(struct pen *pen, struct tg_slice id, struct tg_slice name,
                       struct tg_slice data)
{
    struct tg_event_pen lines = tg_event_pen_to(put_part, pen);
    struct tg_event event = {.data = {data.p ? data.p : "", data.len}, .retry = TG_EVENT_NO_RETRY};
    if (id.len)
        event.id = id;
    if (name.len)
        event.name = name;
    tg_event_print(&lines, &event); /* a name was checked when it was published */
}

static void put_string(struct pen *pen, struct tg_slice slice)
{
    char room[256];
    PUT(pen, "\"");
    while (slice.len)
        put(pen, room, tg_json_escape(room, sizeof room, &slice.p, &slice.len));
    PUT(pen, "\"");
}

static void put_line(struct pen *pen, struct tg_slice id, struct tg_slice event,
                     struct tg_slice data, bool json)
{
    PUT(pen, "{");
    if (id.len) {
        PUT(pen, "\"id\":");
        put_string(pen, id);
        PUT(pen, ",");
    }
    if (event.len) {
        PUT(pen, "\"event\":");
        put_string(pen, event);
        PUT(pen, ",");
    }
    PUT(pen, "\"data\":");
    if (!json)
        put_string(pen, data);
    for (size_t i = 0; json && i < data.len; i++) /* line breaks in JSON are only white space */
        put(pen, data.p[i] == '\n' || data.p[i] == '\r' ? " " : data.p + i, 1);
    PUT(pen, "}\n");
}

static struct tg_text *format(enum tg_form form, struct tg_slice id, const struct tg_message *m)
{
    struct pen pen = {NULL, 0};
    struct tg_text *text = NULL;
    for (int pass = 0; pass < 2; pass++) {
        if (form == TG_FORM_STREAM)
            put_stream(&pen, id, m->event, m->data);
        else
            put_line(&pen, id, m->event, m->data, m->json);
        if (pass == 0)
            text = tg_text_new(pen.len);
        if (!text)
            return NULL;
        pen = (struct pen){text->bytes, 0};
    }
    return text;
}

struct tg_text *tg_note_text(enum tg_form form, struct tg_slice id, struct tg_slice event,
                             struct tg_slice data)
{
    struct tg_message message = {.event = event, .data = data, .json = true};
    return format(form, id, &message);
}

int tg_gap_print(char *out, size_t size, uint64_t missed)
{
    if (!missed)
        return snprintf(out, size, "{\"event\":\"tidegate-gap\",\"data\":{\"missed\":null}}\n");
    return snprintf(out, size, "{\"event\":\"tidegate-gap\",\"data\":{\"missed\":%" PRIu64 "}}\n",
                    missed);
}

/* --- Records ----------------------------------------------------------------------------------- */

static struct tg_slice keep(char **at, struct tg_slice slice)
{
    struct tg_slice kept = {*at, slice.len};
    if (slice.len)
        memcpy(*at, slice.p, slice.len);
    *at += slice.len;
    return kept;
}

struct tg_record *tg_record_new(const struct tg_message *message,
                                const char epoch[TG_EPOCH_LEN + 1], uint64_t number)
{
    size_t len = message->event.len + message->key.len + message->data.len;
    struct tg_record *record = tg_malloc(sizeof *record + len);
    if (!record)
        return NULL;
    *record =
        (struct tg_record){.json = message->json, .number = number, .at = tg_clock_coarse_ms()};
    atomic_init(&record->refs, 1);
    char *at = record->bytes;
    size_t id_len = tg_event_id_print(record->id, epoch, number);
    record->event = keep(&at, message->event);
    record->key = message->key.len ? keep(&at, message->key) : record->event;
    record->data = keep(&at, message->data);
    record->stream = format(TG_FORM_STREAM, (struct tg_slice){record->id, id_len}, message);
    if (record->stream)
        return record;
    tg_free(record);
    return NULL;
}

struct tg_record *tg_record_ref(struct tg_record *record)
{
    atomic_fetch_add_explicit(&record->refs, 1, memory_order_relaxed);
    return record;
}

void tg_record_unref(struct tg_record *record)
{
    if (!record || atomic_fetch_sub_explicit(&record->refs, 1, memory_order_acq_rel) != 1)
        return;
    tg_text_unref(record->stream);
    tg_text_unref(atomic_load(&record->line));
    tg_free(record);
}

size_t tg_record_size(const struct tg_record *record)
{
    return sizeof *record + record->event.len + record->key.len + record->data.len +
           sizeof *record->stream + record->stream->len;
}

struct tg_text *tg_record_text(struct tg_record *record, enum tg_form form)
{
    if (form == TG_FORM_STREAM)
        return record->stream;
    struct tg_text *line = atomic_load(&record->line);
    if (line)
        return line;
    struct tg_message message = {
        .event = record->event, .data = record->data, .json = record->json};
    struct tg_slice id = {record->id, strlen(record->id)};
    struct tg_text *made = format(form, id, &message);
    if (!made || atomic_compare_exchange_strong(&record->line, &line, made))
        return made;
    tg_text_unref(made); /* another thread was faster */
    return line;
}
