/* fuzz_cells.c - prints any bytes as rows of CSV and as names of EDN, and reads them back.
 * Input: the separator, and then the cells, each ended by 0xff. */
#include <stdint.h>

#include "body/csv.h"
#include "body/edn.h"
#include "kept.h"

static struct tg_slice take_cell(struct tg_slice *rest)
{
    const char *end = rest->len ? memchr(rest->p, 0xff, rest->len) : NULL;
    struct tg_slice cell = {rest->p, end ? (size_t)(end - rest->p) : rest->len};
    size_t used = end ? cell.len + 1 : cell.len;
    rest->p += used;
    rest->len -= used;
    return cell;
}

/* --- CSV ---------------------------------------------------------------------------------------- */

struct cell {
    const char *at;
    const char *end;
    bool quoted;
    bool over;
};

/* The next byte of a cell; over: there is none, and at is behind it. */
static char next_byte(struct cell *cell, char separator)
{
    const char *p = cell->at;
    CHECK(p < cell->end || !cell->quoted);
    bool quote = p < cell->end && *p == '"';
    if (cell->quoted) {
        bool twice = quote && p + 1 < cell->end && p[1] == '"';
        cell->over = quote && !twice;
        cell->at += twice ? 2 : 1;
        return *p;
    }
    CHECK(!quote);
    cell->over = p == cell->end || *p == separator || *p == '\r' || *p == '\n';
    cell->at += !cell->over;
    if (cell->over)
        return '\0';
    return *p;
}

/* The next cell at *at is this text; moves behind it. */
static void read_cell(const char **at, const char *end, struct tg_slice text, char separator)
{
    bool quoted = *at < end && **at == '"';
    struct cell cell = {*at + quoted, end, quoted, false};
    size_t len = 0;
    for (;;) {
        char c = next_byte(&cell, separator);
        if (cell.over)
            break;
        CHECK(len < text.len && text.p[len] == c);
        len++;
    }
    CHECK(len == text.len && (quoted || text.len));
    *at = cell.at;
}

static void check_row(struct tg_slice cells, char separator)
{
    struct kept kept;
    struct tg_slice rest = cells;
    kept_begin(&kept);
    while (rest.len) {
        CHECK(tg_csv_cell(&kept.writer, take_cell(&rest), separator) == TG_OK);
        CHECK(tg_writer_write(&kept.writer, &separator, 1) == TG_OK);
    }
    kept_end(&kept);
    const char *at = kept.bytes;
    const char *end = kept.bytes + kept.len;
    while (cells.len) {
        read_cell(&at, end, take_cell(&cells), separator);
        CHECK(at < end && *at++ == separator);
    }
    CHECK(at == end);
    kept_free(&kept);
}

/* --- EDN ---------------------------------------------------------------------------------------- */

static bool is_constituent(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c && strchr(".*+!-_?$%&=<>/", c));
}

/* It is the very same, and nothing that reads otherwise. */
static void check_keyword(struct tg_slice printed, struct tg_slice name)
{
    int slashes = 0;
    CHECK(printed.len == name.len + 1 && memcmp(printed.p + 1, name.p, name.len) == 0);
    for (size_t i = 0; i < name.len; i++) {
        CHECK(is_constituent(name.p[i]));
        slashes += name.p[i] == '/';
    }
    CHECK(slashes <= 1 && name.p[0] != '/' && name.p[name.len - 1] != '/');
    CHECK(name.p[0] < '0' || name.p[0] > '9');
}

static void check_name(struct tg_slice name)
{
    struct kept kept;
    kept_begin(&kept);
    CHECK(tg_edn_name(&kept.writer, name) == TG_OK);
    kept_end(&kept);
    CHECK(kept.len >= 2);
    if (*kept.bytes == ':')
        check_keyword((struct tg_slice){kept.bytes, kept.len}, name);
    else
        CHECK(*kept.bytes == '"' && kept.bytes[kept.len - 1] == '"');
    kept_free(&kept);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char separators[] = ",;\t|";
    if (size < 2)
        return 0;
    struct tg_slice cells = {(const char *)data + 1, size - 1};
    check_row(cells, separators[*data % (sizeof separators - 1)]);
    while (cells.len)
        check_name(take_cell(&cells));
    return 0;
}
