/*
 * Where somebody listens: the socket, its file, and a folder of our own for it.
 */
#ifndef IPC_PLACE_H
#define IPC_PLACE_H

#include <stdbool.h>
#include <sys/types.h>

struct place {
	int fd; /* does not block */
	char *address;
	char *folder; /* ours alone, removed with the socket's file; NULL */
	pid_t owner;  /* who made the file: a copy by fork does not remove it */
	dev_t device;
	ino_t inode; /* 0: there is no file */
};

/*
 * As address_listen(); NULL: a unix socket in a private folder, which the tracker is told of. backlog 0 = SOMAXCONN. 0 or
 * -errno; place_close() in either case.
 */
int place_open(struct place *p, const char *address, int backlog);
void place_close(struct place *p);
/* Whether who has connected to a unix socket is of our user, or root. */
bool place_is_welcome(int fd);

#endif
