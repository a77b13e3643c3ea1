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

static void set_title(char **argv)
{
	char text[256] = "";

	for (size_t at = 0; *argv != NULL && at + 1 < sizeof(text); argv++, at = strlen(text))
		snprintf(text + at, sizeof(text) - at, "%s%s", at > 0 ? " " : "", *argv);
	title_set("%s", text);
}

void mps_entry_run(const char *object, const char *symbol, char **argv, int error_fd)
{
	char text[SPAWN_TEXT_MAX];
	int (*function)(int, char **);
	void *handle, *at;
	int argc = 0;

	while (argv[argc] != NULL)
		argc++;
	set_title(argv);
	fcntl(error_fd, F_SETFD, FD_CLOEXEC); /* constructors may start programs */
	handle = mps_entry_load(object, text, sizeof(text));
	if (handle == NULL)
		mps_child_fail(error_fd, MPS_STEP_ENTRY, 0, text);
	at = dlsym(handle, symbol);
	if (at == NULL) {
		take_reason(object, text, sizeof(text));
		mps_child_fail(error_fd, MPS_STEP_ENTRY, 0, text);
	}
	close(error_fd);
	memcpy(&function, &at, sizeof(function)); /* as dlsym(3) has it */
	exit(function(argc, argv));
}
