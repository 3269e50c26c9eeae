/* mime.h - media types by a file's extension. */
#ifndef TG_HTTP_MIME_H
#define TG_HTTP_MIME_H

/* "application/octet-stream" for what is not known; static, never NULL. */
const char *tg_mime_type(const char *path);

#endif
