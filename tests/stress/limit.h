/*
 * A tree of processes is known by a resource limit that only it has, and that each of them inherits. Header only.
 */
#ifndef TESTS_STRESS_LIMIT_H
#define TESTS_STRESS_LIMIT_H

#include <stdbool.h>
#include <sys/resource.h>

#include "proc/tree.h"
#include "stress.h"

static void set_limit(uint64_t value)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_RTTIME, &r) < 0)
		fail("getrlimit: %s", strerror(errno));
	r.rlim_cur = value;
	if (setrlimit(RLIMIT_RTTIME, &r) < 0)
		fail("setrlimit: %s", strerror(errno));
}

/* One that has ended, and that the machine's first process has not reaped yet, is none any more. */
static bool is_of(pid_t pid, void *user)
{
	struct proc_stat st;
	struct rlimit r;

	return prlimit(pid, RLIMIT_RTTIME, NULL, &r) == 0 && r.rlim_cur == *(uint64_t *)user &&
	       proc_stat_read(pid, &st) == 0 && st.state != 'Z';
}

#endif
