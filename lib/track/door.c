/*
 * See door.h.
 */
#include "track/door.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/mtime.h"

enum { BACKLOG = 4096 };

void door_set_option(int fd, int option)
{
	int one = 1;

	setsockopt(fd, SOL_SOCKET, option, &one, sizeof(one));
}

int door_open(const char *path, int *ret_fd, struct stat *ret_file)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -errno;
	if (strlen(path) >= sizeof(at.sun_path))
		return -ENAMETOOLONG;
	strcpy(at.sun_path, path);
	unlink(path);
	/* Those that the kernel hands on to connections made before they are accepted. */
	door_set_option(fd, SO_PASSCRED);
	if (bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0)
		return -errno;
	/* Who may come in is for the folder to say; as root programs of all users are ours. */
	if (chmod(path, geteuid() == 0 ? 0666 : 0600) < 0 || listen(fd, BACKLOG) < 0 ||
	    lstat(path, ret_file) < 0)
		return -errno;
	*ret_fd = TAKE_FD(fd);
	return 0;
}

int door_accept(int listener)
{
	struct pollfd p = { .fd = listener, .events = POLLIN };
	int fd;

	if (poll(&p, 1, 0) == 0)
		return -EAGAIN;
	fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	return fd < 0 ? -errno : fd;
}

bool door_read_control(struct msghdr *h, struct ucred *ret_who, int64_t *ret_sent)
{
	bool found = false;

	*ret_sent = 0;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c != NULL; c = CMSG_NXTHDR(h, c)) {
		if (c->cmsg_level != SOL_SOCKET)
			continue;
		if (c->cmsg_type == SCM_CREDENTIALS) {
			memcpy(ret_who, CMSG_DATA(c), sizeof(*ret_who));
			found = true;
		} else if (c->cmsg_type == SCM_TIMESTAMPNS) {
			struct timespec ts;

			memcpy(&ts, CMSG_DATA(c), sizeof(ts));
			*ret_sent = (int64_t)ts.tv_sec * MPS_NS_PER_S + ts.tv_nsec;
		}
	}
	return found;
}
