/* tsan_longjmp.c - the longjmp of Debian's Lua (a fortified one), made known to ThreadSanitizer.
 *
 * It knows the plain one alone.  Of any other it does not see that frames are left: they stay on the
 * stack that it keeps for each thread, until that overflows.
 */
#undef _FORTIFY_SOURCE
#include <setjmp.h>

/* NOLINTNEXTLINE(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp): glibc names it so */
__attribute__((visibility("default"), noreturn)) void __longjmp_chk(jmp_buf env, int value);

/* NOLINTNEXTLINE(bugprone-reserved-identifier,cert-dcl37-c,cert-dcl51-cpp) */
void __longjmp_chk(jmp_buf env, int value)
{
    longjmp(env, value);
}
