/* project.c - writes a project, and runs the specs of one. */
#include "cli/project.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <tidegate.h>

#include "cli/embedded.h"
#include "cli/log.h"

static const char folder_of_files[] = "project/";

/* --- new ---------------------------------------------------------------------------------------- */

/* Makes the folders of path, below the working directory of fd, but for its last name. */
static int make_folders(int fd, const char *path)
{
    char folder[PATH_MAX];
    for (const char *slash = strchr(path, '/'); slash; slash = strchr(slash + 1, '/')) {
        size_t len = (size_t)(slash - path);
        if (len >= sizeof folder)
            return ENAMETOOLONG;
        memcpy(folder, path, len);
        folder[len] = '\0';
        if (len && mkdirat(fd, folder, 0777) != 0 && errno != EEXIST)
            return errno;
    }
    return 0;
}

static int write_all(int fd, const char *text, size_t len)
{
    while (len) {
        ssize_t n = write(fd, text, len);
        if (n < 0 && errno != EINTR)
            return errno;
        text += n > 0 ? n : 0;
        len -= n > 0 ? (size_t)n : 0;
    }
    return 0;
}

static int write_file(int folder, const char *path, const struct cli_file *file)
{
    int error = make_folders(folder, path);
    if (error)
        return error;
    int fd = openat(folder, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0)
        return errno;
    error = write_all(fd, file->text, file->len);
    if (close(fd) != 0 && !error)
        error = errno;
    return error;
}

static int is_empty(const char *folder, bool *empty)
{
    DIR *dir = opendir(folder);
    const struct dirent *entry;
    if (!dir)
        return errno;
    *empty = true;
    while ((entry = readdir(dir)) != NULL) /* NOLINT(concurrency-mt-unsafe): this stream is ours */
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            *empty = false;
    closedir(dir);
    return 0;
}

static const char *write_project(int folder, const char **what)
{
    size_t prefix = strlen(folder_of_files);
    for (const struct cli_file *file = cli_files; file->path; file++) {
        if (strncmp(file->path, folder_of_files, prefix) != 0)
            continue;
        *what = file->path + prefix;
        int error = write_file(folder, *what, file);
        if (error)
            return strerrordesc_np(error);
    }
    return NULL;
}

const char *cli_project_new(const char *folder, const char **what)
{
    bool empty = false;
    *what = folder;
    int error = make_folders(AT_FDCWD, folder);
    if (!error && mkdir(folder, 0777) != 0 && errno != EEXIST)
        error = errno;
    if (!error)
        error = is_empty(folder, &empty);
    if (error)
        return strerrordesc_np(error);
    if (!empty)
        return "is not empty: a project begins in a folder of its own";
    int fd = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return strerrordesc_np(errno);
    const char *why = write_project(fd, what);
    close(fd);
    return why;
}

/* --- test --------------------------------------------------------------------------------------- */

static const char *text_of(const char *path)
{
    for (const struct cli_file *file = cli_files; file->path; file++)
        if (strcmp(file->path, path) == 0)
            return file->text;
    return "";
}

static int run_specs(const char *const *args, size_t count, struct cli_log *log)
{
    struct tidegate_options o;
    int code = 0;
    tidegate_options_init(&o, sizeof o);
    o.script = "tidegate test";
    o.script_text = text_of("test.lua");
    o.log = cli_log_line;
    o.log_arg = log;
    o.log_level = TIDEGATE_WARN;
    enum tidegate_status status = tidegate_script_run(&o, args, count, &code);
    if (status == TIDEGATE_OK)
        return code;
    if (status != TIDEGATE_ESCRIPT)
        cli_log_say(log, TIDEGATE_ERROR, "test", "the system refused");
    return status == TIDEGATE_ESCRIPT ? 1 : 3;
}

int cli_project_test(const char *folder, const char *const *args, size_t count)
{
    if (chdir(folder) != 0) {
        fprintf(stderr, "tidegate: %s: %s\n", folder, strerrordesc_np(errno));
        return 3;
    }
    struct cli_log *log = cli_log_open(STDERR_FILENO, false);
    if (!log) {
        fputs("tidegate: log: no memory or thread for it\n", stderr);
        return 3;
    }
    signal(SIGPIPE, SIG_IGN); /* what is written to those that have left is an error */
    int code = run_specs(args, count, log);
    cli_log_close(log);
    return code;
}
