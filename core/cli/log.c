/* log.c - a buffer that threads add lines to, and the thread that writes it out. */
#include "cli/log.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/text.h"

enum {
    CAPACITY = 256 * 1024,
    FOR_ALL = CAPACITY / 4 * 3, /* the rest is for warnings, errors and what the command says */
    ENOUGH = 16 * 1024,         /* to write without waiting for more */
    NOTE_MAX = 192,             /* room kept for the line that counts the dropped */
    GATHER_MS = 100,
    CLOSE_MS = 1000,
    STAMP_MAX = 40,
};

struct cli_log {
    int fd;
    bool json;
    pthread_t thread;
    pthread_mutex_t lock; /* of what follows; never held during a write */
    pthread_cond_t more;
    pthread_cond_t done;
    bool urgent;
    bool closing;
    bool finished;
    unsigned long dropped;
    time_t second; /* that stamp shows */
    char stamp[STAMP_MAX];
    size_t len;
    char *gathered;
    char *writing; /* the thread's, and not under the lock */
};

static const char *const level_names[] = {"debug", "info", "warn", "error"};

/* --- Adding lines ------------------------------------------------------------------------------ */

static void add(struct cli_log *log, const char *text, size_t len)
{
    memcpy(log->gathered + log->len, text, len);
    log->len += len;
}

/* Room for a line of len bytes and a line break?  Otherwise it is counted. */
static bool has_room(struct cli_log *log, size_t len, bool urgent)
{
    if (log->len + len + 1 <= (urgent ? CAPACITY - NOTE_MAX : FOR_ALL))
        return true;
    log->dropped++;
    return false;
}

/* Wakes the thread only where it has something to do now: for most lines that is not so. */
static void wake(struct cli_log *log, size_t before, bool urgent)
{
    if (urgent)
        log->urgent = true;
    if (urgent || !before || (before < ENOUGH && log->len >= ENOUGH))
        pthread_cond_signal(&log->more);
}

/* The time.  Text of the second is kept: a busy log has many lines in one. */
static size_t make_stamp(struct cli_log *log, char *text, size_t size)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (now.tv_sec != log->second || !log->stamp[0]) {
        struct tm tm;
        gmtime_r(&now.tv_sec, &tm);
        strftime(log->stamp, sizeof log->stamp, "%Y-%m-%dT%H:%M:%S", &tm);
        log->second = now.tv_sec;
    }
    int len = snprintf(text, size, "%s.%03dZ", log->stamp, (int)(now.tv_nsec / 1000000));
    return len < 0 ? 0 : (size_t)len;
}

static void add_line(struct cli_log *log, const char *line, size_t len, bool urgent)
{
    pthread_mutex_lock(&log->lock);
    size_t before = log->len;
    if (has_room(log, len, urgent)) {
        add(log, line, len);
        add(log, "\n", 1);
        wake(log, before, urgent);
    }
    pthread_mutex_unlock(&log->lock);
}

static void add_object(struct cli_log *log, const char *level, const char *message, bool urgent)
{
    char stamp[STAMP_MAX + 16];
    struct cli_text text = {0};
    pthread_mutex_lock(&log->lock);
    make_stamp(log, stamp, sizeof stamp);
    pthread_mutex_unlock(&log->lock);
    cli_text_add(&text, "{\"time\":\"%s\",\"level\":\"%s\",", stamp, level);
    cli_text_add_member(&text, "message", message);
    cli_text_add(&text, "}");
    if (!text.failed)
        add_line(log, text.p, text.len, urgent);
    free(text.p);
}

void cli_log_object(void *arg, const char *line)
{
    add_line(arg, line, strlen(line), false);
}

void cli_log_line(void *arg, enum tidegate_level level, const char *line)
{
    struct cli_log *log = arg;
    char stamp[STAMP_MAX + 32];
    size_t line_len = strlen(line);
    bool urgent = level >= TIDEGATE_WARN;
    if (log->json) {
        add_object(log, level_names[level], line, urgent);
        return;
    }
    pthread_mutex_lock(&log->lock);
    size_t before = log->len;
    size_t stamp_len = make_stamp(log, stamp, sizeof stamp);
    stamp_len +=
        (size_t)snprintf(stamp + stamp_len, sizeof stamp - stamp_len, " %s ", level_names[level]);
    if (has_room(log, stamp_len + line_len, urgent)) {
        add(log, stamp, stamp_len);
        add(log, line, line_len);
        add(log, "\n", 1);
        wake(log, before, urgent);
    }
    pthread_mutex_unlock(&log->lock);
}

void cli_log_say(struct cli_log *log, enum tidegate_level level, const char *what, const char *why)
{
    struct cli_text text = {0};
    cli_text_add(&text, "%s%s%s%s", log->json ? "" : "tidegate: ", what, why ? ": " : "",
                 why ? why : "");
    if (text.failed)
        return;
    if (log->json)
        add_object(log, level_names[level], text.p, true);
    else
        add_line(log, text.p, text.len, true);
    free(text.p);
}

/* --- The thread ------------------------------------------------------------------------------- */

static struct timespec in_ms(long ms)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += ms / 1000;
    t.tv_nsec += ms % 1000 * 1000000;
    if (t.tv_nsec >= 1000000000) {
        t.tv_sec++;
        t.tv_nsec -= 1000000000;
    }
    return t;
}

/* A descriptor that takes nothing any more loses the text: there is nobody left to tell. */
static void write_all(int fd, const char *text, size_t len)
{
    while (len) {
        ssize_t n = write(fd, text, len);
        if (n >= 0) {
            text += n;
            len -= (size_t)n;
        } else if (errno == EAGAIN) { /* somebody else who has it made it non-blocking */
            struct pollfd p = {fd, POLLOUT, 0};
            poll(&p, 1, -1);
        } else if (errno != EINTR) {
            return;
        }
    }
}

/* Room is kept for it. */
static void add_note(struct cli_log *log)
{
    char stamp[STAMP_MAX + 16];
    char note[NOTE_MAX];
    make_stamp(log, stamp, sizeof stamp);
    int len = snprintf(note, sizeof note,
                       "%s%s%slog: %lu lines dropped: stderr is not read fast enough%s",
                       log->json ? "{\"time\":\"" : "tidegate: ", log->json ? stamp : "",
                       log->json ? "\",\"level\":\"error\",\"message\":\"" : "", log->dropped,
                       log->json ? "\"}\n" : "\n");
    if (len > 0 && (size_t)len < sizeof note)
        add(log, note, (size_t)len);
    log->dropped = 0;
}

/* Waits until there is something to write, and enough of it or for long enough.  Returns how much,
 * now in writing; 0 at the end. */
static size_t take(struct cli_log *log, const struct timespec *due)
{
    while (!log->len && !log->closing)
        pthread_cond_wait(&log->more, &log->lock);
    while (!log->urgent && !log->closing && log->len < ENOUGH)
        if (pthread_cond_timedwait(&log->more, &log->lock, due) == ETIMEDOUT)
            break;
    if (log->dropped)
        add_note(log);
    size_t len = log->len;
    char *full = log->gathered;
    log->gathered = log->writing;
    log->writing = full;
    log->len = 0;
    log->urgent = false;
    return len;
}

static void *write_out(void *arg)
{
    struct cli_log *log = arg;
    struct timespec due = {0, 0};
    size_t len;

    pthread_mutex_lock(&log->lock);
    while ((len = take(log, &due)) > 0) {
        pthread_mutex_unlock(&log->lock);
        write_all(log->fd, log->writing, len);
        due = in_ms(GATHER_MS);
        pthread_mutex_lock(&log->lock);
    }
    log->finished = true;
    pthread_cond_signal(&log->done);
    pthread_mutex_unlock(&log->lock);
    return NULL;
}

/* --- Life ------------------------------------------------------------------------------------- */

static void free_log(struct cli_log *log)
{
    pthread_cond_destroy(&log->done);
    pthread_cond_destroy(&log->more);
    pthread_mutex_destroy(&log->lock);
    free(log->writing);
    free(log->gathered);
    free(log);
}

struct cli_log *cli_log_open(int fd, bool json)
{
    pthread_condattr_t monotonic;
    struct cli_log *log = calloc(1, sizeof *log);
    if (!log)
        return NULL;
    log->fd = fd;
    log->json = json;
    log->gathered = malloc(CAPACITY);
    log->writing = malloc(CAPACITY);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&log->lock, NULL);
    pthread_cond_init(&log->more, &monotonic);
    pthread_cond_init(&log->done, &monotonic);
    pthread_condattr_destroy(&monotonic);
    if (log->gathered && log->writing && pthread_create(&log->thread, NULL, write_out, log) == 0)
        return log;
    free_log(log);
    return NULL;
}

void cli_log_close(struct cli_log *log)
{
    if (!log)
        return;
    struct timespec due = in_ms(CLOSE_MS);
    pthread_mutex_lock(&log->lock);
    log->closing = true;
    pthread_cond_signal(&log->more);
    while (!log->finished && pthread_cond_timedwait(&log->done, &log->lock, &due) == 0)
        continue;
    bool finished = log->finished;
    pthread_mutex_unlock(&log->lock);
    if (!finished) { /* it still writes from log, and the process is about to end */
        pthread_detach(log->thread);
        return;
    }
    pthread_join(log->thread, NULL);
    free_log(log);
}
