/*
 * In the build tree mpsup-host lies one folder above programs of tests: it is that which trackers are, if none is named.
 * Header only.
 */
#ifndef TESTS_FIND_HOST_H
#define TESTS_FIND_HOST_H

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static inline void find_host(void)
{
	char self[PATH_MAX] = "", host[PATH_MAX + 32];

	if (readlink("/proc/self/exe", self, sizeof(self) - 1) <= 0)
		abort();
	*strrchr(self, '/') = '\0';
	snprintf(host, sizeof(host), "%s/../mpsup-host", self);
	setenv("MPSUP_HOST", host, 0);
}

#endif
