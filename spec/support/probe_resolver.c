/* probe_resolver.c - for LD_PRELOAD: names under slow.test take their time, and are none in the end. */
#include <dlfcn.h>
#include <stddef.h>
#include <string.h>
#include <time.h>

/* Of netdb.h, which is not included: this takes the place of what it declares. */
struct addrinfo;
enum { NO_NAME = -2 };

typedef int (*lookup_fn)(const char *name, const char *service, const struct addrinfo *hints,
                         struct addrinfo **result);

__attribute__((visibility("default"))) int getaddrinfo(const char *name, const char *service,
                                                       const struct addrinfo *hints,
                                                       struct addrinfo **result);

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints,
                struct addrinfo **result)
{
    const struct timespec three_seconds = {3, 0};
    if (name && strstr(name, "slow.test")) {
        nanosleep(&three_seconds, NULL);
        return NO_NAME;
    }
    void *next = dlsym(RTLD_NEXT, "getaddrinfo");
    lookup_fn lookup;
    memcpy(&lookup, &next, sizeof lookup);
    return lookup(name, service, hints, result);
}
