/*
 * Where listeners are: "unix:/path", "abstract:name", "tcp:host:port".
 */
#ifndef IPC_ADDRESS_H
#define IPC_ADDRESS_H

#include <stdbool.h>
#include <sys/socket.h>

#include "base/mtime.h"

/*
 * A socket that listens there, close-on-exec, and the address in the form above as it has turned out, on the heap. A socket's file
 * is created 0600; one that nobody listens on is replaced. The descriptor; -EINVAL: there is no such form; -EADDRINUSE ...
 */
int address_listen(const char *address, int backlog, char **ret_address);
/* A connected one; the time is for everything but the look-up of a host's name. -ENOENT, -ECONNREFUSED, -ETIMEDOUT ... */
int address_connect(const char *address, struct mps_time until);
/* Of who is at the other end of a connected one, in the form above, on the heap: "" = it has none. 0, or -errno. */
int address_of_peer(int fd, char **ret);
/* The path of a unix address, otherwise NULL. */
const char *address_path(const char *address);

#endif
