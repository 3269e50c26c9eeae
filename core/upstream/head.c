/* head.c - status lines and fields of responses, read strictly (RFC 9112, 4, 5 and 6). */
#include "upstream/head.h"

#include "http/chars.h"
#include "http/head.h"
#include "upstream/hop.h"
#include "util/mem.h"

enum { LENGTH_DIGITS_MAX = 18, TEXT_USUAL = 500 };

void tg_upstream_head_init(struct tg_upstream_head *head, size_t max)
{
    *head = (struct tg_upstream_head){.max = max, .length = TG_FETCH_LENGTH_UNKNOWN};
    tg_buf_init(&head->text, max); /* a line has more around its name and value than we add */
}

void tg_upstream_head_fini(struct tg_upstream_head *head)
{
    tg_buf_fini(&head->text);
    tg_free(head->fields);
    head->fields = NULL;
    head->field_count = 0;
    head->field_size = 0;
}

static enum tg_upstream_line refuse(const char **why, const char *text)
{
    *why = text;
    return TG_LINE_PROTOCOL;
}

/* --- The status line -------------------------------------------------------------------------- */

static bool is_digit(char c)
{
    return tg_char_is(c, TG_CHAR_DIGIT) != 0;
}

/* Behind "HTTP/1.x ", or 0. */
static size_t version_len(struct tg_upstream_head *head, struct tg_slice line)
{
    if (line.len < 9 || memcmp(line.p, "HTTP/1.", 7) != 0 || !is_digit(line.p[7]) ||
        line.p[8] != ' ')
        return 0;
    head->old = line.p[7] == '0';
    head->close = head->old;
    return 9;
}

static enum tg_upstream_line take_status(struct tg_upstream_head *head, struct tg_slice line,
                                         const char **why)
{
    size_t n = version_len(head, line);
    if (!n || line.len < n + 3 || !is_digit(line.p[n]) || !is_digit(line.p[n + 1]) ||
        !is_digit(line.p[n + 2]) || (line.len > n + 3 && line.p[n + 3] != ' '))
        return refuse(why, "the response has no status line");
    head->status = (line.p[n] - '0') * 100 + (line.p[n + 1] - '0') * 10 + line.p[n + 2] - '0';
    if (head->status < 100 || head->status == 101)
        return refuse(why, head->status < 100 ? "a status below 100"
                                              : "it switches protocols and was not asked to");
    return TG_LINE_TAKEN;
}

/* --- Fields ----------------------------------------------------------------------------------- */

static bool is(struct tg_slice name, const char *other)
{
    return tg_slice_equal_nocase(name, (struct tg_slice){other, strlen(other)});
}

static enum tg_upstream_line take_length(struct tg_upstream_head *head, struct tg_slice value,
                                         const char **why)
{
    uint64_t n = 0;
    if (head->length != TG_FETCH_LENGTH_UNKNOWN)
        return refuse(why, "more than one Content-Length");
    if (!value.len || value.len > LENGTH_DIGITS_MAX)
        return refuse(why, "a Content-Length that is no number");
    for (size_t i = 0; i < value.len; i++) {
        if (!is_digit(value.p[i]))
            return refuse(why, "a Content-Length that is no number");
        n = n * 10 + (uint64_t)(value.p[i] - '0');
    }
    head->length = n;
    return TG_LINE_TAKEN;
}

static enum tg_upstream_line take_coding(struct tg_upstream_head *head, struct tg_slice value,
                                         const char **why)
{
    if (head->coded || head->old || !is(value, "chunked"))
        return refuse(why, "a Transfer-Encoding that is not just chunked");
    head->coded = true;
    return TG_LINE_TAKEN;
}

/* The fields that are ours to read. */
static enum tg_upstream_line read_field(struct tg_upstream_head *head, struct tg_slice name,
                                        struct tg_slice value, const char **why)
{
    if (is(name, "content-length"))
        return take_length(head, value, why);
    if (is(name, "transfer-encoding"))
        return take_coding(head, value, why);
    if (is(name, "content-encoding"))
        head->encoded = true;
    if (is(name, "connection")) {
        head->options = true;
        head->close = head->close || tg_hop_names(value, TG_SLICE("close"));
    }
    return TG_LINE_TAKEN;
}

static bool grow(struct tg_upstream_head *head)
{
    if (head->field_count < head->field_size)
        return true;
    size_t size = head->field_size ? head->field_size * 2 : 16;
    struct tg_upstream_field *fields = tg_realloc(head->fields, size * sizeof *fields);
    if (!fields)
        return false;
    head->fields = fields;
    head->field_size = size;
    return true;
}

static enum tg_upstream_line keep(struct tg_upstream_head *head, struct tg_slice name,
                                  struct tg_slice value)
{
    size_t at = head->text.len;
    enum tg_status status = grow(head) ? TG_OK : TG_ENOMEM;
    if (status == TG_OK)
        status = tg_buf_add(&head->text, name.p, name.len);
    if (status == TG_OK)
        status = tg_buf_add(&head->text, value.p, value.len);
    if (status == TG_OK)
        status = tg_buf_add(&head->text, "", 1);
    if (status != TG_OK)
        return status == TG_ELIMIT ? TG_LINE_LIMIT : TG_LINE_MEMORY;
    head->fields[head->field_count++] = (struct tg_upstream_field){
        (uint32_t)at, (uint32_t)name.len, (uint32_t)(at + name.len), (uint32_t)value.len};
    return TG_LINE_TAKEN;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static enum tg_upstream_line take_field(struct tg_upstream_head *head, struct tg_slice line,
                                        const char **why)
{
    const char *colon = memchr(line.p, ':', line.len);
    struct tg_slice name = {line.p, colon ? (size_t)(colon - line.p) : 0};
    if (!colon || !tg_is_token(name.p, name.len))
        return refuse(why, "a field without a proper name");
    struct tg_slice value = {colon + 1, line.len - name.len - 1};
    while (value.len && is_blank(*value.p)) {
        value.p++;
        value.len--;
    }
    while (value.len && is_blank(value.p[value.len - 1]))
        value.len--;
    if (!tg_is_field_value(value.p, value.len))
        return refuse(why, "a field with a control character in it");
    if (head->field_count == TG_FETCH_FIELDS_MAX)
        return TG_LINE_LIMIT;
    enum tg_upstream_line result = read_field(head, name, value, why);
    return result == TG_LINE_TAKEN ? keep(head, name, value) : result;
}

/* --- Heads ------------------------------------------------------------------------------------ */

void tg_upstream_head_again(struct tg_upstream_head *head)
{
    tg_buf_clear(&head->text);
    head->status = 0;
    head->field_count = 0;
    head->length = TG_FETCH_LENGTH_UNKNOWN;
    head->old = false;
    head->coded = false;
    head->encoded = false;
    head->options = false;
    head->close = false;
    head->whole = false;
}

static enum tg_upstream_line take_end(struct tg_upstream_head *head, const char **why)
{
    if (head->coded && head->length != TG_FETCH_LENGTH_UNKNOWN)
        return refuse(why, "both Transfer-Encoding and Content-Length");
    if (head->status < 200) {
        if (++head->interim > TG_FETCH_INTERIM_MAX)
            return refuse(why, "too many 1xx responses");
        tg_upstream_head_again(head);
        return TG_LINE_TAKEN;
    }
    head->whole = true;
    return TG_LINE_ENDS;
}

static struct tg_slice without_line_end(struct tg_slice line)
{
    if (line.len && line.p[line.len - 1] == '\n')
        line.len--;
    if (line.len && line.p[line.len - 1] == '\r')
        line.len--;
    return line;
}

enum tg_upstream_line tg_upstream_head_line(struct tg_upstream_head *head, struct tg_slice line,
                                            const char **why)
{
    *why = NULL;
    if (line.len > head->max - head->bytes)
        return TG_LINE_LIMIT;
    if (!head->bytes)
        tg_buf_reserve(&head->text, TEXT_USUAL);
    head->bytes += line.len;
    struct tg_slice text = without_line_end(line);
    if (!head->status)
        return take_status(head, text, why);
    return text.len ? take_field(head, text, why) : take_end(head, why);
}

bool tg_upstream_head_field(const struct tg_upstream_head *head, size_t n,
                            struct tg_fetch_field *field)
{
    if (n >= head->field_count)
        return false;
    const struct tg_upstream_field *at = &head->fields[n];
    field->name = (struct tg_slice){head->text.p + at->name, at->name_len};
    field->value = (struct tg_slice){head->text.p + at->value, at->value_len};
    return true;
}

bool tg_upstream_head_is_hop(const struct tg_upstream_head *head, size_t n)
{
    struct tg_fetch_field field;
    struct tg_fetch_field other;
    if (!tg_upstream_head_field(head, n, &field))
        return false;
    if (tg_hop_by_hop(field.name) || is(field.name, "content-length"))
        return true;
    for (size_t i = 0; head->options && tg_upstream_head_field(head, i, &other); i++)
        if (is(other.name, "connection") && tg_hop_names(other.value, field.name))
            return true;
    return false;
}
