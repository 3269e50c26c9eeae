/* main.c - the tidegate command.  It sees the public header and nothing else of the library. */
#include <tidegate.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/log.h"
#include "cli/options.h"
#include "cli/routes.h"
#include "cli/signals.h"

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
        cli_log_say(log, what, words_for(status));
    for (char *line; rest && (line = strsep(&rest, "\n")) != NULL;)
        if (*line)
            cli_log_say(log, line, NULL);
    free(problems);
    return code_of(status);
}

static enum tidegate_status load(struct tidegate **g, const struct cli_options *options,
                                 struct cli_log *log)
{
    struct tidegate_options o;
    tidegate_options_init(&o, sizeof o);
    o.script = options->script;
    o.listen = options->listen;
    o.listen_count = options->listen_count;
    o.limits = options->limits;
    o.limit_count = options->limit_count;
    o.workers = options->workers;
    o.access_log = !options->quiet;
    o.dev = options->dev;
    o.watch = options->watch;
    o.alarm_signal = CLI_ALARM_SIGNAL;
    o.log = cli_log_line;
    o.log_arg = log;
    return tidegate_new(g, &o);
}

/* --- run -------------------------------------------------------------------------------------- */

static int write_pidfile(const char *path)
{
    char text[32];
    int len = snprintf(text, sizeof text, "%ld\n", (long)getpid());
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0)
        return errno;
    int error = write(fd, text, (size_t)len) == len ? 0 : errno;
    if (close(fd) != 0 && !error)
        error = errno;
    return error;
}

static void announce(const struct tidegate *g, struct cli_log *log)
{
    const char *url;
    char line[512];
    for (size_t n = 0; (url = tidegate_listener(g, n)) != NULL; n++) {
        snprintf(line, sizeof line, "listening on %s", url);
        cli_log_say(log, line, NULL);
    }
}

/* A worker has died of a bug: that is to be seen, and looked into. */
static void die(struct cli_log *log)
{
    cli_log_close(log);
    abort();
}

/* From listening to the end. */
static enum exit_code serve(struct tidegate *g, const struct cli_options *options,
                            struct cli_log *log)
{
    enum tidegate_status status = tidegate_start(g);
    if (status != TIDEGATE_OK)
        return report(log, g, "listen", status);
    int error = options->pidfile ? write_pidfile(options->pidfile) : 0;
    if (error) {
        cli_log_say(log, options->pidfile, strerrordesc_np(error));
        return EXIT_SYSTEM;
    }
    announce(g, log);
    status = tidegate_run(g);
    if (options->pidfile)
        unlink(options->pidfile);
    if (status == TIDEGATE_OK)
        return EXIT_FINE;
    report(log, g, "run", status);
    if (status == TIDEGATE_EIO)
        die(log);
    return EXIT_SYSTEM;
}

static enum exit_code run(struct tidegate *g, const struct cli_options *options,
                          struct cli_log *log, struct cli_signals **signals)
{
    *signals = cli_signals_start(g, log);
    if (*signals)
        return serve(g, options, log);
    cli_log_say(log, "signals", "no thread or pipe for them");
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
static enum exit_code do_script(const struct cli_options *options, struct cli_log *log)
{
    struct tidegate *g;
    struct cli_signals *signals = NULL;
    enum exit_code code = EXIT_FINE;
    enum tidegate_status status = load(&g, options, log);
    if (status != TIDEGATE_OK)
        code = report(log, g, options->script, status);
    else if (options->command == CLI_RUN)
        code = run(g, options, log, &signals);
    else if (options->command == CLI_ROUTES)
        cli_routes_print(g, stdout);
    else if (options->command == CLI_EXPLAIN)
        code =
            cli_explain_print(g, options->method, options->path, stdout) ? EXIT_FINE : EXIT_SCRIPT;
    else
        print_verdict(g, options->script);
    cli_signals_release(signals);
    tidegate_free(g);
    cli_signals_stop(signals);
    return code;
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
    struct cli_log *log = cli_log_open(STDERR_FILENO);
    if (!log) {
        fputs("tidegate: log: no memory or thread for it\n", stderr);
        return EXIT_SYSTEM;
    }
    enum exit_code code = do_script(options, log);
    cli_log_close(log);
    return code;
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
