/*
 * libmpsup-preload.so: stands before the functions of libc that make or remove objects with a name, and tells the
 * resource tracker of what the program makes: the name before the object, so that no kill can come between. Told of is
 * what was not there before; what is told of twice or in vain does no harm, and what nobody is told of (a relative path,
 * a system call without libc) the tracker finds in another way.
 *
 * __open_2 and the like of _FORTIFY_SOURCE are not here: they abort where they would create. Nor is what libc does
 * within itself: shm_open(3) opens without passing here.
 */
#include <dlfcn.h>

#include "preload/hook.h"

static const char *const names[N_HOOKS] = {
#define X(result, name, parameters) [AT_##name] = #name,
	HOOKS(X)
#undef X
};

static void *next[N_HOOKS];

/*
 * Before main, since dlsym(3) takes a lock: the first call may come in a signal handler. A constructor of another object
 * may come before ours; then the first call finds them.
 */
__attribute__((constructor)) static void find_next(void)
{
	for (int i = 0; i < N_HOOKS; i++)
		next[i] = dlsym(RTLD_NEXT, names[i]);
	tell_begin();
}

void *hook_next(int i)
{
	if (__builtin_expect(next[i] == NULL, 0))
		find_next();
	return next[i];
}
