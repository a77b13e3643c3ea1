/*
 * Sockets by address.
 *
 * The path of a unix socket may be longer than an address of the kernel's (107 bytes): such a one is reached by way of its
 * folder, /proc/self/fd/N/name.
 */
#include "ipc/address.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "ipc/stream.h"

/* What comes after the form's name, or NULL. */
static const char *after(const char *address, const char *form)
{
	size_t n = strlen(form);

	return strncmp(address, form, n) == 0 ? address + n : NULL;
}

const char *address_path(const char *address)
{
	return after(address, "unix:");
}

/* ---------------------------------------------------------------------------------------------------- unix */

struct unix_address {
	struct sockaddr_un sun;
	socklen_t size;
	int folder; /* that /proc/self/fd/N means; -1 */
};

static int abstract_address(const char *name, struct unix_address *ret)
{
	size_t n = strlen(name);

	if (n == 0 || n >= sizeof(ret->sun.sun_path))
		return -EINVAL;
	*ret = (struct unix_address){ .sun.sun_family = AF_UNIX, .folder = -1 };
	memcpy(ret->sun.sun_path + 1, name, n);
	ret->size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + n);
	return 0;
}

/* The folder that a path's last name is in. */
static int open_folder(const char *path, int flags)
{
	const char *slash = strrchr(path, '/');
	AUTO_FREE char *folder = slash == NULL	 ? strdup(".")
				 : slash == path ? strdup("/")
						 : strndup(path, (size_t)(slash - path));
	int fd;

	if (folder == NULL)
		return -ENOMEM;
	fd = open(folder, flags | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static const char *last_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash == NULL ? path : slash + 1;
}

static int path_address(const char *path, struct unix_address *ret)
{
	size_t max = sizeof(ret->sun.sun_path), n = strlen(path);

	if (*last_name(path) == '\0')
		return -EINVAL;
	*ret = (struct unix_address){ .sun.sun_family = AF_UNIX,
				      .size = sizeof(ret->sun),
				      .folder = -1 };
	if (n < max) {
		memcpy(ret->sun.sun_path, path, n + 1);
		return 0;
	}
	ret->folder = open_folder(path, O_PATH);
	if (ret->folder < 0)
		return ret->folder;
	n = (size_t)snprintf(ret->sun.sun_path, max, "/proc/self/fd/%d/%s", ret->folder,
			     last_name(path));
	if (n < max)
		return 0;
	fd_close(&ret->folder);
	return -ENAMETOOLONG;
}

static int unix_address(const char *address, struct unix_address *ret)
{
	const char *name = after(address, "abstract:");

	if (name != NULL)
		return abstract_address(name, ret);
	return path_address(address_path(address), ret);
}

static bool is_unix(const char *address)
{
	return address_path(address) != NULL || after(address, "abstract:") != NULL;
}

/* A full backlog makes connect(2) wait for room, as long as SO_SNDTIMEO says; it is an event for the kernel only. */
static int connect_unix_until(int fd, const struct unix_address *a, struct mps_time until)
{
	int r;

	do {
		struct timeval tv = { 0, 0 };

		if (until.ns != INT64_MAX) {
			int64_t left = until.ns - mps_now().ns;

			if (until.ns != 0 && left <= 0)
				return -ETIMEDOUT;
			if (until.ns == 0)
				left = 1;
			/* Rounded up: nothing means without end. */
			left += 999;
			tv = (struct timeval){ left / MPS_NS_PER_S, left % MPS_NS_PER_S / 1000 };
		}
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
		r = connect(fd, (const struct sockaddr *)&a->sun, a->size);
	} while (r < 0 && errno == EINTR);
	r = r < 0 ? -errno : 0;
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &(struct timeval){ 0, 0 }, sizeof(struct timeval));
	return r == -EAGAIN ? -ETIMEDOUT : r;
}

static int connect_unix(const char *address, struct mps_time until)
{
	struct unix_address a;
	int r = unix_address(address, &a);
	int fd;

	if (r < 0)
		return r;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	r = fd < 0 ? -errno : connect_unix_until(fd, &a, until);
	fd_close(&a.folder);
	if (r < 0)
		fd_close(&fd);
	return r < 0 ? r : fd;
}

/* Removes a socket's file that nobody listens on any more. The folder is locked against others who do the same. */
static int remove_stale(const char *path, const struct unix_address *a)
{
	AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct stat st;

	if (fd < 0)
		return -errno;
	if (lstat(path, &st) < 0)
		return -errno;
	if (!S_ISSOCK(st.st_mode) ||
	    connect_unix_until(fd, a, (struct mps_time){ 0 }) != -ECONNREFUSED)
		return -EADDRINUSE;
	return unlink(path) < 0 ? -errno : 0;
}

static int bind_and_listen(int fd, const struct unix_address *a, int backlog)
{
	/* The file gets the socket's mode, so it is never open to others. */
	if (fchmod(fd, 0600) < 0 || bind(fd, (const struct sockaddr *)&a->sun, a->size) < 0 ||
	    listen(fd, backlog) < 0)
		return -errno;
	return 0;
}

static int listen_unix(const char *address, int backlog)
{
	const char *path = address_path(address);
	AUTO_CLOSE int fd = -1, lock = -1;
	struct unix_address a;
	int r = unix_address(address, &a);

	if (r < 0)
		return r;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	r = fd < 0 ? -errno : bind_and_listen(fd, &a, backlog);
	if (r == -EADDRINUSE && path != NULL) {
		lock = open_folder(path, O_RDONLY);
		if (lock >= 0 && flock(lock, LOCK_EX | LOCK_NB) == 0 && remove_stale(path, &a) == 0)
			r = bind_and_listen(fd, &a, backlog);
	}
	fd_close(&a.folder);
	return r < 0 ? r : TAKE_FD(fd);
}

/* ---------------------------------------------------------------------------------------------------- TCP */

/* "host:port" or "[host]:port". *ret: freeaddrinfo(3). */
static int look_up(const char *text, int flags, struct addrinfo **ret)
{
	struct addrinfo hints = { .ai_flags = flags | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM };
	const char *colon = strrchr(text, ':');
	AUTO_FREE char *host = NULL;
	size_t n;

	if (colon == NULL || colon == text || colon[1] == '\0')
		return -EINVAL;
	n = (size_t)(colon - text);
	if (text[0] == '[' && colon[-1] == ']') {
		text++;
		n -= 2;
	} else if (memchr(text, ':', n) != NULL) {
		return -EINVAL; /* an IPv6 address, and which of its colons comes before the port? */
	}
	host = strndup(text, n);
	if (host == NULL)
		return -ENOMEM;
	switch (getaddrinfo(host, colon + 1, &hints, ret)) {
	case 0:
		return 0;
	case EAI_MEMORY:
		return -ENOMEM;
	case EAI_SYSTEM:
		return -errno;
	case EAI_SERVICE:
		return -EINVAL;
	case EAI_AGAIN:
		return -EAGAIN;
	default:
		return -EADDRNOTAVAIL;
	}
}

static void no_delay(int fd)
{
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
}

static int connect_one(const struct addrinfo *ai, struct mps_time until)
{
	AUTO_CLOSE int fd =
		socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, ai->ai_protocol);
	socklen_t size = sizeof(int);
	int error, r;

	if (fd < 0)
		return -errno;
	if (connect(fd, ai->ai_addr, ai->ai_addrlen) < 0) {
		if (errno != EINPROGRESS && errno != EINTR)
			return -errno;
		r = stream_wait(fd, POLLOUT, until);
		if (r < 0)
			return r;
		if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
			return -errno;
		if (error != 0)
			return -error;
	}
	no_delay(fd);
	r = fd_set_nonblock(fd, false); /* whoever gets it later does not expect that */
	return r < 0 ? r : TAKE_FD(fd);
}

static int connect_tcp(const char *text, struct mps_time until)
{
	struct addrinfo *list;
	int r = look_up(text, 0, &list);

	if (r < 0)
		return r;
	r = -EADDRNOTAVAIL;
	for (const struct addrinfo *ai = list; ai != NULL && r < 0 && r != -ETIMEDOUT;
	     ai = ai->ai_next)
		r = connect_one(ai, until);
	freeaddrinfo(list);
	return r;
}

static int listen_one(const struct addrinfo *ai, int backlog)
{
	AUTO_CLOSE int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC, ai->ai_protocol);

	if (fd < 0)
		return -errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int));
	no_delay(fd); /* and so of those that it accepts */
	if (bind(fd, ai->ai_addr, ai->ai_addrlen) < 0 || listen(fd, backlog) < 0)
		return -errno;
	return TAKE_FD(fd);
}

static int tcp_name(const struct sockaddr_storage *where, socklen_t size, char **ret)
{
	char host[NI_MAXHOST], port[NI_MAXSERV];
	bool six = where->ss_family == AF_INET6;

	if (getnameinfo((const struct sockaddr *)where, size, host, sizeof(host), port,
			sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV) != 0)
		return -EADDRNOTAVAIL;
	return asprintf(ret, "tcp:%s%s%s:%s", six ? "[" : "", host, six ? "]" : "", port) < 0
		       ? -ENOMEM
		       : 0;
}

static int listen_tcp(const char *text, int backlog, char **ret_address)
{
	AUTO_CLOSE int fd = -1;
	struct sockaddr_storage where;
	socklen_t size = sizeof(where);
	struct addrinfo *list;
	int r = look_up(text, AI_PASSIVE, &list);

	if (r < 0)
		return r;
	r = -EADDRNOTAVAIL;
	for (const struct addrinfo *ai = list; ai != NULL && r < 0; ai = ai->ai_next)
		r = listen_one(ai, backlog);
	freeaddrinfo(list);
	if (r < 0)
		return r;
	fd = r;
	if (getsockname(fd, (struct sockaddr *)&where, &size) < 0)
		return -errno;
	r = tcp_name(&where, size, ret_address);
	return r < 0 ? r : TAKE_FD(fd);
}

/* ---------------------------------------------------------------------------------------------------- either */

int address_connect(const char *address, struct mps_time until)
{
	const char *tcp = after(address, "tcp:");

	if (is_unix(address))
		return connect_unix(address, until);
	return tcp != NULL ? connect_tcp(tcp, until) : -EINVAL;
}

int address_listen(const char *address, int backlog, char **ret_address)
{
	const char *tcp = after(address, "tcp:");
	AUTO_FREE char *copy = NULL;
	int fd;

	if (tcp != NULL)
		return listen_tcp(tcp, backlog, ret_address);
	if (!is_unix(address))
		return -EINVAL;
	copy = strdup(address);
	if (copy == NULL)
		return -ENOMEM;
	fd = listen_unix(address, backlog);
	if (fd >= 0)
		*ret_address = TAKE_PTR(copy);
	return fd;
}

/* Of a unix socket: one without a name has no bytes of it, an abstract one a 0 before them. */
static int unix_name(const struct sockaddr_un *sun, size_t size, char **ret)
{
	size_t n = size - offsetof(struct sockaddr_un, sun_path);
	bool is_abstract = n > 0 && sun->sun_path[0] == '\0';

	if (n == 0)
		*ret = strdup("");
	else if (asprintf(ret, "%s%.*s", is_abstract ? "abstract:" : "unix:",
			  (int)(n - is_abstract), sun->sun_path + is_abstract) < 0)
		*ret = NULL;
	return *ret != NULL ? 0 : -ENOMEM;
}

int address_of_peer(int fd, char **ret)
{
	struct sockaddr_storage where;
	socklen_t size = sizeof(where);

	if (getpeername(fd, (struct sockaddr *)&where, &size) < 0)
		return -errno;
	if (where.ss_family == AF_UNIX)
		return unix_name((const struct sockaddr_un *)(const void *)&where, size, ret);
	return tcp_name(&where, size, ret);
}
