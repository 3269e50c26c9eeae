/* harness_process.c - processes for specs: started, listened to, signalled, and never left behind. */
#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <lauxlib.h>

#define PROCESS "harness.Process"

enum { ARGS_MAX = 256, READ_MAX = 65536, INHERIT_MAX = 8 };

enum { OUT, ERR, STREAMS };
static const char *const stream_names[] = {"stdout", "stderr", NULL};

struct stream {
    int fd; /* the reading end of a pipe, or -1 */
    char *data;
    size_t len; /* all that has come */
    size_t read;
};

struct process {
    pid_t pid;   /* 0: none */
    bool reaped; /* status holds */
    int status;
    struct stream streams[STREAMS];
};

static struct process *process_at(lua_State *L)
{
    return luaL_checkudata(L, 1, PROCESS);
}

struct start {
    char *argv[ARGS_MAX + 1];
    char **env;
    const char *cwd;
    int fds[STREAMS]; /* the child's ends; -1: as the parent's */
    int null;
    int inherited[INHERIT_MAX]; /* the child's descriptors from 3 on */
    int inherited_count;
};

/* To places that none of them is in, and from there: dup2() takes close-on-exec away. */
static void pass_on(const struct start *start)
{
    int moved[INHERIT_MAX];
    for (int i = 0; i < start->inherited_count; i++)
        moved[i] = fcntl(start->inherited[i], F_DUPFD_CLOEXEC, 100);
    for (int i = 0; i < start->inherited_count; i++)
        dup2(moved[i], STDERR_FILENO + 1 + i);
}

/* Between fork and exec: only what may run there. */
__attribute__((noreturn)) static void run_child(const struct start *start, pid_t parent)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(127);
    setpgid(0, 0);
    dup2(start->null, STDIN_FILENO);
    for (int i = 0; i < STREAMS; i++)
        if (start->fds[i] >= 0)
            dup2(start->fds[i], STDOUT_FILENO + i);
    pass_on(start);
    if (start->cwd && chdir(start->cwd) != 0)
        _exit(127);
    execvpe(start->argv[0], start->argv, start->env);
    _exit(127);
}

/* What options.stdout or stderr says: "pipe" (to read it here), "null", the path of a file to append
 * to, or nothing for the parent's own. */
static int open_stream(lua_State *L, const char *name, struct stream *stream,
                       const struct start *start)
{
    int ends[2];
    const char *how = lua_istable(L, 2) && lua_getfield(L, 2, name) ? lua_tostring(L, -1) : NULL;
    if (!how)
        return -1;
    if (strcmp(how, "null") == 0)
        return dup(start->null);
    if (strcmp(how, "pipe") != 0)
        return open(how, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (pipe2(ends, O_CLOEXEC) != 0)
        return -1;
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    stream->fd = ends[0];
    return ends[1];
}

/* exec's parameters are older than const; it writes to nothing. */
static char *word(const char *text)
{
    char *same;
    memcpy(&same, &text, sizeof same);
    return same;
}

static bool overridden(lua_State *L, int table, const char *entry)
{
    lua_pushlstring(L, entry, strcspn(entry, "="));
    bool found = lua_gettable(L, table) != LUA_TNIL;
    lua_pop(L, 1);
    return found;
}

/* The parent's environment with options.env over it, where false takes a variable away.  It lives as
 * long as the table that this leaves on the stack. */
static char **make_env(lua_State *L)
{
    size_t count = 1;
    size_t n = 0;
    lua_newtable(L);
    int keep = lua_gettop(L);
    if (!lua_istable(L, 2) || lua_getfield(L, 2, "env") != LUA_TTABLE)
        return environ;
    int table = lua_gettop(L);
    for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1))
        count++;
    for (char **e = environ; *e; e++)
        count++;
    char **env = lua_newuserdatauv(L, sizeof *env * count, 0);
    lua_rawsetp(L, keep, env);
    for (char **e = environ; *e; e++)
        if (!overridden(L, table, *e))
            env[n++] = *e;
    for (lua_pushnil(L); lua_next(L, table); lua_pop(L, 1)) {
        if (!lua_toboolean(L, -1))
            continue;
        const char *entry = lua_pushfstring(L, "%s=%s", lua_tostring(L, -2), lua_tostring(L, -1));
        env[n++] = word(entry);
        lua_rawsetp(L, keep, entry);
    }
    env[n] = NULL;
    return env;
}

static void make_argv(lua_State *L, struct start *start)
{
    lua_Integer count = luaL_len(L, 1);
    luaL_argcheck(L, count <= ARGS_MAX, 1, "too many words");
    start->argv[0] = word(""); /* is not found */
    for (lua_Integer i = 0; i < count; i++) {
        lua_geti(L, 1, i + 1);
        start->argv[i] = word(luaL_checkstring(L, -1)); /* held by the table */
        lua_pop(L, 1);
    }
}

/* options.inherit: a list of sockets. */
static void take_inherited(lua_State *L, struct start *start)
{
    if (!lua_istable(L, 2) || lua_getfield(L, 2, "inherit") != LUA_TTABLE)
        return;
    lua_Integer count = luaL_len(L, -1);
    luaL_argcheck(L, count <= INHERIT_MAX, 2, "too many sockets to inherit");
    for (lua_Integer i = 0; i < count; i++) {
        lua_geti(L, -1, i + 1);
        start->inherited[start->inherited_count++] = harness_socket_fd(L, -1);
        lua_pop(L, 1);
    }
}

/* spawn({ program, argument, ... }, { env =, cwd =, stdout =, stderr =, inherit = }) */
static int l_spawn(lua_State *L)
{
    struct start start = {.fds = {-1, -1}};
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 2);
    luaL_checkstack(L, 20, NULL);
    make_argv(L, &start);
    struct process *process = lua_newuserdatauv(L, sizeof *process, 0);
    *process = (struct process){.streams = {{.fd = -1}, {.fd = -1}}};
    luaL_setmetatable(L, PROCESS);
    int result = lua_gettop(L);
    if (lua_istable(L, 2) && lua_getfield(L, 2, "cwd"))
        start.cwd = luaL_checkstring(L, -1);
    take_inherited(L, &start);
    start.env = make_env(L);
    start.null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int i = 0; i < STREAMS; i++)
        start.fds[i] = open_stream(L, stream_names[i], &process->streams[i], &start);

    pid_t parent = getpid();
    pid_t pid = fork();
    int error = errno;
    if (pid == 0)
        run_child(&start, parent);
    for (int i = 0; i < STREAMS; i++)
        if (start.fds[i] >= 0)
            close(start.fds[i]);
    close(start.null);
    if (pid < 0)
        return harness_fail(L, error);
    setpgid(pid, pid); /* here too: whichever comes first */
    process->pid = pid;
    lua_settop(L, result);
    return 1;
}

/* Takes what is in the pipe.  False once nothing more can come. */
static bool drain(struct stream *stream)
{
    while (stream->fd >= 0) {
        char *data = realloc(stream->data, stream->len + READ_MAX);
        if (!data)
            return false;
        stream->data = data;
        ssize_t n = read(stream->fd, data + stream->len, READ_MAX);
        if (n > 0) {
            stream->len += (size_t)n;
        } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
            close(stream->fd);
            stream->fd = -1;
        } else if (errno == EAGAIN) {
            return true;
        }
    }
    return false;
}

static struct stream *stream_at(lua_State *L, int index)
{
    return &process_at(L)->streams[luaL_checkoption(L, index, "stderr", stream_names)];
}

/* read_line(stream, timeout) -> the next line, without its end, or nil, "timeout" or "closed" */
static int p_read_line(lua_State *L)
{
    struct stream *stream = stream_at(L, 2);
    double deadline = harness_deadline(L, 3);
    for (;;) {
        bool open = drain(stream);
        const char *line = stream->data ? stream->data + stream->read : NULL;
        size_t left = stream->len - stream->read;
        const char *end = line ? memchr(line, '\n', left) : NULL;
        if (end || (!open && left)) {
            size_t len = end ? (size_t)(end - line) : left;
            lua_pushlstring(L, line, len);
            stream->read += len + (end ? 1 : 0);
            return 1;
        }
        if (!open)
            return harness_fail(L, EPIPE);
        if (harness_wait(stream->fd, POLLIN, deadline) != 1)
            return harness_fail(L, ETIMEDOUT);
    }
}

/* output(stream) -> all that has come so far, read as lines or not */
static int p_output(lua_State *L)
{
    struct stream *stream = stream_at(L, 2);
    drain(stream);
    lua_pushlstring(L, stream->data ? stream->data : "", stream->len);
    return 1;
}

static bool reap(struct process *process)
{
    if (!process->reaped && waitpid(process->pid, &process->status, WNOHANG) == process->pid)
        process->reaped = true;
    return process->reaped;
}

/* wait(timeout) -> exit code, or nil, "signal", its number, or nil, "timeout".  Takes what the process
 * writes meanwhile, so that a full pipe does not keep it from ending. */
static int p_wait(lua_State *L)
{
    struct process *process = process_at(L);
    double deadline = harness_deadline(L, 2);
    while (!reap(process)) {
        struct pollfd fds[STREAMS];
        int left = harness_ms_until(deadline);
        if (left == 0)
            return harness_fail(L, ETIMEDOUT);
        for (int i = 0; i < STREAMS; i++) {
            drain(&process->streams[i]);
            fds[i] = (struct pollfd){process->streams[i].fd, POLLIN, 0};
        }
        poll(fds, STREAMS, left < 5 ? left : 5); /* nothing polls for an end but a pidfd */
    }
    for (int i = 0; i < STREAMS; i++)
        drain(&process->streams[i]);
    if (WIFEXITED(process->status)) {
        lua_pushinteger(L, WEXITSTATUS(process->status));
        return 1;
    }
    lua_pushnil(L);
    lua_pushliteral(L, "signal");
    lua_pushinteger(L, WTERMSIG(process->status));
    return 3;
}

static int signal_at(lua_State *L, int index)
{
    static const char *const names[] = {"TERM", "KILL", "INT",  "HUP",  "QUIT", "STOP",
                                        "CONT", "USR1", "USR2", "PIPE", NULL};
    static const int numbers[] = {SIGTERM, SIGKILL, SIGINT,  SIGHUP,  SIGQUIT,
                                  SIGSTOP, SIGCONT, SIGUSR1, SIGUSR2, SIGPIPE};
    return numbers[luaL_checkoption(L, index, "TERM", names)];
}

static int p_kill(lua_State *L)
{
    struct process *process = process_at(L);
    int number = signal_at(L, 2);
    lua_pushboolean(L, process->pid && !reap(process) && kill(process->pid, number) == 0);
    return 1;
}

static int p_pid(lua_State *L)
{
    lua_pushinteger(L, process_at(L)->pid);
    return 1;
}

/* Ends the process and all that it started, and waits: no spec leaves one behind. */
static int p_close(lua_State *L)
{
    struct process *process = process_at(L);
    if (process->pid) {
        kill(-process->pid, SIGKILL);
        while (!process->reaped && waitpid(process->pid, &process->status, 0) < 0 && errno == EINTR)
            continue;
    }
    process->pid = 0;
    process->reaped = true;
    for (int i = 0; i < STREAMS; i++) {
        struct stream *stream = &process->streams[i];
        if (stream->fd >= 0)
            close(stream->fd);
        free(stream->data);
        *stream = (struct stream){.fd = -1};
    }
    return 0;
}

void harness_add_processes(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"pid", p_pid},   {"read_line", p_read_line}, {"output", p_output}, {"kill", p_kill},
        {"wait", p_wait}, {"close", p_close},         {NULL, NULL},
    };
    harness_class(L, PROCESS, p_close);
    luaL_setfuncs(L, methods, 0);
    lua_pop(L, 1);
    lua_pushcfunction(L, l_spawn);
    lua_setfield(L, -2, "spawn");
}
