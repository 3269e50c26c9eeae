/* reason.h - the reason phrases of status codes (RFC 9110, 15, and the IANA registry). */
#ifndef TG_HTTP_REASON_H
#define TG_HTTP_REASON_H

const char *tg_reason(int status); /* "Unknown" where there is none; never NULL */

#endif
