/* main.c - the tidegate command.  It sees the public header and nothing else of the library. */
#include <tidegate.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/control.h"
#include "cli/log.h"
#include "cli/options.h"
#include "cli/project.h"
#include "cli/routes.h"
#include "cli/signals.h"
#include "cli/systemd.h"
#include "cli/top.h"

enum exit_code { EXIT_FINE, EXIT_SCRIPT, EXIT_USAGE, EXIT_SYSTEM };

static enum exit_code code_of(enum tidegate_status status)
{
    switch (status) {
    case TIDEGATE_OK:
    case TIDEGATE_AGAIN:
        return EXIT_FINE;
    case TIDEGATE_ESCRIPT:
        return EXIT_SCRIPT;
    case TIDEGATE_EINVAL:
        return EXIT_USAGE;
    case TIDEGATE_ENOMEM:
    case TIDEGATE_EIO:
    case TIDEGATE_ECLOSED:
        break;
    }
    return EXIT_SYSTEM;
}

static const char *words_for(enum tidegate_status status)
{
    return status == TIDEGATE_ENOMEM   ? "not enough memory"
           : status == TIDEGATE_EINVAL ? "refused"
                                       : "the system refused";
}

/* Says what went wrong, a line for each problem, and returns the exit code. */
static enum exit_code report(struct cli_log *log, const struct tidegate *g, const char *what,
                             enum tidegate_status status)
{
    char *problems = g ? strdup(tidegate_error(g)) : NULL;
    char *rest = problems;
    if (!problems || !*problems)
        cli_log_say(log, TIDEGATE_ERROR, what, words_for(status));
    for (char *line; rest && (line = strsep(&rest, "\n")) != NULL;)
        if (*line)
            cli_log_say(log, TIDEGATE_ERROR, line, NULL);
    free(problems);
    return code_of(status);
}

/* What the command runs with, besides its options. */
struct running {
    const struct cli_options *options;
    struct cli_log *log;
    struct cli_systemd *systemd; /* NULL: for commands that serve nothing */
    struct cli_signals *signals;
    struct cli_control *control;
};

static void on_reload(void *arg, enum tidegate_status status)
{
    const struct running *running = arg;
    if (status == TIDEGATE_AGAIN)
        cli_systemd_notify(running->systemd,
                           "RELOADING=1\nMONOTONIC_USEC=%" PRIu64 "\nSTATUS=Loading the script",
                           cli_systemd_now());
    else
        cli_systemd_notify(running->systemd, "READY=1\nSTATUS=%s",
                           status == TIDEGATE_OK
                               ? "Serving"
                               : "Serving the last good script: it could not be loaded anew");
}

/* Sockets that were handed over are what it listens on, unless the command line says something else;
 * "fd:NAME" there is one of them. */
static bool choose_addresses(const struct running *running, struct tidegate_options *o)
{
    const struct cli_options *options = running->options;
    o->addresses = options->listen;
    o->address_count = options->listen_count;
    if (!running->systemd)
        return true;
    if (!o->address_count)
        o->addresses = cli_systemd_sockets(running->systemd, &o->address_count);
    for (size_t i = 0; i < options->listen_count; i++) {
        if (!cli_systemd_is_socket(options->listen[i]))
            continue;
        const char *found = cli_systemd_find(running->systemd, options->listen[i]);
        if (!found) {
            cli_log_say(running->log, TIDEGATE_ERROR, options->listen[i],
                        "no socket of this name was handed over");
            return false;
        }
        options->listen[i] = found;
    }
    return true;
}

static bool wants(const struct cli_options *options, const char *log)
{
    return options->log && strcmp(options->log, log) == 0;
}

static int access_log_of(const struct cli_options *options)
{
    if (options->quiet || wants(options, "off"))
        return TIDEGATE_ACCESS_OFF;
    return wants(options, "json")   ? TIDEGATE_ACCESS_JSON
           : wants(options, "text") ? TIDEGATE_ACCESS_TEXT
                                    : TIDEGATE_ACCESS_SCRIPT;
}

static enum tidegate_status load(struct tidegate **g, struct running *running)
{
    const struct cli_options *options = running->options;
    struct tidegate_options o;
    *g = NULL;
    tidegate_options_init(&o, sizeof o);
    o.script = options->script;
    if (!choose_addresses(running, &o))
        return TIDEGATE_EINVAL;
    o.limits = options->limits;
    o.limit_count = options->limit_count;
    o.workers = options->workers;
    o.access_log = access_log_of(options);
    o.access = cli_log_object;
    o.access_arg = running->log;
    o.dev = options->dev;
    o.tls_cert = options->tls_cert;
    o.tls_key = options->tls_key;
    o.watch = options->watch;
    o.alarm_signal = CLI_ALARM_SIGNAL;
    o.log = cli_log_line;
    o.log_arg = running->log;
    o.on_reload = on_reload;
    o.on_reload_arg = running;
    return tidegate_new(g, &o);
}

/* --- run -------------------------------------------------------------------------------------- */

static size_t print_pid(char *text, size_t size)
{
    int len = snprintf(text, size, "%ld\n", (long)getpid());
    return len < 0 ? 0 : (size_t)len;
}

static int write_pidfile(const char *path)
{
    char text[32];
    size_t len = print_pid(text, sizeof text);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0)
        return errno;
    int error = write(fd, text, len) == (ssize_t)len ? 0 : errno;
    if (close(fd) != 0 && !error)
        error = errno;
    return error;
}

/* Unless it is another's by now, who has taken our place. */
static void remove_pidfile(const char *path)
{
    char ours[32];
    char text[32];
    size_t len = print_pid(ours, sizeof ours);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    ssize_t n = read(fd, text, sizeof text);
    close(fd);
    if (n == (ssize_t)len && memcmp(text, ours, len) == 0)
        unlink(path);
}

static void announce(const struct tidegate *g, struct cli_log *log)
{
    const char *url;
    char line[512];
    for (size_t n = 0; (url = tidegate_listener(g, n)) != NULL; n++) {
        snprintf(line, sizeof line, "listening on %s", url);
        cli_log_say(log, TIDEGATE_INFO, line, NULL);
    }
}

/* A worker has died of a bug: that is to be seen, and looked into. */
static void die(struct cli_log *log)
{
    cli_log_close(log);
    abort();
}

/* From listening to the end. */
static enum exit_code serve(struct tidegate *g, struct running *running)
{
    const char *pidfile = running->options->pidfile;
    struct cli_log *log = running->log;
    enum tidegate_status status = tidegate_start(g);
    if (status != TIDEGATE_OK)
        return report(log, g, "listen", status);
    cli_systemd_release_sockets(running->systemd);
    int error = pidfile ? write_pidfile(pidfile) : 0;
    if (error) {
        cli_log_say(log, TIDEGATE_ERROR, pidfile, strerrordesc_np(error));
        return EXIT_SYSTEM;
    }
    const char *control = running->options->control;
    running->control = control ? cli_control_start(g, control, &error) : NULL;
    if (error) {
        cli_log_say(log, TIDEGATE_ERROR, control, strerrordesc_np(error));
        return EXIT_SYSTEM;
    }
    announce(g, log);
    cli_systemd_notify(running->systemd, "READY=1\nSTATUS=Serving");
    status = tidegate_run(g);
    if (pidfile)
        remove_pidfile(pidfile);
    if (status == TIDEGATE_OK)
        return EXIT_FINE;
    report(log, g, "run", status);
    if (status == TIDEGATE_EIO)
        die(log);
    return EXIT_SYSTEM;
}

static enum exit_code run(struct tidegate *g, struct running *running)
{
    running->signals = cli_signals_start(g, running->log, running->systemd);
    if (running->signals)
        return serve(g, running);
    cli_log_say(running->log, TIDEGATE_ERROR, "signals", "no thread or pipe for them");
    return EXIT_SYSTEM;
}

/* --- The others ------------------------------------------------------------------------------- */

static void count_route(void *arg, const struct tidegate_route_info *route)
{
    size_t *count = arg;
    (void)route;
    ++*count;
}

static void print_verdict(const struct tidegate *g, const char *script)
{
    size_t count = 0;
    tidegate_each_route(g, count_route, &count);
    printf("%s: fine, %zu route%s\n", script, count, count == 1 ? "" : "s");
}

/* The commands that have a script. */
static enum exit_code do_script(struct running *running)
{
    struct tidegate *g;
    const struct cli_options *options = running->options;
    enum exit_code code = EXIT_FINE;
    enum tidegate_status status = load(&g, running);
    if (status == TIDEGATE_EINVAL && !g)
        code = EXIT_USAGE; /* it has been said */
    else if (status != TIDEGATE_OK)
        code = report(running->log, g, options->script, status);
    else if (options->command == CLI_RUN)
        code = run(g, running);
    else if (options->command == CLI_ROUTES)
        cli_routes_print(g, stdout);
    else if (options->command == CLI_EXPLAIN)
        code =
            cli_explain_print(g, options->method, options->path, stdout) ? EXIT_FINE : EXIT_SCRIPT;
    else
        print_verdict(g, options->script);
    cli_control_stop(running->control);
    cli_signals_release(running->signals);
    tidegate_free(g);
    cli_signals_stop(running->signals);
    return code;
}

/* The environment is read first: no thread is there yet. */
static enum exit_code with_log(const struct cli_options *options)
{
    enum exit_code code = EXIT_SYSTEM;
    struct running running = {.options = options};
    if (options->command == CLI_RUN)
        running.systemd = cli_systemd_open();
    running.log = cli_log_open(STDERR_FILENO, wants(options, "json"));
    if (!running.log || (options->command == CLI_RUN && !running.systemd))
        fputs("tidegate: no memory or thread to begin with\n", stderr);
    else
        code = do_script(&running);
    cli_log_close(running.log);
    cli_systemd_close(running.systemd);
    return code;
}

static enum exit_code top(const struct cli_options *options)
{
    struct cli_top_options o = {options->control, options->json, options->once};
    int error = cli_top(&o);
    if (error)
        fprintf(stderr, "tidegate: %s: %s\n", options->control, strerrordesc_np(error));
    return error ? EXIT_SYSTEM : EXIT_FINE;
}

static enum exit_code make_project(const struct cli_options *options)
{
    const char *what;
    const char *why = cli_project_new(options->script, &what);
    if (why) {
        fprintf(stderr, "tidegate: %s: %s\n", what, why);
        return EXIT_SYSTEM;
    }
    printf("%s: a project; its README.md says what to do with it\n", options->script);
    return EXIT_FINE;
}

static enum exit_code do_command(const struct cli_options *options)
{
    if (options->command == CLI_HELP) {
        fputs(cli_usage, stdout);
        return EXIT_FINE;
    }
    if (options->command == CLI_VERSION) {
        printf("tidegate %s\n", tidegate_version());
        return EXIT_FINE;
    }
    if (options->command == CLI_NEW)
        return make_project(options);
    if (options->command == CLI_TEST)
        return (enum exit_code)cli_project_test(options->script, options->args, options->arg_count);
    return options->command == CLI_TOP ? top(options) : with_log(options);
}

int main(int argc, char **argv)
{
    struct cli_options options;
    enum exit_code code =
        cli_options_parse(&options, argc, argv) ? do_command(&options) : EXIT_USAGE;
    cli_options_fini(&options);
    if (fflush(stdout) != 0 && code == EXIT_FINE) {
        fprintf(stderr, "tidegate: stdout: %s\n", strerrordesc_np(errno));
        code = EXIT_SYSTEM;
    }
    return (int)code;
}
