/* program.h - a Lua file that runs as a program, with a loop below it: it may wait wherever it is. */
#ifndef TG_LUA_PROGRAM_H
#define TG_LUA_PROGRAM_H

#include <stdbool.h>
#include <stddef.h>

#include "lua/script.h"

struct tg_task;

struct tg_lua_program {
    struct tg_lua_script *script; /* borrowed, with its options; made as a program */
    const char *path;
    const char *text; /* or NULL */
    const char *const *args;
    size_t arg_count;
    struct tg_buf *problem; /* what it has raised, with its traceback */
    int code;               /* what it gave to os.exit(), or 0 */
    void (*done)(void *arg);
    void *arg;
    struct tg_task *task;
    bool over;
};

/* On the loop's thread, once the script is adopted.  done(arg) is called when the program has ended, from
 * the loop or from inside Lua, or before this returns. */
void tg_lua_program_start(struct tg_lua_program *p);
void tg_lua_program_fini(struct tg_lua_program *p); /* cancels it; before the script is freed */

#endif
