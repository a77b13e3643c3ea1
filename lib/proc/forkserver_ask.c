/*
 * What is asked of a forkserver, by who has nothing else to wait for it with than its own pipe for each start.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/fd.h"
#include "base/limits.h"
#include "proc/forkserver.h"
#include "proc/spawn.h"

int forkserver_ask(int sock, const struct mps_spawn *s, int pipe)
{
	struct mps_fd rows[KEEPER_FDS_MAX];
	int fds[FORKSERVER_FDS_MAX] = { pipe };
	struct forkserver_request head = { .mark = s->mark };
	struct mps_spawn numbered = *s;
	AUTO_CLOSE int memfd = -1;
	AUTO_BUF spawn = BUF_INIT;
	AUTO_BUF b = BUF_INIT;
	size_t n = 1;

	for (size_t i = 0; i < s->n_fds; i++) {
		rows[i] = (struct mps_fd){ s->fds[i].child, (int)i, 0 };
		fds[n++] = s->fds[i].fd;
	}
	numbered.fds = rows;
	mps_spawn_encode(&numbered, &spawn);
	if (spawn.len > KEEPER_SPAWN_MAX)
		return -E2BIG;
	head.is_long = spawn.len > KEEPER_MSG_MAX - 64;
	forkserver_encode(&head, &b);
	if (head.is_long) {
		memfd = mps_seal(spawn.p, spawn.len);
		if (memfd < 0)
			return memfd;
		fds[n++] = memfd;
	} else {
		buf_add(&b, spawn.p, spawn.len);
	}
	if (b.failed || spawn.failed)
		return -ENOMEM;
	return fd_send(sock, &(struct iovec){ b.p, b.len }, 1, fds, n);
}
