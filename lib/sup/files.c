/*
 * Files and sockets that the supervisor makes for others. Names come from the configuration, so they are the
 * administrator's; what lies there need not be (base/path.h).
 */
#include "sup/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/path.h"
#include "base/user.h"
#include "base/xalloc.h"
#include "conf/conf.h"

int files_standard_fd(const char *path)
{
	static const struct {
		const char *path;
		int fd;
	} known[] = {
		{ "/dev/stdout", 1 },	  { "/dev/fd/1", 1 },	 { "/proc/self/fd/1", 1 },
		{ "/proc/1/fd/1", 1 },	  { "/dev/stderr", 2 },	 { "/dev/fd/2", 2 },
		{ "/proc/self/fd/2", 2 }, { "/proc/1/fd/2", 2 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(known); i++)
		if (strcmp(known[i].path, path) == 0)
			return known[i].fd;
	return -1;
}

int files_open_log(const char *path, mode_t mode)
{
	int flags = O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY;
	int standard = files_standard_fd(path), fd;

	if (standard >= 0) {
		fd = fcntl(standard, F_DUPFD_CLOEXEC, 3);
		return fd < 0 ? -errno : fd;
	}
	/* A FIFO without a reader must not hold the supervisor. */
	fd = path_open(path, flags | O_NONBLOCK, mode);
	if (fd == -ENOENT) {
		const char *base;
		AUTO_CLOSE int folder = path_open_folder(path, true, &base, NULL);

		if (folder < 0)
			return TAKE_FD(folder);
		fd = path_open(path, flags | O_NONBLOCK, mode);
	}
	if (fd < 0)
		return fd;
	fd_set_nonblock(fd, false);
	return fd;
}

int files_make_auto(const struct conf *conf, const char *process, const char *channel,
		    char **ret_path)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789_";
	const struct conf_supervisord *s = &conf->supervisord;

	for (int tries = 0; tries < 100; tries++) {
		unsigned char random[8];
		char *path;
		int fd;

		if (getrandom(random, sizeof(random), 0) != sizeof(random))
			return -EIO;
		for (size_t i = 0; i < sizeof(random); i++)
			random[i] = (unsigned char)letters[random[i] % (sizeof(letters) - 1)];
		path = xasprintf("%s/%s-%s---%s-%.8s.log", s->childlogdir, process, channel,
				 s->identifier, (char *)random);
		fd = path_open(path, O_WRONLY | O_APPEND | O_CREAT | O_EXCL | O_NOFOLLOW, 0600);
		if (fd >= 0) {
			*ret_path = path;
			return fd;
		}
		free(path);
		if (fd != -EEXIST)
			return fd;
	}
	return -EEXIST;
}

/* NAME---IDENTIFIER-XXXXXXXX.log with an optional backup number, as supervisord matches it, or compressed. */
static bool is_auto_log(const char *file, const char *identifier)
{
	AUTO_FREE char *middle = xasprintf("---%s-", identifier);
	const char *at = strstr(file, middle), *end;
	size_t digits;

	if (at == NULL || at == file)
		return false;
	at += strlen(middle);
	end = strstr(at, ".log");
	if (end == NULL || end == at)
		return false;
	end += 4;
	if (strcmp(end, ".gz-part") == 0)
		return true;
	if (*end == '.')
		end++;
	digits = strspn(end, "0123456789");
	return digits <= 4 && (end[digits] == '\0' || strcmp(end + digits, ".gz") == 0);
}

void files_clean_auto(const struct conf *conf)
{
	const struct conf_supervisord *s = &conf->supervisord;
	DIR *dir = opendir(s->childlogdir);
	struct dirent *d;

	if (dir == NULL)
		return;
	while ((d = readdir(dir)) != NULL)
		if (is_auto_log(d->d_name, s->identifier))
			unlinkat(dirfd(dir), d->d_name, 0);
	closedir(dir);
}

int files_write_pid(const char *path, pid_t pid)
{
	const char *base;
	AUTO_CLOSE int folder = path_open_folder(path, false, &base, NULL), fd = -1;
	AUTO_FREE char *temporary = xasprintf("%s.%d", base, getpid());
	char text[16];
	int r, n = snprintf(text, sizeof(text), "%d\n", pid);

	if (folder < 0)
		return TAKE_FD(folder);
	unlinkat(folder, temporary, 0);
	fd = openat(folder, temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (fd < 0)
		return -errno;
	r = fd_write_all(fd, text, (size_t)n);
	if (r == 0 && renameat(folder, temporary, folder, base) < 0)
		r = -errno;
	if (r < 0)
		unlinkat(folder, temporary, 0);
	return r;
}

/* ------------------------------------------------------------------------------------- sockets of fcgi programs */

/* Who may connect. The file itself, whatever its name leads to by now. */
static int own_file(const struct conf_proc *proc, int file, const char *path, struct err *err)
{
	AUTO_FREE char *itself = xasprintf("/proc/self/fd/%d", file), *owner = NULL;
	const struct passwd *pw;
	gid_t gid = 0;
	char *colon;

	if (chmod(itself, (mode_t)proc->socket_mode) < 0)
		return err_set(err, -errno, "socket %s: chmod: %s", path, strerror(errno));
	if (proc->socket_owner == NULL && (proc->user == NULL || geteuid() != 0))
		return 0;
	owner = xstrdup(proc->socket_owner != NULL ? proc->socket_owner : proc->user);
	colon = strchr(owner, ':');
	if (colon != NULL) {
		*colon = '\0';
		if (user_find_group(colon + 1, &gid) < 0)
			return err_set(err, -ENOENT, "socket_owner: no group '%s'", colon + 1);
	}
	pw = user_find(owner);
	if (pw == NULL)
		return err_set(err, -ENOENT, "socket_owner: no user '%s'", owner);
	if (fchownat(file, "", pw->pw_uid, colon != NULL ? gid : pw->pw_gid, AT_EMPTY_PATH) < 0)
		return err_set(err, -errno, "socket %s: chown: %s", path, strerror(errno));
	return 0;
}

static int own_socket(const struct conf_proc *proc, const char *path, struct err *err)
{
	const char *base;
	AUTO_CLOSE int folder = path_open_folder(path, false, &base, NULL), file = -1;
	struct stat st;

	if (folder < 0)
		return err_set(err, folder, "socket %s: %s", path, path_strerror(-folder));
	file = openat(folder, base, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (file < 0 || fstat(file, &st) < 0)
		return err_set(err, -errno, "socket %s: %s", path, strerror(errno));
	if (!S_ISSOCK(st.st_mode) || st.st_nlink != 1)
		return err_set(err, -EPERM,
			       "socket %s: somebody has put something else there; name a folder "
			       "that only root may write",
			       path);
	return own_file(proc, file, path, err);
}

/* The name of the socket is what the program may see: a safe one only where it is needed. */
static int bind_unix(int sock, const char *path, struct err *err)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	AUTO_FREE char *within = NULL;
	const char *base, *name = path;
	bool is_shared;
	AUTO_CLOSE int folder = path_open_folder(path, false, &base, &is_shared);

	if (folder < 0)
		return err_set(err, folder, "socket %s: %s", path, path_strerror(-folder));
	if (is_shared)
		name = within = path_within(folder, base);
	if (name == NULL || strlen(name) >= sizeof(a.sun_path))
		return err_set(err, -ENAMETOOLONG, "socket %s: longer than %zu bytes", path,
			       sizeof(a.sun_path) - 1);
	strcpy(a.sun_path, name);
	unlinkat(folder, base, 0);
	if (bind(sock, (struct sockaddr *)&a, sizeof(a)) < 0)
		return err_set(err, -errno, "socket %s: %s", path, strerror(errno));
	return 0;
}

static int open_unix(const struct conf_proc *proc, const char *path, struct err *err)
{
	AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int r;

	if (fd < 0)
		return err_set(err, -errno, "socket %s: %s", path, strerror(errno));
	r = bind_unix(fd, path, err);
	if (r == 0)
		r = own_socket(proc, path, err);
	return r < 0 ? r : TAKE_FD(fd);
}

static int open_tcp(const char *address, struct err *err)
{
	AUTO_FREE char *host = xstrdup(address);
	struct addrinfo hints = { .ai_flags = AI_PASSIVE, .ai_socktype = SOCK_STREAM };
	struct addrinfo *list = NULL;
	char *port = strrchr(host, ':');
	int r, one = 1, fd = -1;

	if (port == NULL)
		return err_set(err, -EINVAL, "socket tcp://%s: no port", address);
	*port++ = '\0';
	r = getaddrinfo(*host && strcmp(host, "*") != 0 ? host : NULL, port, &hints, &list);
	if (r != 0)
		return err_set(err, -EINVAL, "socket tcp://%s: %s", address, gai_strerror(r));
	r = -EADDRNOTAVAIL;
	for (struct addrinfo *a = list; a != NULL && fd < 0; a = a->ai_next) {
		fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (fd < 0)
			continue;
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
		if (bind(fd, a->ai_addr, a->ai_addrlen) < 0) {
			r = -errno;
			fd_close(&fd);
		}
	}
	freeaddrinfo(list);
	if (fd < 0)
		return err_set(err, r, "socket tcp://%s: %s", address, strerror(-r));
	return fd;
}

static const char *unix_path(const struct conf_proc *proc)
{
	return str_is_prefix("unix://", proc->socket) ? proc->socket + strlen("unix://") : NULL;
}

static int start_listening(const struct conf_proc *proc, int fd, struct err *err)
{
	if (listen(fd, proc->socket_backlog > 0 ? proc->socket_backlog : SOMAXCONN) == 0)
		return 0;
	return err_set(err, -errno, "socket %s: listen: %s", proc->socket, strerror(errno));
}

int files_adjust_socket(const struct conf_proc *proc, int fd, struct err *err)
{
	const char *path = unix_path(proc);
	int r = path != NULL ? own_socket(proc, path, err) : 0;

	return r < 0 ? r : start_listening(proc, fd, err);
}

int files_open_socket(const struct conf_proc *proc, struct err *err)
{
	const char *path = unix_path(proc);
	AUTO_CLOSE int fd = -1;
	int r;

	if (path != NULL)
		fd = open_unix(proc, path, err);
	else
		fd = open_tcp(proc->socket + strlen("tcp://"), err);
	if (fd < 0)
		return TAKE_FD(fd);
	r = start_listening(proc, fd, err);
	return r < 0 ? r : TAKE_FD(fd);
}
