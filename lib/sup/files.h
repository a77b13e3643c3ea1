/*
 * The files that the supervisor makes: logs, AUTO logs, the pid file, the sockets of fcgi programs.
 */
#ifndef SUP_FILES_H
#define SUP_FILES_H

#include <sys/types.h>

struct conf;
struct conf_proc;
struct err;

/*
 * Opens a log for appending, making it (mode) and the folders above it where they are missing. /dev/stdout, /dev/stderr,
 * /dev/fd/N and /proc/self/fd/N are what they say, duplicated. CLOEXEC; a descriptor or -errno.
 */
int files_open_log(const char *path, mode_t mode);

/* 1 or 2 where the path names our standard output or error, else -1. */
int files_standard_fd(const char *path);

/* Makes an AUTO log: DIR/PROCESS-stdout---IDENTIFIER-XXXXXXXX.log, 0600. The descriptor and its path, or -errno. */
int files_make_auto(const struct conf *conf, const char *process, const char *channel,
		    char **ret_path);

/* Removes the AUTO logs that an earlier supervisor of this identifier has left in childlogdir. */
void files_clean_auto(const struct conf *conf);

/* Writes "PID\n" to a new file that takes the place of `path` at once. 0 or -errno. */
int files_write_pid(const char *path, pid_t pid);

/* The listening socket of a [fcgi-program:x]: an existing unix socket is replaced. The descriptor, or -errno with err. */
int files_open_socket(const struct conf_proc *proc, struct err *err);
/* Gives one that is open the backlog of proc and, where it is a unix one, its owner and mode. 0 or -errno with err. */
int files_adjust_socket(const struct conf_proc *proc, int fd, struct err *err);

#endif
