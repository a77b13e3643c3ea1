/*
 * A tree of processes is known by a resource limit that only it has, and that each of them inherits. Header only.
 */
#ifndef TESTS_STRESS_LIMIT_H
#define TESTS_STRESS_LIMIT_H

#include <poll.h>
#include <stdbool.h>
#include <sys/resource.h>

#include "base/mtime.h"
#include "proc/pidfd.h"
#include "proc/tree.h"
#include "stress.h"

static inline void set_limit(uint64_t value)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_RTTIME, &r) < 0)
		fail("getrlimit: %s", strerror(errno));
	r.rlim_cur = value;
	if (setrlimit(RLIMIT_RTTIME, &r) < 0)
		fail("setrlimit: %s", strerror(errno));
}

/* One that has ended, and that the machine's first process has not reaped yet, is none any more. */
static inline bool is_of(pid_t pid, void *user)
{
	struct proc_stat st;
	struct rlimit r;

	return prlimit(pid, RLIMIT_RTTIME, NULL, &r) == 0 && r.rlim_cur == *(uint64_t *)user &&
	       proc_stat_read(pid, &st) == 0 && st.state != 'Z';
}

static inline void show(pid_t pid)
{
	char command[100];

	snprintf(command, sizeof(command), "ps -o pid,ppid,sid,stat,etimes,args -p %d >&2", pid);
	if (system(command) < 0)
		fail("ps: %s", strerror(errno));
}

/* Each of them is waited for by its pidfd; new ones may have come meanwhile. */
static inline void await_end(uint64_t limit, int patience_s, const char *after)
{
	int64_t until = mps_now().ns + patience_s * MPS_NS_PER_S;
	struct pids list = { 0 };

	for (;;) {
		processes_list(is_of, &limit, &list);
		if (list.n == 0)
			break;
		for (size_t i = 0; i < list.n; i++) {
			struct pollfd p = { .fd = pidfd_open_checked(list.p[i]), .events = POLLIN };
			int64_t left = (until - mps_now().ns) / MPS_NS_PER_MS;

			if (p.fd >= 0 && poll(&p, 1, left > 0 ? (int)left : 0) == 0) {
				show(list.p[i]);
				fail("left after %s", after);
			}
			if (p.fd >= 0)
				close(p.fd);
		}
	}
	pids_fini(&list);
}

#endif
