/*
 * The tracker's socket, whoever listens there.
 */
#ifndef TRACK_DOOR_H
#define TRACK_DOOR_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/stat.h>

/* Binds and listens, in place of what lies there. 0 with a descriptor (CLOEXEC, not blocking) and its file, or -errno. */
int door_open(const char *path, int *ret_fd, struct stat *ret_file);

/*
 * Who has come: a descriptor (CLOEXEC, not blocking), or -errno. -EAGAIN, nobody, costs a tenth of
 * what it costs accept(2), which makes a socket for him first: a keeper asks at each death.
 */
int door_accept(int listener);

void door_set_option(int fd, int option);

/* Room for both that the kernel says of a datagram, and for nothing else: descriptors that come along are dropped by it. */
#define DOOR_CONTROL_SIZE (CMSG_SPACE(sizeof(struct ucred)) + CMSG_SPACE(sizeof(struct timespec)))

/* Who has sent it and when (wall clock; 0 = not known). False where it says nobody's name: the connection has ended. */
bool door_read_control(struct msghdr *h, struct ucred *ret_who, int64_t *ret_sent);

#endif
