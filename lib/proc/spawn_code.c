/*
 * A struct mps_spawn in a message and back, and a message that is too long for a datagram. The decoder trusts nothing: every length is checked, every descriptor index
 * is bounded by what travelled, rows must be sorted.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/fd.h"
#include "base/limits.h"
#include "base/wire.h"
#include "proc/spawn.h"

void mps_spawn_encode(const struct mps_spawn *s, struct buf *to)
{
	wire_put_str(to, s->path);
	wire_put_str(to, s->cwd);
	wire_put_u32(to, s->session);
	wire_put_u32(to, (uint32_t)s->umask);
	wire_put_u64(to, s->nofile);
	wire_put_u32(to, (uint32_t)s->pdeathsig);
	wire_put_u32(to, (uint32_t)s->n_fds);
	for (size_t i = 0; i < s->n_fds; i++) {
		wire_put_u32(to, (uint32_t)s->fds[i].child);
		wire_put_u32(to, (uint32_t)s->fds[i].fd);
		wire_put_u32(to, s->fds[i].flags);
	}
	wire_put_u32(to, s->set_user);
	if (s->set_user) {
		wire_put_u32(to, s->uid);
		wire_put_u32(to, s->gid);
		wire_put_bytes(to, s->groups, s->n_groups * sizeof(gid_t));
	}
	wire_put_strv(to, s->argv);
	wire_put_strv(to, s->envp);
	wire_put_str(to, s->symbol);
	wire_put_u32(to, s->method);
	wire_put_u32(to, s->renew);
	wire_put_str(to, s->server);
	wire_put_strv(to, s->preload);
}

/* Offsets into the scratch buffer while it may still move; pointers once all is there. */
struct layout {
	size_t fds, groups, argv, envp, preload;
};

static void align_scratch(struct buf *scratch)
{
	static const char zero[sizeof(void *)];

	buf_add(scratch, zero, (sizeof(void *) - scratch->len % sizeof(void *)) % sizeof(void *));
}

static size_t decode_fds(struct wire *from, size_t n_fds, struct buf *scratch, struct mps_spawn *s)
{
	size_t at, n = wire_u32(from);
	int last = -1;

	align_scratch(scratch);
	at = scratch->len;
	if (n > KEEPER_FDS_MAX)
		from->failed = true;
	for (size_t i = 0; i < n && !from->failed; i++) {
		struct mps_fd fd;

		fd.child = (int)wire_u32(from);
		fd.fd = (int)wire_u32(from);
		fd.flags = wire_u32(from);
		if (fd.child <= last || fd.child >= 1 << 16 || fd.flags > 3 || fd.fd < 0)
			from->failed = true;
		else if (fd.flags & MPS_FD_ROLE ? fd.fd != MPS_FD_IDLE && fd.fd != MPS_FD_NULL
						: (size_t)fd.fd >= n_fds)
			from->failed = true;
		last = fd.child;
		buf_add(scratch, &fd, sizeof(fd));
	}
	s->n_fds = n;
	return at;
}

static size_t decode_groups(struct wire *from, struct buf *scratch, struct mps_spawn *s)
{
	size_t at, bytes;
	const void *p;

	align_scratch(scratch);
	at = scratch->len;
	s->set_user = wire_u32(from) != 0;
	if (!s->set_user)
		return at;
	s->uid = wire_u32(from);
	s->gid = wire_u32(from);
	p = wire_bytes(from, &bytes);
	if (bytes % sizeof(gid_t) != 0)
		from->failed = true;
	if (p != NULL)
		buf_add(scratch, p, bytes);
	s->n_groups = bytes / sizeof(gid_t);
	return at;
}

/* `room` pointers in front of the first are left free. */
static size_t decode_strv(struct wire *from, struct buf *scratch, size_t min, size_t room)
{
	uint32_t n = wire_u32(from);
	const char *s = NULL;
	size_t at;

	align_scratch(scratch);
	while (room-- > 0)
		buf_add(scratch, &s, sizeof(s));
	at = scratch->len;
	/* A string takes five bytes at least, so a count that lies ends here. */
	if (n < min || n > from->n / 5)
		from->failed = true;
	for (uint32_t i = 0; i < n && !from->failed; i++) {
		s = wire_str(from);
		if (s == NULL)
			from->failed = true;
		buf_add(scratch, &s, sizeof(s));
	}
	s = NULL;
	buf_add(scratch, &s, sizeof(s));
	return at;
}

int mps_spawn_decode(struct wire *from, size_t n_fds, struct buf *scratch, struct mps_spawn *ret_s)
{
	struct mps_spawn s = { 0 };
	struct layout at;

	buf_reset(scratch);
	s.path = wire_str(from);
	s.cwd = wire_str(from);
	s.session = wire_u32(from);
	s.umask = (int)wire_u32(from);
	s.nofile = wire_u64(from);
	s.pdeathsig = (int)wire_u32(from);
	at.fds = decode_fds(from, n_fds, scratch, &s);
	at.groups = decode_groups(from, scratch, &s);
	at.argv = decode_strv(from, scratch, 1, MPS_ENTRY_ROOM);
	at.envp = decode_strv(from, scratch, 0, 0);
	s.symbol = wire_str(from);
	s.method = wire_u32(from);
	s.renew = wire_u32(from) != 0;
	s.server = wire_str(from);
	at.preload = decode_strv(from, scratch, 0, 0);
	if (scratch->failed) {
		buf_fini(scratch);
		return -ENOMEM;
	}
	if (!wire_done(from) || s.path == NULL || s.session > MPS_SESSION_KEEP || s.umask > 0777 ||
	    s.umask < -1 || s.pdeathsig < 0 || s.pdeathsig > 64 ||
	    s.method > MPS_METHOD_FORKSERVER ||
	    (s.method == MPS_METHOD_FORKSERVER) != (s.server != NULL))
		return -EBADMSG;
	s.fds = (const struct mps_fd *)(const void *)(scratch->p + at.fds);
	s.groups = (const gid_t *)(const void *)(scratch->p + at.groups);
	s.argv = (char **)(void *)(scratch->p + at.argv);
	s.envp = (char **)(void *)(scratch->p + at.envp);
	s.preload = (char **)(void *)(scratch->p + at.preload);
	*ret_s = s;
	return 0;
}

#define SEALS (F_SEAL_SHRINK | F_SEAL_WRITE)

int mps_seal(const void *p, size_t n)
{
	AUTO_CLOSE int fd = memfd_create("mpsup-start", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int r;

	if (fd < 0)
		return -errno;
	r = fd_write_all(fd, p, n);
	if (r < 0)
		return r;
	if (fcntl(fd, F_ADD_SEALS, SEALS | F_SEAL_GROW) < 0)
		return -errno;
	return TAKE_FD(fd);
}

int mps_unseal(int fd, size_t max, void **ret_p, size_t *ret_n)
{
	off_t size = lseek(fd, 0, SEEK_END);
	int seals;
	void *p;

	if (size <= 0 || (size_t)size > max)
		return -EBADMSG;
	seals = fcntl(fd, F_GET_SEALS); /* what is no memfd says -1 */
	if (seals < 0 || (seals & SEALS) != SEALS)
		return -EBADMSG;
	p = mmap(NULL, (size_t)size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	*ret_p = p;
	*ret_n = (size_t)size;
	return 0;
}
