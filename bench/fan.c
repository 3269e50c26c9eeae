/* fan.c - many subscribers of one stream of events, and who publishes to it: the load of bench/topics.
 *
 *   fan PID PORT SUBSCRIBE PUBLISH COUNT STALLED { ROUNDS BURST BYTES }…
 *
 * Opens COUNT streams of the path SUBSCRIBE, and STALLED more that are never read.  Then, for each
 * series of ROUNDS: publishes BURST events of BYTES bytes at once to the path PUBLISH, and waits until
 * all have got them.  Prints lines of numbers: first by how many KiB the server, PID, has grown for the
 * streams; then for each series the server's processor time for each event delivered, in nanoseconds,
 * the median and the longest time of a round until the last subscriber had everything, in
 * microseconds, and by how many KiB the server has grown by then.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    MARK = '#',
    PATIENCE_MS = 20000,
    BATCH = 256,
    PAUSE_MS = 5,
    BODY_MAX = 65536,
    ROUNDS_MAX = 10000
};

struct fan {
    long pid;
    uint16_t port;
    const char *subscribe;
    const char *publish;
    int count;
    int stalled;
    int epoll;
    int publisher;
};

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static uint64_t now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000U + (uint64_t)now.tv_nsec / 1000U;
}

static int number(const char *text)
{
    return (int)strtol(text, NULL, 10);
}

static int connect_to(uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    int on = 1;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0)
        fail("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

static void send_all(int fd, const char *bytes, size_t len)
{
    if (send(fd, bytes, len, MSG_NOSIGNAL) != (ssize_t)len)
        fail("send");
}

/* Until the head's end has come; what follows it may be lost: nothing is published yet. */
static void read_head(int fd)
{
    char head[4096];
    size_t len = 0;
    while (len < sizeof head - 1) {
        ssize_t n = recv(fd, head + len, sizeof head - 1 - len, 0);
        if (n <= 0)
            fail("recv");
        len += (size_t)n;
        head[len] = '\0';
        if (strstr(head, "\r\n\r\n"))
            return;
    }
}

static int open_stream(const struct fan *fan)
{
    char text[512];
    int fd = connect_to(fan->port);
    int len = snprintf(text, sizeof text,
                       "GET %s HTTP/1.1\r\nHost: bench\r\nAccept: text/event-stream\r\n\r\n",
                       fan->subscribe);
    send_all(fd, text, (size_t)len);
    read_head(fd);
    return fd;
}

static void open_streams(struct fan *fan)
{
    fan->epoll = epoll_create1(EPOLL_CLOEXEC);
    for (int i = 0; i < fan->count; i++) {
        struct epoll_event event = {.events = EPOLLIN};
        event.data.fd = open_stream(fan);
        fcntl(event.data.fd, F_SETFL, O_NONBLOCK);
        if (epoll_ctl(fan->epoll, EPOLL_CTL_ADD, event.data.fd, &event) != 0)
            fail("epoll_ctl");
    }
    for (int i = 0; i < fan->stalled; i++)
        open_stream(fan);
    fan->publisher = connect_to(fan->port);
}

static void publish(const struct fan *fan, int bytes)
{
    static char text[BODY_MAX + 512];
    int len = snprintf(text, 512,
                       "POST %s HTTP/1.1\r\nHost: bench\r\nContent-Type: text/plain\r\n"
                       "Content-Length: %d\r\n\r\n",
                       fan->publish, bytes);
    memset(text + len, 'x', (size_t)bytes);
    text[len + bytes - 1] = MARK;
    send_all(fan->publisher, text, (size_t)len + (size_t)bytes);
}

/* How many events are in what a stream has for us. */
static int take(int fd)
{
    char bytes[65536];
    int found = 0;
    ssize_t n = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (n == 0 || (n < 0 && errno != EAGAIN))
        fail("a stream has ended");
    for (ssize_t i = 0; i < n; i++)
        found += bytes[i] == MARK;
    return found;
}

/* A round: in microseconds. */
static uint64_t deliver(const struct fan *fan, int burst, int bytes)
{
    struct epoll_event ready[BATCH];
    int left = fan->count * burst;
    uint64_t from = now_us();
    for (int i = 0; i < burst; i++)
        publish(fan, bytes);
    while (left > 0) {
        int n = epoll_wait(fan->epoll, ready, BATCH, PATIENCE_MS);
        if (n <= 0)
            fail("not all have got it");
        for (int i = 0; i < n; i++)
            left -= take(ready[i].data.fd);
    }
    uint64_t took = now_us() - from;
    poll(NULL, 0, PAUSE_MS);
    take(fan->publisher); /* its answers are of no interest */
    return took;
}

/* --- What the server has used ----------------------------------------------------------------- */

static unsigned long long read_number(long pid, const char *name, int field)
{
    char path[64];
    char line[256];
    snprintf(path, sizeof path, "/proc/%ld/%s", pid, name);
    FILE *file = fopen(path, "r");
    if (!file || !fgets(line, sizeof line, file))
        fail(path);
    fclose(file);
    char *at = line;
    unsigned long long value = strtoull(at, &at, 10);
    return field ? strtoull(at, &at, 10) : value;
}

static unsigned long long cpu_ns(long pid)
{
    return read_number(pid, "schedstat", 0);
}

static long long rss_kib(long pid)
{
    return (long long)read_number(pid, "statm", 1) * (sysconf(_SC_PAGESIZE) / 1024);
}

/* --- Series ----------------------------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void run_series(const struct fan *fan, int rounds, int burst, int bytes, long long rss)
{
    uint64_t took[ROUNDS_MAX];
    if (rounds < 1 || rounds > ROUNDS_MAX || bytes < 1 || bytes > BODY_MAX)
        exit(2);
    unsigned long long before = cpu_ns(fan->pid);
    for (int i = 0; i < rounds; i++)
        took[i] = deliver(fan, burst, bytes);
    unsigned long long used = cpu_ns(fan->pid) - before;
    qsort(took, (size_t)rounds, sizeof *took, compare);
    printf("%llu %llu %llu %lld\n",
           used / (unsigned long long)rounds / (unsigned long long)burst /
               (unsigned long long)fan->count,
           (unsigned long long)took[rounds / 2], (unsigned long long)took[rounds - 1],
           rss_kib(fan->pid) - rss);
}

int main(int argc, char **argv)
{
    struct rlimit files;
    if (argc < 7 || (argc - 7) % 3 != 0)
        return 2;
    struct fan fan = {
        .pid = strtol(argv[1], NULL, 10),
        .port = (uint16_t)number(argv[2]),
        .subscribe = argv[3],
        .publish = argv[4],
        .count = number(argv[5]),
        .stalled = number(argv[6]),
    };
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    long long rss = rss_kib(fan.pid);
    open_streams(&fan);
    printf("%lld\n", rss_kib(fan.pid) - rss);
    for (int i = 7; i < argc; i += 3)
        run_series(&fan, number(argv[i]), number(argv[i + 1]), number(argv[i + 2]), rss);
    return 0;
}
