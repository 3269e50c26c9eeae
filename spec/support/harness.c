/* harness.c - the clock and /proc for specs, beside the sockets and processes of its other parts.
 * Nothing in it is the library's.  Whatever waits has a deadline: a spec can fail but not hang. */
#include "harness.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <lauxlib.h>

enum { PATIENCE = 5 /* seconds, where a spec does not say */ };

/* --- Time and failures ------------------------------------------------------------------------ */

double harness_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

double harness_deadline(lua_State *L, int index)
{
    return harness_now() + luaL_optnumber(L, index, PATIENCE) * 1e3;
}

/* Rounded up, so that a poll that comes back with nothing is never just before its deadline. */
int harness_ms_until(double deadline)
{
    double left = deadline - harness_now();
    return left <= 0 ? 0 : left > 3600e3 ? 3600000 : (int)left + 1;
}

int harness_wait(int fd, short events, double deadline)
{
    struct pollfd p = {fd, events, 0};
    int n;
    do {
        n = poll(&p, 1, harness_ms_until(deadline));
    } while (n < 0 && errno == EINTR);
    return n;
}

static int l_now(lua_State *L)
{
    lua_pushnumber(L, harness_now());
    return 1;
}

static int l_sleep(lua_State *L)
{
    double deadline = harness_now() + luaL_checknumber(L, 1) * 1e3;
    for (int left = harness_ms_until(deadline); left > 0; left = harness_ms_until(deadline))
        poll(NULL, 0, left);
    return 0;
}

int harness_fail(lua_State *L, int error)
{
    const char *word = strerrordesc_np(error);
    if (error == ETIMEDOUT)
        word = "timeout";
    else if (error == ECONNRESET)
        word = "reset";
    else if (error == EPIPE)
        word = "closed";
    else if (error == EAGAIN)
        word = "again";
    lua_pushnil(L);
    lua_pushstring(L, word);
    return 2;
}

/* --- /proc ------------------------------------------------------------------------------------ */

static FILE *open_proc(lua_State *L, const char *name)
{
    char path[64];
    lua_Integer pid = luaL_optinteger(L, 1, getpid());
    snprintf(path, sizeof path, "/proc/%lld/%s", (long long)pid, name);
    FILE *file = fopen(path, "re");
    if (!file)
        luaL_error(L, "%s: %s", path, strerrordesc_np(errno));
    return file;
}

static int push_status(lua_State *L, const char *key)
{
    char line[256];
    size_t len = strlen(key);
    long long value = -1;
    FILE *file = open_proc(L, "status");
    while (value < 0 && fgets(line, sizeof line, file))
        if (strncmp(line, key, len) == 0 && line[len] == ':')
            value = strtoll(line + len + 1, NULL, 10);
    fclose(file);
    lua_pushinteger(L, value);
    return 1;
}

static int l_rss_kib(lua_State *L)
{
    return push_status(L, "VmRSS");
}

static int l_hwm_kib(lua_State *L)
{
    return push_status(L, "VmHWM");
}

static int l_threads(lua_State *L)
{
    return push_status(L, "Threads");
}

/* Open file descriptors. */
static int l_fds(lua_State *L)
{
    char path[64];
    lua_Integer count = 0;
    lua_Integer pid = luaL_optinteger(L, 1, getpid());
    snprintf(path, sizeof path, "/proc/%lld/fd", (long long)pid);
    DIR *folder = opendir(path);
    if (!folder)
        return luaL_error(L, "%s: %s", path, strerrordesc_np(errno));
    for (const struct dirent *entry; (entry = readdir(folder)) != NULL;)
        count += entry->d_name[0] != '.';
    closedir(folder);
    lua_pushinteger(L, pid == getpid() ? count - 1 : count); /* less the folder's own */
    return 1;
}

/* User and system time, in ticks of 10 ms. */
static int l_cpu_ticks(lua_State *L)
{
    char text[1024];
    long long ticks = 0;
    FILE *file = open_proc(L, "stat");
    size_t len = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[len] = '\0';
    char *save;
    char *name_end = strrchr(text, ')'); /* the name may hold anything */
    char *field = name_end ? strtok_r(name_end + 1, " ", &save) : NULL;
    for (int n = 3; field && n <= 15; n++, field = strtok_r(NULL, " ", &save))
        if (n >= 14)
            ticks += strtoll(field, NULL, 10);
    lua_pushinteger(L, ticks);
    return 1;
}

/* --- Odds and ends ---------------------------------------------------------------------------- */

static int l_unsetenv(lua_State *L)
{
    unsetenv(luaL_checkstring(L, 1));
    return 0;
}

static int l_mkdtemp(lua_State *L)
{
    char path[] = "/tmp/tidegate-spec-XXXXXX";
    if (!mkdtemp(path))
        return harness_fail(L, errno);
    lua_pushstring(L, path);
    return 1;
}

void harness_class(lua_State *L, const char *name, lua_CFunction close_fn)
{
    luaL_newmetatable(L, name);
    lua_pushvalue(L, -1);
    lua_setfield(L, -2, "__index");
    lua_pushcfunction(L, close_fn);
    lua_setfield(L, -2, "__gc");
    lua_pushcfunction(L, close_fn);
    lua_setfield(L, -2, "__close");
    lua_pushcfunction(L, close_fn);
    lua_setfield(L, -2, "close");
}

__attribute__((visibility("default"))) int luaopen_harness(lua_State *L);
int luaopen_harness(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"now", l_now},
        {"sleep", l_sleep},
        {"rss_kib", l_rss_kib},
        {"hwm_kib", l_hwm_kib},
        {"threads", l_threads},
        {"fds", l_fds},
        {"cpu_ticks", l_cpu_ticks},
        {"unsetenv", l_unsetenv},
        {"mkdtemp", l_mkdtemp},
        {NULL, NULL},
    };
    luaL_newlib(L, functions);
    harness_add_sockets(L);
    harness_add_processes(L);
    return 1;
}
