/* bind_popen.c - io.popen: its close suspends the caller, and collecting it waits for nobody.
 *
 * Lua's own closes such a file by pclose(), which waits until the process has ended: the worker, and
 * every stream on it, would wait with it.
 */
#include "lua/bind_popen.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <event2/event.h>
#include <event2/event_struct.h>

#include "lua/state.h"
#include "lua/task.h"

enum { REAPER_STACK = 65536, STATUS_UNKNOWN = -1 };

static const struct timeval look_again = {0, 10000}; /* at a process that cannot be watched */

/* A file of Lua's with more behind it. */
struct process {
    luaL_Stream stream; /* first: to Lua it is this */
    pid_t pid;
    int pidfd; /* while it is waited for; or -1 */
    struct event ended;
    struct tg_task *task;
};

static int close_and_wait(lua_State *L);

/* --- Reaping ---------------------------------------------------------------------------------- */

static void *reap(void *arg)
{
    pid_t pid = (pid_t)(intptr_t)arg;
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
    }
    return NULL;
}

/* Signals are not its business.  Should there be no thread, a zombie stays until this process ends. */
static void reap_in_thread(pid_t pid)
{
    sigset_t all;
    sigset_t before;
    pthread_t thread;
    pthread_attr_t attributes;
    if (pthread_attr_init(&attributes) != 0)
        return;
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, REAPER_STACK);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_create(&thread, &attributes, reap, (void *)(intptr_t)pid);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
}

/* Takes the status of a process that has ended, as system() gives it.  False: it has not. */
static bool take_status(pid_t pid, int options, int *status)
{
    pid_t taken;
    do {
        taken = waitpid(pid, status, options);
    } while (taken < 0 && errno == EINTR);
    if (taken < 0)
        *status = STATUS_UNKNOWN;
    return taken != 0;
}

static void let_go(struct process *p)
{
    int status;
    pid_t pid = p->pid;
    p->pid = 0;
    if (pid && !take_status(pid, WNOHANG, &status))
        reap_in_thread(pid);
}

bool tg_popen_close(luaL_Stream *stream)
{
    struct process *p = (struct process *)(void *)stream;
    if (stream->closef != close_and_wait)
        return false;
    stream->closef = NULL;
    fclose(stream->f);
    let_go(p);
    return true;
}

/* --- file:close() ----------------------------------------------------------------------------- */

static void stop_watching(struct process *p)
{
    if (p->pidfd < 0)
        return;
    event_del(&p->ended);
    close(p->pidfd);
    p->pidfd = -1;
}

static void cancel(void *arg)
{
    struct process *p = arg;
    stop_watching(p);
    let_go(p);
}

static void on_ended(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    tg_task_wake(((const struct process *)arg)->task);
}

static int wait_for_end(lua_State *L, struct process *p);

static int end_came(lua_State *L, int status, lua_KContext context)
{
    (void)status;
    struct process *p = lua_touserdata(L, 1);
    tg_task_resumed(L, context);
    stop_watching(p);
    p->task = tg_task_check(L);
    return wait_for_end(L, p);
}

/* Watches p through a descriptor, where the system has those, and else looks again later. */
static void watch(lua_State *L, struct process *p)
{
    struct event_base *base = tg_lua_base(tg_lua_of(L));
    p->pidfd = pidfd_open(p->pid, 0);
    if (p->pidfd >= 0) {
        event_assign(&p->ended, base, p->pidfd, EV_READ, on_ended, p);
        if (event_add(&p->ended, NULL) == 0)
            return;
        close(p->pidfd);
        p->pidfd = -1;
    }
    if (tg_task_arm_timer(p->task, &look_again) == TG_OK)
        return;
    let_go(p);
    luaL_error(L, "not enough memory");
}

static int wait_for_end(lua_State *L, struct process *p)
{
    int status = 0;
    struct tg_task_wait wait = {cancel, p};
    bool loading = tg_lua_is_held(tg_lua_of(L)); /* nobody is served by it yet */
    bool ended = take_status(p->pid, loading ? 0 : WNOHANG, &status);
    if (!ended && p->task) {
        watch(L, p);
        return tg_task_wait(L, &wait, end_came);
    }
    if (!ended) {
        let_go(p);
        lua_pushnil(L);
        lua_pushliteral(L, "the process has not ended yet");
        return 2;
    }
    p->pid = 0;
    errno = status == STATUS_UNKNOWN ? errno : 0; /* luaL_execresult() looks at it */
    return luaL_execresult(L, status);
}

/* The function that Lua's file:close() calls, as its own last step, with the file marked as closed. */
static int close_and_wait(lua_State *L)
{
    struct process *p = luaL_checkudata(L, 1, LUA_FILEHANDLE);
    p->stream.closef = close_and_wait;
    p->task = tg_lua_current(tg_lua_of(L)) ? tg_task_check(L) : NULL; /* it may raise: not closed */
    p->stream.closef = NULL;
    fclose(p->stream.f);
    lua_settop(L, 1);
    return wait_for_end(L, p);
}

/* In the place of Lua's __gc and __close.  Upvalue: that. */
static int collect(lua_State *L)
{
    if (tg_popen_close(luaL_checkudata(L, 1, LUA_FILEHANDLE)))
        return 0;
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_pushvalue(L, 1);
    lua_call(L, 1, 0);
    return 0;
}

/* --- io.popen --------------------------------------------------------------------------------- */

/* Signals as a program expects them, and no descriptor of ours. */
static int prepare(posix_spawn_file_actions_t *actions, posix_spawnattr_t *attributes, int end,
                   int as)
{
    sigset_t none;
    sigset_t pipe;
    sigemptyset(&none);
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    posix_spawnattr_setsigmask(attributes, &none);
    posix_spawnattr_setsigdefault(attributes, &pipe);
    posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    int error = posix_spawn_file_actions_adddup2(actions, end, as);
    return error ? error : posix_spawn_file_actions_addclosefrom_np(actions, STDERR_FILENO + 1);
}

/* sh -c command, with end as its descriptor as.  Returns an errno. */
static int spawn(const char *command, int end, int as, pid_t *pid)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    char *copy;
    memcpy(&copy, &command, sizeof copy); /* exec's parameters are older than const */
    char name[] = "sh";
    char option[] = "-c";
    char *argv[] = {name, option, copy, NULL};
    int error = posix_spawn_file_actions_init(&actions);
    if (error)
        return error;
    error = posix_spawnattr_init(&attributes);
    if (!error) {
        error = prepare(&actions, &attributes, end, as);
        if (!error)
            error = posix_spawn(pid, "/bin/sh", &actions, &attributes, argv, environ);
        posix_spawnattr_destroy(&attributes);
    }
    posix_spawn_file_actions_destroy(&actions);
    return error;
}

static int start(struct process *p, const char *command, const char *mode)
{
    int ends[2];
    bool reads = *mode == 'r';
    if (pipe2(ends, O_CLOEXEC) != 0)
        return errno;
    int ours = reads ? ends[0] : ends[1];
    int theirs = reads ? ends[1] : ends[0];
    int error = 0;
    p->stream.f = fdopen(ours, mode);
    if (!p->stream.f) {
        error = errno;
        close(ours);
    } else {
        error = spawn(command, theirs, reads ? STDOUT_FILENO : STDIN_FILENO, &p->pid);
        if (error)
            fclose(p->stream.f);
    }
    close(theirs);
    return error;
}

static int l_popen(lua_State *L)
{
    size_t len;
    const char *command = luaL_checklstring(L, 1, &len);
    const char *mode = luaL_optstring(L, 2, "r");
    luaL_argcheck(L, strcmp(mode, "r") == 0 || strcmp(mode, "w") == 0, 2, "invalid mode");
    struct process *p = lua_newuserdatauv(L, sizeof *p, 0);
    *p = (struct process){.pidfd = -1};
    luaL_setmetatable(L, LUA_FILEHANDLE); /* closed, as far as Lua sees */
    int error = strlen(command) == len ? start(p, command, mode) : EINVAL;
    if (error) {
        errno = error;
        return luaL_fileresult(L, 0, command);
    }
    p->stream.closef = close_and_wait;
    return 1;
}

static void replace(lua_State *L, const char *field)
{
    lua_getfield(L, -1, field);
    lua_pushcclosure(L, collect, 1);
    lua_setfield(L, -2, field);
}

void tg_popen_open(lua_State *L)
{
    luaL_getmetatable(L, LUA_FILEHANDLE);
    replace(L, "__gc");
    replace(L, "__close");
    lua_pop(L, 1);
    lua_getglobal(L, "io");
    lua_pushcfunction(L, l_popen);
    lua_setfield(L, -2, "popen");
    lua_pop(L, 1);
}
