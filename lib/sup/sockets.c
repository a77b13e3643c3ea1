/*
 * Sockets of fcgi programs. See sockets.h; files.c opens one.
 */
#include "sup/sockets.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/fd.h"
#include "base/xalloc.h"
#include "conf/conf.h"
#include "sup/files.h"

int sockets_find(const struct socket_of *list, const struct conf_proc *conf)
{
	for (; list != NULL; list = list->next)
		if (list->program != NULL && strcmp(list->program, conf->program) == 0)
			return list->fd;
	return -1;
}

/* A descriptor for p: another for a socket that is there, or a new one. */
static int get(const struct conf_proc *p, const struct socket_of *old, struct err *err)
{
	for (; old != NULL; old = old->next) {
		int fd, r;

		if (strcmp(old->address, p->socket) != 0)
			continue;
		r = files_adjust_socket(p, old->fd, err);
		if (r < 0)
			return r;
		fd = fcntl(old->fd, F_DUPFD_CLOEXEC, 0);
		return fd >= 0 ? fd
			       : err_set(err, -errno, "socket %s: %s", p->socket, strerror(errno));
	}
	return files_open_socket(p, err);
}

void sockets_add(struct socket_of **list, const char *address, int fd)
{
	struct socket_of *o = xmalloc(sizeof(*o));

	*o = (struct socket_of){ *list, NULL, xstrdup(address), fd };
	*list = o;
}

int sockets_open(const struct conf *conf, const struct socket_of *old, struct socket_of **ret,
		 struct err *err)
{
	struct socket_of *list = NULL;

	for (size_t i = 0; i < conf->n_procs; i++) {
		const struct conf_proc *p = &conf->procs[i];
		int fd;

		if (p->kind != CONF_FCGI_PROGRAM || sockets_find(list, p) >= 0)
			continue;
		fd = get(p, old, err);
		if (fd < 0) {
			sockets_free(list);
			return err_prefix(err, fd, "%s:%d: ", p->place.file, p->place.line);
		}
		sockets_add(&list, p->socket, fd);
		list->program = xstrdup(p->program);
	}
	*ret = list;
	return 0;
}

void sockets_free(struct socket_of *list)
{
	while (list != NULL) {
		struct socket_of *o = list;

		list = o->next;
		fd_close(&o->fd);
		free(o->program);
		free(o->address);
		free(o);
	}
}
