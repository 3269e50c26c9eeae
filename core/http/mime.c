/* mime.c - the types that the system knows, and those that the web is made of. */
#include "http/mime.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "http/head.h"
#include "util/buf.h"
#include "util/mem.h"

/* Sorted by extension: it is searched by halves. */
static const struct type {
    const char *extension;
    const char *type;
} types[] = {
    {"7z", "application/x-7z-compressed"},
    {"aac", "audio/aac"},
    {"apng", "image/apng"},
    {"avif", "image/avif"},
    {"bmp", "image/bmp"},
    {"bz2", "application/x-bzip2"},
    {"css", "text/css; charset=utf-8"},
    {"csv", "text/csv; charset=utf-8"},
    {"eot", "application/vnd.ms-fontobject"},
    {"epub", "application/epub+zip"},
    {"flac", "audio/flac"},
    {"gif", "image/gif"},
    {"gz", "application/gzip"},
    {"htm", "text/html; charset=utf-8"},
    {"html", "text/html; charset=utf-8"},
    {"ico", "image/vnd.microsoft.icon"},
    {"ics", "text/calendar; charset=utf-8"},
    {"jpeg", "image/jpeg"},
    {"jpg", "image/jpeg"},
    {"js", "text/javascript; charset=utf-8"},
    {"json", "application/json"},
    {"jsonld", "application/ld+json"},
    {"lua", "text/x-lua; charset=utf-8"},
    {"m4a", "audio/mp4"},
    {"map", "application/json"},
    {"md", "text/markdown; charset=utf-8"},
    {"mjs", "text/javascript; charset=utf-8"},
    {"mkv", "video/x-matroska"},
    {"mp3", "audio/mpeg"},
    {"mp4", "video/mp4"},
    {"mpeg", "video/mpeg"},
    {"ndjson", "application/x-ndjson"},
    {"odt", "application/vnd.oasis.opendocument.text"},
    {"oga", "audio/ogg"},
    {"ogg", "audio/ogg"},
    {"ogv", "video/ogg"},
    {"opus", "audio/ogg"},
    {"otf", "font/otf"},
    {"pdf", "application/pdf"},
    {"png", "image/png"},
    {"rss", "application/rss+xml"},
    {"rtf", "application/rtf"},
    {"svg", "image/svg+xml"},
    {"tar", "application/x-tar"},
    {"tif", "image/tiff"},
    {"tiff", "image/tiff"},
    {"ttf", "font/ttf"},
    {"txt", "text/plain; charset=utf-8"},
    {"wasm", "application/wasm"},
    {"wav", "audio/wav"},
    {"weba", "audio/webm"},
    {"webm", "video/webm"},
    {"webmanifest", "application/manifest+json"},
    {"webp", "image/webp"},
    {"woff", "font/woff"},
    {"woff2", "font/woff2"},
    {"xhtml", "application/xhtml+xml"},
    {"xml", "application/xml"},
    {"xz", "application/x-xz"},
    {"yaml", "application/yaml"},
    {"yml", "application/yaml"},
    {"zip", "application/zip"},
    {"zst", "application/zstd"},
};

/* --- The system's ----------------------------------------------------------------------------- */

#define SPACE " \t\r"

/* Offsets into the text, which moves while it grows. */
struct entry {
    size_t extension;
    size_t type;
};

struct tg_mime {
    struct tg_buf text;    /* names, each with its NUL */
    struct tg_buf entries; /* struct entry, sorted by extension */
};

static char *read_file(const char *path, size_t *len)
{
    struct stat info;
    char *text = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return NULL;
    if (fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && info.st_size <= TG_MIME_MAX)
        text = tg_malloc((size_t)info.st_size + 1);
    ssize_t n = text ? read(fd, text, (size_t)info.st_size) : -1;
    close(fd);
    if (n >= 0) {
        text[n] = '\0';
        *len = (size_t)n;
        return text;
    }
    tg_free(text);
    return NULL;
}

/* Adds the text with its NUL and gives its place. */
static enum tg_status add_name(struct tg_mime *mime, const char *name, const char *behind,
                               size_t *place)
{
    *place = mime->text.len;
    enum tg_status status = tg_buf_add(&mime->text, name, strlen(name));
    if (status == TG_OK)
        status = tg_buf_add(&mime->text, behind, strlen(behind) + 1);
    return status;
}

/* XML says its charset itself. */
static const char *charset_of(const char *type)
{
    bool text = strncasecmp(type, "text/", 5) == 0 && strcasecmp(type, "text/xml") != 0;
    return text ? "; charset=utf-8" : "";
}

/* type extension extension … */
static enum tg_status add_line(struct tg_mime *mime, char *line)
{
    char *rest = NULL;
    struct entry entry;
    line[strcspn(line, "#")] = '\0';
    const char *type = strtok_r(line, SPACE, &rest);
    const char *extension = type ? strtok_r(NULL, SPACE, &rest) : NULL;
    if (!extension || !tg_is_field_value(type, strlen(type)))
        return TG_OK;
    enum tg_status status = add_name(mime, type, charset_of(type), &entry.type);
    for (; status == TG_OK && extension; extension = strtok_r(NULL, SPACE, &rest)) {
        status = add_name(mime, extension, "", &entry.extension);
        if (status == TG_OK)
            status = tg_buf_add(&mime->entries, &entry, sizeof entry);
    }
    return status;
}

static int compare_entries(const void *a, const void *b, void *text)
{
    const struct entry *left = a;
    const struct entry *right = b;
    int order = strcasecmp((char *)text + left->extension, (char *)text + right->extension);
    if (order)
        return order;
    return left->extension < right->extension ? -1 : 1; /* the file's own order */
}

static const struct entry *entries_of(const struct tg_mime *mime, size_t *count)
{
    *count = mime->entries.len / sizeof(struct entry);
    return (const struct entry *)(const void *)mime->entries.p;
}

struct tg_mime *tg_mime_load(const char *path)
{
    size_t len;
    enum tg_status status = TG_OK;
    char *text = read_file(path, &len);
    struct tg_mime *mime = text ? tg_calloc(1, sizeof *mime) : NULL;
    if (!mime) {
        tg_free(text);
        return NULL;
    }
    tg_buf_init(&mime->text, (size_t)TG_MIME_MAX * 2); /* with what is added */
    tg_buf_init(&mime->entries, (size_t)TG_MIME_MAX * sizeof(struct entry));
    for (char *line = text; status == TG_OK && line < text + len;) {
        char *end = line + strcspn(line, "\n");
        *end = '\0';
        status = add_line(mime, line);
        line = end + 1;
    }
    tg_free(text);
    if (status == TG_OK && mime->entries.len) {
        qsort_r(mime->entries.p, mime->entries.len / sizeof(struct entry), sizeof(struct entry),
                compare_entries, mime->text.p);
        return mime;
    }
    tg_mime_free(mime);
    return NULL;
}

void tg_mime_free(struct tg_mime *mime)
{
    if (!mime)
        return;
    tg_buf_fini(&mime->text);
    tg_buf_fini(&mime->entries);
    tg_free(mime);
}

/* The first of those that have the extension. */
static const char *find(const struct tg_mime *mime, const char *extension)
{
    size_t count;
    const struct entry *entries = entries_of(mime, &count);
    size_t low = 0;
    for (size_t high = count; low < high;) {
        size_t middle = low + (high - low) / 2;
        if (strcasecmp(mime->text.p + entries[middle].extension, extension) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == count || strcasecmp(mime->text.p + entries[low].extension, extension) != 0)
        return NULL;
    return mime->text.p + entries[low].type;
}

/* --- Both ------------------------------------------------------------------------------------- */

static int compare(const void *key, const void *entry)
{
    return strcasecmp(key, ((const struct type *)entry)->extension);
}

const char *tg_mime_type(const struct tg_mime *mime, const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *dot = strrchr(slash ? slash + 1 : path, '.');
    const char *type = mime && dot ? find(mime, dot + 1) : NULL;
    const struct type *found = NULL;
    if (type)
        return type;
    if (dot)
        found = bsearch(dot + 1, types, sizeof types / sizeof *types, sizeof *types, compare);
    return found ? found->type : "application/octet-stream";
}
