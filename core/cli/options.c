/* options.c - reads the command line; what it does not know it answers with the nearest it does. */
#include "cli/options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WORKERS_MAX = 1024, WORD_MAX = 32 };

const char cli_usage[] =
    "usage: tidegate run SCRIPT [OPTION...]   serve what the script returns\n"
    "       tidegate check SCRIPT             load it and report every problem\n"
    "       tidegate routes SCRIPT            list its routes\n"
    "       tidegate explain SCRIPT METHOD PATH\n"
    "                                         which route that is, through what, with what\n"
    "       tidegate top --control PATH [--json] [--once]\n"
    "                                         what the gateway of this control socket is doing\n"
    "       tidegate new DIR                  make a project: a service, and a spec of it\n"
    "       tidegate test DIR [WORD...]       run the specs in DIR/spec by Busted, which gets the "
    "WORDs\n"
    "       tidegate version\n"
    "       tidegate help\n"
    "\n"
    "Options of run:\n"
    "  --listen ADDR    HOST:PORT, [V6]:PORT or unix:/PATH; port 0 takes a free one; or fd:N or "
    "fd:NAME,\n"
    "                   a socket that is handed over; may be repeated.  Without it: the sockets "
    "that\n"
    "                   are handed over, else what the script says, else 127.0.0.1:8080\n"
    "  --workers N      event loops, each with a thread and a Lua state; what the script says, "
    "else\n"
    "                   one for each processor\n"
    "  --tls-cert FILE  listen with TLS: a certificate with its chain, as PEM; instead of the "
    "script's\n"
    "  --tls-key FILE   and its key\n"
    "  --limit N=VALUE  a limit of the script's service table, which it replaces: sizes in bytes,\n"
    "                   times in seconds; may be repeated\n"
    "  --watch          load the script anew when it, or a module that it requires, was saved\n"
    "  --dev            show unhandled errors to the client\n"
    "  --log FORMAT     of the access log: text, json (and so is all else on stderr) or off; "
    "what the\n"
    "                   script says, else text\n"
    "  --quiet          no access log\n"
    "  --pidfile FILE   holds the process's number while it serves\n"
    "  --control PATH   a unix socket for `tidegate top`\n"
    "\n"
    "SIGHUP loads the script anew; when that fails, the last good one serves on.\n"
    "A first SIGINT or SIGTERM lets what is in flight finish, a second ends it at once.\n"
    "Exit codes: 0 fine, 1 the script, 2 usage, 3 the system.\n";

static bool refuse(const char *what, const char *why)
{
    fprintf(stderr, "tidegate: %s: %s\n", what, why);
    return false;
}

/* --- Values ----------------------------------------------------------------------------------- */

static bool set_dev(struct cli_options *options, const char *value)
{
    (void)value;
    options->dev = true;
    return true;
}

static bool set_watch(struct cli_options *options, const char *value)
{
    (void)value;
    options->watch = true;
    return true;
}

static bool set_quiet(struct cli_options *options, const char *value)
{
    (void)value;
    options->quiet = true;
    return true;
}

static bool set_pidfile(struct cli_options *options, const char *value)
{
    options->pidfile = value;
    return true;
}

static bool set_log(struct cli_options *options, const char *value)
{
    if (strcmp(value, "text") != 0 && strcmp(value, "json") != 0 && strcmp(value, "off") != 0) {
        fprintf(stderr, "tidegate: --log: %s is not text, json or off\n", value);
        return false;
    }
    options->log = value;
    return true;
}

static bool set_tls_cert(struct cli_options *options, const char *value)
{
    options->tls_cert = value;
    return true;
}

static bool set_tls_key(struct cli_options *options, const char *value)
{
    options->tls_key = value;
    return true;
}

static bool set_control(struct cli_options *options, const char *value)
{
    options->control = value;
    return true;
}

static bool set_json(struct cli_options *options, const char *value)
{
    (void)value;
    options->json = true;
    return true;
}

static bool set_once(struct cli_options *options, const char *value)
{
    (void)value;
    options->once = true;
    return true;
}

/* A whole number in decimal digits from least to most, else -1. */
static long number(const char *text, long least, long most)
{
    char *end;
    if (*text < '0' || *text > '9' || strlen(text) > 9)
        return -1;
    long n = strtol(text, &end, 10);
    return *end || n < least || n > most ? -1 : n;
}

static bool set_workers(struct cli_options *options, const char *value)
{
    long n = number(value, 1, WORKERS_MAX);
    if (n < 0) {
        fprintf(stderr, "tidegate: --workers: %s is not a number from 1 to %d\n", value,
                WORKERS_MAX);
        return false;
    }
    options->workers = (unsigned)n;
    return true;
}

/* Whether it has an address's shape.  What it names is for the system to say. */
static bool is_address(const char *text)
{
    if (strncmp(text, "http://", 7) == 0 || strncmp(text, "https://", 8) == 0)
        text = strstr(text, "//") + 2;
    const char *colon = strrchr(text, ':');
    if (strncmp(text, "unix:", 5) == 0)
        return text[5] != '\0';
    if (strncmp(text, "fd:", 3) == 0)
        return text[3] != '\0';
    return colon && colon != text && number(colon + 1, 0, 65535) >= 0;
}

static bool set_listen(struct cli_options *options, const char *value)
{
    if (!is_address(value)) {
        fprintf(stderr, "tidegate: --listen: %s is not HOST:PORT, [V6]:PORT, unix:/PATH or fd:N\n",
                value);
        return false;
    }
    options->listen[options->listen_count++] = value;
    return true;
}

static bool set_limit(struct cli_options *options, const char *value)
{
    options->limits[options->limit_count++] = value;
    return true;
}

/* --- Words ------------------------------------------------------------------------------------ */

static const struct command {
    const char *name;
    enum cli_command command;
    const char *needs; /* its first word; NULL: it takes none */
} commands[] = {
    {"run", CLI_RUN, "a script"},
    {"check", CLI_CHECK, "a script"},
    {"routes", CLI_ROUTES, "a script"},
    {"explain", CLI_EXPLAIN, "a script"},
    {"new", CLI_NEW, "a folder"},
    {"test", CLI_TEST, "a folder"},
    {"top", CLI_TOP, NULL},
    {"version", CLI_VERSION, NULL},
    {"help", CLI_HELP, NULL},
    {"--version", CLI_VERSION, NULL},
    {"--help", CLI_HELP, NULL},
    {"-h", CLI_HELP, NULL},
};

enum { RUN = 1U << CLI_RUN, TOP = 1U << CLI_TOP };

static const struct option {
    const char *name;
    bool (*set)(struct cli_options *options, const char *value);
    bool has_value;
    unsigned commands; /* whose it is */
} table[] = {
    {"--listen", set_listen, true, RUN},
    {"--limit", set_limit, true, RUN},
    {"--workers", set_workers, true, RUN},
    {"--dev", set_dev, false, RUN},
    {"--watch", set_watch, false, RUN},
    {"--log", set_log, true, RUN},
    {"--quiet", set_quiet, false, RUN},
    {"--pidfile", set_pidfile, true, RUN},
    {"--control", set_control, true, RUN | TOP},
    {"--tls-cert", set_tls_cert, true, RUN},
    {"--tls-key", set_tls_key, true, RUN},
    {"--json", set_json, false, TOP},
    {"--once", set_once, false, TOP},
};

enum {
    COMMANDS = sizeof commands / sizeof *commands,
    OPTIONS = sizeof table / sizeof *table,
};

static unsigned least(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

/* How many letters to insert, drop or replace to make one of the other; a swap of two neighbours
 * counts as one. */
static unsigned distance(const char *a, const char *b)
{
    unsigned rows[3][WORD_MAX + 1];
    unsigned *before = rows[0];
    unsigned *last = rows[1];
    unsigned *row = rows[2];
    size_t len = strlen(b);
    if (strlen(a) > WORD_MAX || len > WORD_MAX)
        return WORD_MAX;
    for (unsigned j = 0; j <= len; j++)
        last[j] = before[j] = j;
    for (size_t i = 0; a[i]; i++) {
        row[0] = (unsigned)i + 1;
        for (size_t j = 0; j < len; j++) {
            row[j + 1] = least(last[j] + (a[i] != b[j]), least(last[j + 1], row[j]) + 1);
            if (i && j && a[i] == b[j - 1] && a[i - 1] == b[j])
                row[j + 1] = least(row[j + 1], before[j - 1] + 1);
        }
        unsigned *spare = before;
        before = last;
        last = row;
        row = spare;
    }
    return last[len];
}

struct nearest {
    const char *word;
    const char *known;
    unsigned distance;
};

static void consider(struct nearest *nearest, const char *known)
{
    unsigned d = distance(nearest->word, known);
    if (d < nearest->distance && d <= (strlen(known) - strspn(known, "-")) / 2) {
        nearest->distance = d;
        nearest->known = known;
    }
}

static bool refuse_unknown(const struct nearest *nearest, const char *kind)
{
    if (nearest->known)
        fprintf(stderr, "tidegate: %s: unknown %s; did you mean %s?\n", nearest->word, kind,
                nearest->known);
    else
        fprintf(stderr, "tidegate: %s: unknown %s; `tidegate help` lists them\n", nearest->word,
                kind);
    return false;
}

static const struct command *find_command(const char *word)
{
    struct nearest nearest = {word, NULL, WORD_MAX};
    for (size_t i = 0; i < COMMANDS; i++) {
        if (strcmp(word, commands[i].name) == 0)
            return &commands[i];
        consider(&nearest, commands[i].name);
    }
    refuse_unknown(&nearest, "command");
    return NULL;
}

/* word is --name or --name=value; *value is what follows the =, or NULL. */
static const struct option *find_option(char *word, const char **value)
{
    char *equals = strchr(word, '=');
    struct nearest nearest = {word, NULL, WORD_MAX};
    *value = equals ? equals + 1 : NULL;
    if (equals)
        *equals = '\0';
    for (size_t i = 0; i < OPTIONS; i++) {
        if (strcmp(word, table[i].name) == 0)
            return &table[i];
        consider(&nearest, table[i].name);
    }
    refuse_unknown(&nearest, "option");
    return NULL;
}

/* Returns how many words it took, 0 after an error. */
static int take_option(struct cli_options *options, char **words)
{
    const char *value;
    const struct option *option = find_option(words[0], &value);
    if (!option)
        return 0;
    if (!(option->commands & 1U << options->command))
        return refuse(option->name, "this command does not have this option");
    if (!option->has_value && value)
        return refuse(option->name, "takes no value");
    int taken = option->has_value && !value ? 2 : 1;
    if (taken == 2)
        value = words[1];
    if (option->has_value && (!value || !*value))
        return refuse(option->name, "needs a value");
    return option->set(options, value) ? taken : 0;
}

static bool take_word(struct cli_options *options, const struct command *command, const char *word)
{
    if (!command->needs)
        return refuse(word, "this command takes no arguments");
    if (!options->script)
        options->script = word;
    else if (command->command == CLI_NEW)
        return refuse(word, "a second folder; there can be one");
    else if (command->command != CLI_EXPLAIN)
        return refuse(word, "a second script; there can be one");
    else if (!options->method)
        options->method = word;
    else if (!options->path)
        options->path = word;
    else
        return refuse(word, "one word too many");
    return true;
}

/* The rest is Busted's, but for a -- before it. */
static void take_args(struct cli_options *options, char **words)
{
    if (strcmp(*words, "--") == 0)
        words++;
    options->args = (const char *const *)words;
    while (words[options->arg_count])
        options->arg_count++;
}

static bool parse_rest(struct cli_options *options, const struct command *command, char **words)
{
    bool only_words = false; /* after -- */
    while (*words) {
        char *word = *words;
        if (command->command == CLI_TEST && options->script) {
            take_args(options, words);
            return true;
        }
        if (only_words || word[0] != '-' || !word[1]) {
            if (!take_word(options, command, word))
                return false;
            words++;
        } else if (strcmp(word, "--") == 0) {
            only_words = true;
            words++;
        } else if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
            options->command = CLI_HELP;
            return true;
        } else if (command->command != CLI_RUN && command->command != CLI_TOP) {
            return refuse(word, "this command takes no options");
        } else {
            int taken = take_option(options, words);
            if (!taken)
                return false;
            words += taken;
        }
    }
    if (command->command == CLI_TOP && !options->control)
        return refuse(command->name, "needs --control and the path of a gateway's socket");
    if (command->command == CLI_EXPLAIN && options->script && !options->path)
        return refuse(command->name, "needs a method and a path");
    if (!command->needs || options->script)
        return true;
    fprintf(stderr, "tidegate: %s: needs %s\n", command->name, command->needs);
    return false;
}

bool cli_options_parse(struct cli_options *options, int argc, char **argv)
{
    *options = (struct cli_options){.command = CLI_HELP};
    if (argc < 2) {
        fputs(cli_usage, stderr);
        return false;
    }
    options->listen = calloc((size_t)argc, sizeof *options->listen);
    options->limits = calloc((size_t)argc, sizeof *options->limits);
    if (!options->listen || !options->limits)
        return refuse("options", "not enough memory");
    const struct command *command = find_command(argv[1]);
    if (!command)
        return false;
    options->command = command->command;
    return parse_rest(options, command, argv + 2);
}

void cli_options_fini(struct cli_options *options)
{
    free(options->listen);
    free(options->limits);
    options->limits = NULL;
    options->listen = NULL;
}
