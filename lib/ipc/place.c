/*
 * A listening socket and what goes away with it.
 */
#include "ipc/place.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "ipc/address.h"
#include "ipc/tracker.h"

/* -EEXIST: that name is taken. The tracker is told of it before; where there can be none it stays when we are killed. */
static int make_folder(const char *path)
{
	struct stat st;
	int r;

	if (lstat(path, &st) == 0)
		return -EEXIST;
	r = tracker_say(TRACK_REGISTER, TRACK_FOLDER, path);
	if (r < 0 && r != -ENOPKG)
		return r;
	if (mkdir(path, 0700) == 0) {
		tracker_made(TRACK_FOLDER, path);
		return 0;
	}
	r = -errno;
	tracker_say(TRACK_RETRACT, TRACK_FOLDER, path);
	return r;
}

/* A folder that only we may enter, and a socket in it. */
static int private_address(struct place *p, char **ret)
{
	enum { TRIES = 100 };
	const char *tmp = getenv("TMPDIR");
	int r = -EEXIST;

	for (int i = 0; r == -EEXIST && i < TRIES; i++) {
		uint64_t name;

		if (getrandom(&name, sizeof(name), 0) != sizeof(name))
			return -EIO;
		free(TAKE_PTR(p->folder));
		if (asprintf(&p->folder, "%s/mpsup-%016llx",
			     tmp != NULL && tmp[0] == '/' ? tmp : "/tmp",
			     (unsigned long long)name) < 0) {
			p->folder = NULL;
			return -ENOMEM;
		}
		r = make_folder(p->folder);
	}
	if (r < 0) {
		free(TAKE_PTR(p->folder));
		return r;
	}
	return asprintf(ret, "unix:%s/socket", p->folder) < 0 ? -ENOMEM : 0;
}

int place_open(struct place *p, const char *address, int backlog)
{
	AUTO_FREE char *own = NULL;
	struct stat st;
	int r;

	*p = (struct place){ .fd = -1, .owner = getpid() };
	if (address == NULL) {
		r = private_address(p, &own);
		if (r < 0)
			return r;
		address = own;
	}
	p->fd = address_listen(address, backlog > 0 ? backlog : SOMAXCONN, &p->address);
	if (p->fd < 0)
		return p->fd;
	if (address_path(p->address) != NULL && lstat(address_path(p->address), &st) == 0) {
		p->device = st.st_dev;
		p->inode = st.st_ino;
	}
	return fd_set_nonblock(p->fd, true);
}

static void remove_file(struct place *p)
{
	const char *path = p->address != NULL ? address_path(p->address) : NULL;
	struct stat st;

	if (p->owner != getpid())
		return; /* a copy of it, by fork */
	if (p->inode != 0 && lstat(path, &st) == 0 && st.st_ino == p->inode &&
	    st.st_dev == p->device)
		unlink(path);
	if (p->folder != NULL && rmdir(p->folder) == 0)
		tracker_say(TRACK_REMOVED, TRACK_FOLDER, p->folder);
}

void place_close(struct place *p)
{
	remove_file(p);
	fd_close(&p->fd);
	free(p->address);
	free(p->folder);
	*p = (struct place){ .fd = -1 };
}

bool place_is_welcome(int fd)
{
	struct ucred who;
	socklen_t size = sizeof(who);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) == 0 &&
	       (who.uid == geteuid() || who.uid == 0);
}
