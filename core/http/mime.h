/* mime.h - media types by a file's extension. */
#ifndef TG_HTTP_MIME_H
#define TG_HTTP_MIME_H

#define TG_MIME_SYSTEM "/etc/mime.types"

enum { TG_MIME_MAX = 1 << 20 }; /* bytes of a file of types that are read */

struct tg_mime; /* a file of types, read once */

/* Reads a file of lines "type extension…".  NULL when it cannot, or has no memory for it. */
struct tg_mime *tg_mime_load(const char *path);
void tg_mime_free(struct tg_mime *mime); /* NULL is fine */

/* The type of the path's extension: that of mime (which may be NULL), else of our own table, else
 * "application/octet-stream".  Texts have a charset.  Good for as long as mime. */
const char *tg_mime_type(const struct tg_mime *mime, const char *path);

#endif
