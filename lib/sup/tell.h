/*
 * What a program says to its supervisor, from inside: mpsup-worker(7). Blocking; for mpsup tell.
 */
#ifndef SUP_TELL_H
#define SUP_TELL_H

struct err;

/*
 * Says lines of KEY=VALUE (text) over MPSUP_CONTROL_FD, if that is an open channel, else over NOTIFY_SOCKET; then it
 * returns when the message was read, since who has ended by then could not be told from a stranger. 0, or -errno with
 * err: -ENOTCONN when there is neither, -EMSGSIZE, -ETIMEDOUT when nobody has read it after 5 s.
 */
int tell_supervisor(const char *text, struct err *err);

#endif
