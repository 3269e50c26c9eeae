/* where.c - the line of the script at which a task is suspended. */
#include <stdio.h>
#include <string.h>

#include "lua/task_impl.h"

enum { LEVELS_MAX = 100 };

/* The end of a long path says more than its beginning. */
static void print(const lua_Debug *ar, char *text, size_t size)
{
    char line[16];
    const char *name = ar->source + 1; /* behind the @ of a file, or the = of a name */
    int digits = snprintf(line, sizeof line, ":%d", ar->currentline);
    size_t len = strlen(name);
    size_t room = size - 1 - (size_t)digits;
    if (len > room)
        name += len - room;
    snprintf(text, size, "%s%s", name, line);
}

/* Whether a function of the script's own was found; one of our modules is the next best. */
static bool look(lua_State *co, char *text, size_t size)
{
    lua_Debug ar;
    for (int level = 0; level < LEVELS_MAX && lua_getstack(co, level, &ar); level++) {
        lua_getinfo(co, "Sl", &ar); /* neither allocates nor raises */
        bool file = ar.source[0] == '@';
        if (ar.currentline <= 0 || (!file && *text))
            continue;
        print(&ar, text, size);
        if (file)
            return true;
    }
    return false;
}

void tg_task_where(const struct tg_task *task, char *text, size_t size)
{
    *text = '\0';
    if (size < 32 || (task->state != TG_TASK_WAITING && task->state != TG_TASK_READY))
        return;
    for (unsigned i = 0; i < task->chain_len; i++)
        if (look(task->chain[i], text, size))
            return;
    if (task->thread.co)
        look(task->thread.co, text, size);
}
