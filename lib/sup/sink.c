/*
 * Writing to a target: see sink.h. Files only we append to: so what a kill in the middle of write(2) did is told by
 * their size.
 */
#include "sup/sink.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/fd.h"
#include "base/xalloc.h"
#include "sup/files.h"
#include "sup/rotate.h"

/* A target that fails so may work again: a full disk, a full pipe. */
static bool error_passes(int error)
{
	switch (error) {
	case EAGAIN:
	case EINTR:
	case ENOSPC:
	case EDQUOT:
	case EFBIG:
	case EIO:
	case ENOMEM:
	case EMFILE:
	case ENFILE:
	case ENOENT: /* the file was taken away and cannot be made again yet */
	case EACCES:
	case EROFS:
	case ENOTDIR:
	case ELOOP: /* path_open(): what lies there is not for us, until that is mended */
	case EMLINK:
		return true;
	default:
		return false;
	}
}

/* ---------------------------------------------------------------------------------------------------- files */

static bool ends_in_line(const struct sink *k)
{
	AUTO_CLOSE int fd = k->size > 0 ? open(k->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK) : -1;
	char last;

	return fd >= 0 && pread(fd, &last, 1, k->size - 1) == 1 && last != '\n';
}

/* Takes fd as the present file. */
static int use_file(struct sink *k, int fd)
{
	dev_t dev = k->dev;
	ino_t inode = k->inode;
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (k->fd != fd)
		fd_close(&k->fd);
	k->fd = fd;
	k->dev = st.st_dev;
	k->inode = st.st_ino;
	k->size = st.st_size;
	k->in_line = ends_in_line(k);
	k->moved = false;
	k->limit = k->maxbytes;
	if (k->on_changed != NULL && (dev != k->dev || inode != k->inode))
		k->on_changed(k, dev, inode, k->user);
	return 0;
}

static int open_again(struct sink *k)
{
	int fd = files_open_log(k->path, k->mode), r;

	if (fd < 0)
		return fd;
	r = use_file(k, fd);
	if (r < 0)
		close(fd);
	return r;
}

/* The new file is for the same eyes as the old one. */
static void pass_on_mode(const struct sink *k, const struct stat *old)
{
	if (fchmod(k->fd, old->st_mode & 0777) == 0 && geteuid() == 0 &&
	    fchown(k->fd, old->st_uid, old->st_gid) < 0)
		return; /* a file system without owners */
}

static int start_over(struct sink *k)
{
	struct stat old;
	int r;

	if (k->backups <= 0) {
		if (ftruncate(k->fd, 0) < 0)
			return -errno;
		k->size = 0;
		return 0;
	}
	if (fstat(k->fd, &old) < 0)
		return -errno;
	fd_close(&k->gone);
	r = rotate_shift(k->path, k->backups, &k->gone);
	if (r == 0)
		r = open_again(k);
	if (r == 0)
		pass_on_mode(k, &old);
	return r;
}

static void rotate(struct sink *k)
{
	int r = start_over(k);

	if (r < 0) {
		/* Lines are worth more than a bound. */
		k->trouble = -r;
		k->limit += k->maxbytes;
		return;
	}
	k->in_line = false;
	k->rotations++;
}

/* Its size now, and whether it is still the file with this name. */
static void look(struct sink *k)
{
	struct stat st;

	if (stat(k->path, &st) < 0 || st.st_ino != k->inode || st.st_dev != k->dev) {
		k->moved = true;
		if (fstat(k->fd, &st) < 0)
			return;
		if (st.st_nlink == 0)
			k->in_line = false; /* nobody will read the rest of the line there */
	}
	if (st.st_size < k->size)
		k->in_line = false; /* cut by somebody */
	k->size = st.st_size;
}

static size_t to_line_end(const char *p, size_t n)
{
	const char *end = memchr(p, '\n', n);

	return end != NULL ? (size_t)(end - p) + 1 : n;
}

/* How much of these bytes belongs into the present file, which the call may replace by a new one. */
static int64_t fit(struct sink *k, const char *p, size_t n)
{
	const char *cut = NULL;
	int64_t room;
	int r;

	look(k);
	if (k->moved && k->in_line)
		return (int64_t)to_line_end(p, n);
	if (k->moved && (r = open_again(k)) < 0)
		return r;
	room = k->limit - k->size;
	if (k->maxbytes <= 0 || (int64_t)n <= room)
		return (int64_t)n;
	if (room > 0)
		cut = memrchr(p, '\n', (size_t)room);
	if (cut != NULL)
		return cut - p + 1;
	if (k->in_line || k->size == 0)
		return (int64_t)to_line_end(p, n);
	rotate(k);
	room = k->limit - k->size;
	if ((int64_t)n <= room)
		return (int64_t)n;
	if (room > 0)
		cut = memrchr(p, '\n', (size_t)room);
	return cut != NULL ? cut - p + 1 : (int64_t)to_line_end(p, n);
}

/* ------------------------------------------------------------------------------------------------- writing */

static ssize_t write_file(struct sink *k, struct window *w, uint64_t from)
{
	struct log_slot *slot = logs_slot(k->logs, k->slot);
	uint32_t head = window_head(w);
	const char *p = w->p + head;
	int64_t n = fit(k, p, window_len(w));
	ssize_t done;

	if (n < 0)
		return n;
	log_store(&slot->before, (uint64_t)k->size);
	log_store(&slot->inode, k->inode);
	log_store(&slot->from, from);
	log_store(&slot->head, head);
	log_store(&slot->n, (uint64_t)n);
	done = write(k->fd, p, (size_t)n);
	if (done > 0) {
		k->size += done;
		k->in_line = p[done - 1] != '\n';
		window_set(w, head + (uint32_t)done, window_tail(w));
	} else if (done < 0) {
		done = -errno;
	}
	log_store(&slot->n, 0);
	return done;
}

/* A kill between these two repeats what was written: a file that is our standard output, or an old kernel's terminal. */
static ssize_t write_plain(struct sink *k, struct window *w)
{
	uint32_t head = window_head(w);
	ssize_t done = write(k->fd, w->p + head, window_len(w));

	if (done < 0)
		return -errno;
	window_set(w, head + (uint32_t)done, window_tail(w));
	return done;
}

static ssize_t write_stream(struct sink *k, struct window *w, uint64_t from)
{
	uint32_t head = window_head(w);
	ssize_t done =
		k->plain ? -EINVAL : logs_write(k->logs, k->slot, from, w, k->fd, window_len(w));

	if (done == -EINVAL) {
		k->plain = true;
		done = write_plain(k, w);
	}
	if (done > 0)
		k->in_line = w->p[head + done - 1] != '\n';
	return done;
}

int sink_connect_syslog(struct sink *k)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	AUTO_CLOSE int fd = -1;

	if (k->fd >= 0)
		return 0;
	if (strlen(k->path) >= sizeof(a.sun_path))
		return -ENAMETOOLONG;
	strcpy(a.sun_path, k->path);
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		return -errno;
	k->fd = TAKE_FD(fd);
	return 0;
}

enum { DATAGRAM_MAX = 8 << 10 }; /* what syslog daemons take */

/* Of a page at most the pipe of logs_write() makes one datagram. A kill repeats a longer one. 0 or -errno. */
static int send_datagram(struct sink *k, struct window *w, uint64_t from, size_t n)
{
	ssize_t r = -EINVAL;

	if (n > 0 && n <= 4096)
		r = logs_write(k->logs, k->slot, from, w, k->fd, n);
	if (r == -EINVAL)
		r = send(k->fd, w->p + window_head(w), n, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno
											   : 0;
	return r < 0 ? (int)r : 0;
}

/* A line that has no receiver is lost, as with syslog(3); the owner tells of it once. */
static ssize_t send_line(struct sink *k, struct window *w, uint64_t from)
{
	uint32_t head = window_head(w);
	size_t line = to_line_end(w->p + head, window_len(w)), n = line;
	int r = -1;

	if (w->p[head] ==
	    '\n') { /* each has something before it: it was sent, and we were killed */
		window_set(w, head + 1, window_tail(w));
		return 1;
	}
	if (n > 0 && w->p[head + n - 1] == '\n')
		n--;
	if (n > DATAGRAM_MAX)
		n = DATAGRAM_MAX;
	for (int tries = 2; tries > 0 && r < 0; tries--) {
		r = sink_connect_syslog(k);
		if (r == 0)
			r = send_datagram(k, w, from, n);
		if (r == -EAGAIN)
			return r;
		if (r < 0)
			fd_close(&k->fd); /* the daemon may have been restarted */
	}
	k->trouble = r < 0 ? -r : 0;
	window_set(w, head + (uint32_t)line, window_tail(w));
	return (ssize_t)line;
}

size_t sink_syslog_lead(int severity, char to[SINK_SYSLOG_LEAD])
{
	static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	time_t now = time(NULL);
	struct tm tm;

	localtime_r(&now, &tm);
	return (size_t)snprintf(to, SINK_SYSLOG_LEAD,
				"<%d>%.3s %2d %02d:%02d:%02d mpsup[%d]: ", LOG_USER | severity,
				months + 3 * (size_t)tm.tm_mon, tm.tm_mday, tm.tm_hour, tm.tm_min,
				tm.tm_sec, (int)getpid());
}

int sink_write(struct sink *k, struct window *w, uint64_t from)
{
	while (window_len(w) > 0) {
		ssize_t r = k->kind == SINK_FILE     ? write_file(k, w, from)
			    : k->kind == SINK_STREAM ? write_stream(k, w, from)
						     : send_line(k, w, from);

		if (r == 0)
			return -EAGAIN;
		if (r == -EINTR)
			continue;
		if (r < 0 && error_passes((int)-r))
			return (int)r;
		if (r < 0) {
			k->trouble = (int)-r;
			break;
		}
		k->written += (uint64_t)r;
	}
	window_set(w, 0, 0);
	return 0;
}

size_t sink_room(struct sink *k, char **ret_at)
{
	struct window *w = &k->window;

	*ret_at = w->p + window_tail(w);
	return w->size - window_tail(w);
}

bool sink_add(struct sink *k, const char *p, size_t n)
{
	char *to;

	if (sink_room(k, &to) < n)
		return false;
	memcpy(to, p, n);
	window_set(&k->window, window_head(&k->window), window_tail(&k->window) + (uint32_t)n);
	logs_touch(k->logs, &k->window);
	return true;
}

void sink_reopen(struct sink *k)
{
	int r;

	if (k->kind != SINK_FILE)
		return;
	sink_flush(k);
	k->moved = true;
	/* The end of a line under way may never come, and who asked will now take the old file: the rest goes to the new. */
	r = open_again(k);
	if (r < 0)
		k->trouble = -r;
}

/* ------------------------------------------------------------------------------------------ begin and end */

/* The size of the file with this inode: the present one, a backup, or one that somebody has renamed. -1 = gone. */
static int64_t size_of_inode(const struct sink *k, ino_t inode)
{
	AUTO_FREE char *folder = xstrdup(k->path);
	char *slash = strrchr(folder, '/');
	struct stat st;
	struct dirent *d;
	int64_t size = -1;
	DIR *dir;

	if (inode == k->inode)
		return k->size;
	if (slash != NULL)
		slash[1] = '\0';
	dir = opendir(slash != NULL ? folder : ".");
	while (dir != NULL && size < 0 && (d = readdir(dir)) != NULL)
		if (d->d_ino == inode && fstatat(dirfd(dir), d->d_name, &st, 0) == 0)
			size = st.st_size;
	if (dir != NULL)
		closedir(dir);
	return size;
}

/* A write of the process before us: how much of it was done is what the file has grown by. */
static void finish_write(struct sink *k)
{
	struct log_slot *slot = logs_slot(k->logs, k->slot);
	struct window w = k->window;
	uint64_t done = 0;
	int64_t size;

	if (slot->n == 0)
		return;
	size = size_of_inode(k, (ino_t)slot->inode);
	if (size > 0 && (uint64_t)size > slot->before)
		done = (uint64_t)size - slot->before;
	if (done > slot->n)
		done = slot->n;
	if (slot->from > 0)
		logs_capture_window(k->logs, (uint32_t)slot->from - 1, &w);
	/* A window that has been dropped since is empty, and stays so. */
	if (slot->head <= window_tail(&w) && done <= window_tail(&w) - slot->head)
		window_set(&w, (uint32_t)(slot->head + done), window_tail(&w));
	log_store(&slot->n, 0);
}

static uint64_t hash(const void *p, size_t n)
{
	const unsigned char *at = p;
	uint64_t h = UINT64_C(14695981039346656037);

	while (n-- > 0)
		h = (h ^ *at++) * UINT64_C(1099511628211);
	return h | 1; /* 0 = a free slot */
}

/* The same for the process after us, also when the file was rotated in between. */
static uint64_t key_of(const struct sink *k)
{
	uint64_t id[2] = { k->dev, k->inode };
	AUTO_FREE char *real = k->path != NULL ? realpath(k->path, NULL) : NULL;

	if (k->path == NULL)
		return hash(id, sizeof(id));
	return real != NULL ? hash(real, strlen(real)) : hash(k->path, strlen(k->path));
}

static void take_slot(struct sink *k)
{
	k->slot = logs_slot_take(k->logs, key_of(k));
	logs_slot_window(k->logs, k->slot, &k->window);
	logs_touch(k->logs, &k->window);
}

void sink_set_rotation(struct sink *k, int64_t maxbytes, int backups, bool compress)
{
	k->maxbytes = k->limit = maxbytes;
	k->backups = backups;
	k->compress = compress;
}

int sink_init(struct sink *k, struct logs *logs, const struct sink_spec *spec)
{
	int fd = spec->fd;
	struct stat st = { .st_mode = S_IFREG };

	*k = (struct sink){
		.logs = logs, .fd = -1, .gone = -1, .mode = spec->mode, .kind = SINK_STREAM
	};
	if (fd >= 0 && fstat(fd, &st) < 0) {
		close(fd);
		return -errno;
	}
	sink_set_rotation(k, spec->maxbytes, spec->backups, spec->compress);
	if (spec->path != NULL && S_ISREG(st.st_mode)) {
		k->kind = SINK_FILE;
		k->path = xstrdup(spec->path);
		k->moved = fd < 0;
		if (fd >= 0)
			use_file(k, fd);
	} else {
		k->fd = fd;
		k->dev = st.st_dev;
		k->inode = st.st_ino;
	}
	take_slot(k);
	if (k->kind == SINK_FILE)
		finish_write(k);
	return 0;
}

void sink_init_syslog(struct sink *k, struct logs *logs, const char *socket_path)
{
	*k = (struct sink){ .logs = logs,
			    .fd = -1,
			    .gone = -1,
			    .kind = SINK_SYSLOG,
			    .path = xstrdup(socket_path) };
	take_slot(k);
}

void sink_fini(struct sink *k, bool keep)
{
	if (k->logs == NULL)
		return;
	logs_forget(k->logs, &k->window);
	if (!keep)
		logs_slot_free(k->logs, k->slot);
	fd_close(&k->fd);
	fd_close(&k->gone);
	free(k->path);
	*k = (struct sink){ .fd = -1, .gone = -1 };
}
