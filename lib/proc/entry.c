/*
 * Loading a shared object and calling a function of it. All is resolved at once, so that what is missing is missing at
 * the start; its names stay its own, so that it finds the same whatever else was loaded before.
 */
#include "proc/entry.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/limits.h"
#include "base/title.h"
#include "proc/spawn.h"

/* The linker begins with the name that it was given; whoever reads it has been told that already. */
static void take_reason(const char *object, char *text, size_t size)
{
	const char *why = dlerror();
	size_t n = strlen(object);

	if (why == NULL)
		why = "it cannot be loaded";
	if (strncmp(why, object, n) == 0 && strncmp(why + n, ": ", 2) == 0)
		why += n + 2;
	snprintf(text, size, "%s", why);
}

void *mps_entry_load(const char *object, char *text, size_t size)
{
	void *handle = dlopen(object, RTLD_NOW | RTLD_LOCAL);

	if (handle == NULL)
		take_reason(object, text, size);
	return handle;
}

/* By hand: the pages of printf(3) alone would cost a copy of a forkserver more than all else here. */
static void set_title(char **argv)
{
	char text[256];
	size_t n = 0;

	for (; *argv != NULL && n + 1 < sizeof(text); argv++) {
		if (n > 0)
			text[n++] = ' ';
		for (const char *c = *argv; *c != '\0' && n + 1 < sizeof(text); c++)
			text[n++] = *c;
	}
	text[n] = '\0';
	title_put(text);
}

static mps_entry *lookup(void *handle, const char *symbol)
{
	void *at = dlsym(handle, symbol);
	mps_entry *function;

	memcpy(&function, &at, sizeof(function)); /* as dlsym(3) has it */
	return function;
}

mps_entry *mps_entry_find(const char *object, const char *symbol)
{
	void *handle = dlopen(object, RTLD_NOW | RTLD_LOCAL | RTLD_NOLOAD);
	mps_entry *function = handle != NULL ? lookup(handle, symbol) : NULL;

	if (handle != NULL)
		dlclose(handle); /* it stays loaded */
	return function;
}

/* The last that exit(3) does, which calls this before what was registered earlier. */
static void leave(int status, void *unused)
{
	(void)unused;
	fflush(NULL); /* and not fcloseall(3): what others have not read of a file that all share is theirs */
	_exit(status);
}

void mps_entry_spare_destructors(void)
{
	on_exit(leave, NULL);
}

static _Noreturn void call(mps_entry *function, char **argv, int error_fd)
{
	int argc = 0;

	if (error_fd >= 0)
		close(error_fd);
	while (argv[argc] != NULL)
		argc++;
	exit(function(argc, argv));
}

void mps_entry_call(mps_entry *function, char **argv, int error_fd)
{
	set_title(argv);
	call(function, argv, error_fd);
}

void mps_entry_run(const char *object, const char *symbol, char **argv, int error_fd)
{
	char text[SPAWN_TEXT_MAX];
	mps_entry *function;
	void *handle;

	set_title(argv);
	fcntl(error_fd, F_SETFD, FD_CLOEXEC); /* constructors may start programs */
	handle = mps_entry_load(object, text, sizeof(text));
	if (handle == NULL)
		mps_child_fail(error_fd, MPS_STEP_ENTRY, 0, text);
	function = lookup(handle, symbol);
	if (function == NULL) {
		take_reason(object, text, sizeof(text));
		mps_child_fail(error_fd, MPS_STEP_ENTRY, 0, text);
	}
	call(function, argv, error_fd);
}
