/*
 * The listening sockets of fcgi programs: one for all processes of a program.
 */
#ifndef SUP_SOCKETS_H
#define SUP_SOCKETS_H

struct conf;
struct conf_proc;
struct err;

struct socket_of; /* a list; NULL is the empty one */

/*
 * Those of conf. An address that `old` listens at already is shared with it, and its backlog, owner and mode become
 * those of conf. 0, or -errno with err naming file and line: then nothing is open and `old` is as it was, but for those.
 */
int sockets_open(const struct conf *conf, const struct socket_of *old, struct socket_of **ret,
		 struct err *err);

/* The descriptor of a program's, which stays the list's; -1 = none. */
int sockets_find(const struct socket_of *list, const struct conf_proc *conf);

void sockets_free(struct socket_of *list);

#endif
