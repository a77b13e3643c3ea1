/*
 * pidfds, and what to do on kernels without them.
 */
#include "proc/pidfd.h"

#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/feature.h"
#include "proc/tree.h"

int pidfd_open_checked(pid_t pid)
{
	static signed char allowed = -1;
	long fd;

	if (allowed < 0)
		allowed = feature_allowed(FEATURE_PIDFD);
	if (!allowed)
		return -ENOSYS;
	fd = syscall(SYS_pidfd_open, pid, 0);
	return fd < 0 ? -errno : (int)fd;
}

int pidfd_open_child(pid_t pid)
{
	int fd = pidfd_open_checked(pid);

	return fd < 0 ? -1 : fd;
}

int pidfd_signal(int pidfd, pid_t pid, int sig)
{
	if (pidfd >= 0)
		return syscall(SYS_pidfd_send_signal, pidfd, sig, NULL, 0) < 0 ? -errno : 0;
	return kill(pid, sig) < 0 ? -errno : 0;
}

bool process_runs(pid_t pid, const struct proc_stat *st)
{
	struct pollfd p = { .events = POLLIN };
	bool runs;

	if (st->state != 'Z' && st->state != 'X')
		return true;
	p.fd = pidfd_open_checked(pid);
	if (p.fd < 0)
		return false;
	runs = poll(&p, 1, 0) == 0;
	close(p.fd);
	return runs;
}
