/*
 * Waiting for somebody else's start. See join.h. The supervisor changes the mode of its socket when it listens, and the
 * lock is closed by the last who holds it: inotify(7) tells of both. Of the close it tells a moment before the kernel lets
 * go of the lock, so from then on it is looked at again, less and less often.
 */
#include "mpsup/join.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "sup/rundir.h"

#define WAIT_NS (10 * MPS_NS_PER_S)

static int begin(struct join *j, const char *dir)
{
	j->deadline.ns = mps_now().ns + WAIT_NS;
	j->fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (j->fd < 0)
		return -errno;
	/* Gone already: whoever held it has removed it. */
	if (inotify_add_watch(j->fd, dir, IN_ATTRIB | IN_CLOSE_WRITE | IN_DELETE | IN_DELETE_SELF) <
		    0 &&
	    errno != ENOENT)
		return -errno;
	return 0;
}

static bool matters(const struct inotify_event *e)
{
	if (e->mask & (IN_DELETE_SELF | IN_IGNORED | IN_Q_OVERFLOW))
		return true;
	if (e->len == 0)
		return false;
	return strcmp(e->name, "control.sock") == 0;
}

/* Others who try it close it too. */
static bool is_of_lock(const struct inotify_event *e)
{
	return e->len > 0 && strcmp(e->name, "lock") == 0 &&
	       (e->mask & (IN_CLOSE_WRITE | IN_DELETE)) != 0;
}

static bool read_events(struct join *j)
{
	_Alignas(struct inotify_event) char in[4096];
	bool any = false;
	ssize_t n;

	while ((n = read(j->fd, in, sizeof(in))) > 0)
		for (char *p = in; p < in + n;) {
			const struct inotify_event *e = (const void *)p;

			any = matters(e) || any;
			if (is_of_lock(e))
				j->look_after_ms = 1;
			p += sizeof(*e) + e->len;
		}
	return any;
}

static int timeout_of(const struct join *j)
{
	int64_t left = (j->deadline.ns - mps_now().ns) / MPS_NS_PER_MS + 1;

	return (int)(j->look_after_ms > 0 && j->look_after_ms < left ? j->look_after_ms : left);
}

/* True when somebody may have let go of it. */
static bool look_at_lock(struct join *j, const char *dir)
{
	if (j->look_after_ms == 0)
		return false;
	if (!rundir_is_held(dir))
		return true;
	j->look_after_ms *= 2;
	return false;
}

int join_wait(struct join *j, const char *dir, struct err *err)
{
	struct pollfd p = { .events = POLLIN };
	bool first = j->fd < 0;
	int r = first ? begin(j, dir) : 0;

	if (r < 0)
		return err_set(err, r, "cannot wait for another start: inotify: %s%s", strerror(-r),
			       r == -EMFILE ? "; see fs.inotify.max_user_instances" : "");
	if (first)
		return 0;
	p.fd = j->fd;
	do {
		if (mps_now().ns >= j->deadline.ns)
			return err_set(
				err, -ETIMEDOUT,
				"another start of the same instance does not get ready (%s); "
				"its own standard error or log says why",
				dir);
		poll(&p, 1, timeout_of(j));
	} while (!read_events(j) && !look_at_lock(j, dir));
	return 0;
}

void join_fini(struct join *j)
{
	fd_close(&j->fd);
}
