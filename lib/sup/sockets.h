/*
 * The listening sockets of fcgi programs: one for all processes of a program.
 */
#ifndef SUP_SOCKETS_H
#define SUP_SOCKETS_H

struct conf;
struct conf_proc;
struct err;

/* A list; NULL is the empty one. */
struct socket_of {
	struct socket_of *next;
	char *program; /* owned; NULL = it is nobody's yet, as a supervisor before us has left it */
	char *address; /* owned; as in the configuration */
	int fd;	       /* owned */
};

/*
 * Those of conf. An address that `old` listens at already is shared with it, and its backlog, owner and mode become
 * those of conf. 0, or -errno with err naming file and line: then nothing is open and `old` is as it was, but for those.
 */
int sockets_open(const struct conf *conf, const struct socket_of *old, struct socket_of **ret,
		 struct err *err);

/* One of nobody's. */
void sockets_add(struct socket_of **list, const char *address, int fd);

/* The descriptor of a program's, which stays the list's; -1 = none. */
int sockets_find(const struct socket_of *list, const struct conf_proc *conf);

void sockets_free(struct socket_of *list);

#endif
