/*
 * Starting a process: one complete, fixed description, one child path. The description holds everything that the child
 * needs, resolved before the fork (users, paths), because nothing that can fail before should be done after.
 * spawn.c forks, child.c applies the description between fork and exec, entry.c calls a function of a shared object where
 * nothing is to be executed, forkserver.c is the process that forks for others, forkserver_ask.c asks it, spawn_code.c puts all of it into messages.
 */
#ifndef PROC_SPAWN_H
#define PROC_SPAWN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/limits.h"

struct buf;
struct wire;

enum {
	/*
	 * Open the file anew through /proc/self/fd, so that the child shares the object but not its flags (one program's
	 * O_NONBLOCK is not the others'). Where that fails the descriptor itself is used. By the starter's number, so only
	 * for one that stays open there.
	 */
	MPS_FD_REOPEN = 1 << 0,
	/* `fd` is not a descriptor but MPS_FD_IDLE or MPS_FD_NULL: the starter puts its own in. */
	MPS_FD_ROLE = 1 << 1,
};
#define MPS_FD_IDLE                                                                                \
	1 /* the read end of a pipe that nobody writes: an open standard input that never ends */
#define MPS_FD_NULL 2 /* /dev/null */

/* One row of the child's descriptor table: `child` becomes a copy of `fd`. Rows must be sorted by `child`, each once. */
struct mps_fd {
	int child;
	int fd; /* in a message: index into the descriptors that travel with it */
	unsigned flags;
};

enum mps_session { MPS_SESSION_NEW, MPS_SESSION_GROUP, MPS_SESSION_KEEP };

/* How the process comes to be. What it then is, is the same for all. */
enum mps_spawn_method {
	MPS_METHOD_SPAWN,      /* a fresh image */
	MPS_METHOD_FORK,       /* an entry: a copy of the starter */
	MPS_METHOD_FORKSERVER, /* a copy of a process that has loaded what is needed */
};

struct mps_failure;

struct mps_spawn {
	/* What is executed: absolute, or relative to the starter's directory. With `symbol`: a shared object. */
	const char *path;
	/*
	 * NULL, or the function of the object that is called in place of an exec: int f(int argc, char **argv), whose
	 * result is the exit status.
	 */
	const char *symbol;
	int (*function)(int argc,
			char **argv); /* a forkserver's: the same, found before the fork */
	/* NULL-terminated. With `symbol` the MPS_ENTRY_ROOM pointers in front of argv[0] are the child's to use. */
	char **argv;
	char **envp;		  /* NULL-terminated, complete: nothing is inherited */
	const char *cwd;	  /* NULL = stay */
	const struct mps_fd *fds; /* exactly these; all others are closed */
	size_t n_fds;
	/* No table: whatever the starter has open without CLOEXEC stays open. This one and the next five are in no message. */
	bool keep_fds;
	const char *host; /* what loads an entry in a fresh image; NULL = MPS_HOST_PATH */
	uint64_t mark; /* of a program's family (tag.h), 0 = none; a forkserver's request has it */
	bool needs_parent; /* it ends where its parent is gone before it bears the mark */
	uint64_t ignored;  /* signals that it ignores, bit n - 1; all others are at their default */
	uint64_t blocked;  /* signals that it begins with blocked */
	enum mps_session session;
	int umask;     /* -1 = inherit */
	bool set_user; /* uid, gid and groups below are applied, in the order groups, gid, uid */
	uid_t uid;
	gid_t gid;
	const gid_t *groups;
	size_t n_groups;
	uint64_t nofile; /* soft RLIMIT_NOFILE of the child, 0 = inherit */
	enum mps_spawn_method method;
	/* Of the forkserver: its name, the objects that it has loaded, and whether they must be those on disk now. */
	const char *server;
	char **preload;
	bool renew;
	int pdeathsig; /* signal when the starting thread dies, 0 = none; prctl(2) PR_SET_PDEATHSIG */
	uint64_t tag; /* mark of lineage, 0 = none; see tag.h */
	bool cannot_fail; /* once it is forked: so nobody tells and nobody listens, there is no exec_fd */
	/*
	 * With cannot_fail, which then means: no exec_fd. Where it tells why it ends all the same, once it has ended. Zeroed
	 * by the starter, in memory that the two share (MAP_SHARED).
	 */
	struct mps_failure *failure;
	bool signals_are_default; /* the starter promises that it ignores and catches nothing: 64 system calls less */
};

/* Where a start failed, in the order of happening. X(NAME, word for people) */
#define MPS_STEPS(X)                                                                               \
	X(NONE, "start")                                                                           \
	X(RECEIVE, "receive descriptors")                                                          \
	X(PIPE, "pipe")                                                                            \
	X(SERVER, "forkserver")                                                                    \
	X(FORK, "fork")                                                                            \
	X(SESSION, "setsid")                                                                       \
	X(FD, "set up descriptors")                                                                \
	X(LIMIT, "setrlimit")                                                                      \
	X(GROUPS, "setgroups")                                                                     \
	X(GID, "setgid")                                                                           \
	X(UID, "setuid")                                                                           \
	X(PDEATHSIG, "prctl")                                                                      \
	X(CHDIR, "chdir")                                                                          \
	X(EXEC, "exec")                                                                            \
	X(ENTRY, "entry")

enum mps_step {
#define X(name, word) MPS_STEP_##name,
	MPS_STEPS(X)
#undef X
		N_MPS_STEPS
};

const char *mps_step_word(enum mps_step step);

/* True for errors that pass by themselves (EAGAIN, ENOMEM, EMFILE, ENFILE, ETXTBSY, ENOSPC ...): try again later. */
bool mps_error_passes(int error);

/* What a child between fork and exec writes when it cannot go on. */
struct mps_failure {
	int32_t step;
	int32_t error;		   /* errno, 0 = text says it */
	char text[SPAWN_TEXT_MAX]; /* "" = strerror() says it */
};
_Static_assert(sizeof(struct mps_failure) <= 4096, "a pipe takes and gives it whole: PIPE_BUF");

/* The image that loads entries and is a forkserver: mpsup-host, which is what the starter runs; also when it was replaced. */
#define MPS_HOST_PATH "/proc/self/exe"
/* "mpsup-host", "entry", descriptor, object, symbol: what stands before the argv of an entry that gets an image of its own. */
#define MPS_ENTRY_ROOM 5

/*
 * What a child that shares our memory until its exec stands on: its stack, which the caller lends. It, and all that the
 * struct mps_spawn points to, must stay untouched until mps_spawn_result() has told how the exec went.
 */
#define MPS_STACK_SIZE 16384

/*
 * Such a child also shares our descriptor table for a moment, so that the thousands which it does not need are never
 * copied: it first takes a table of its own, of those below this number (CLOSE_RANGE_UNSHARE, Linux 5.9). So what a child
 * needs should lie below it, and what is kept for long above.
 */
#define MPS_LOW_FDS 64

/* How a child and its parent agree on whose the table is. */
enum mps_files {
	MPS_FILES_SHARED,
	MPS_FILES_AWAITED, /* the parent waits to be told on exec_fd */
	MPS_FILES_OWN,
};

/* A struct mps_failure with this step is none: the child has its own table. */
#define MPS_STEP_FILES (-1)
/* Nor is one with this step: a child that another than its parent has made says its pid in `error`. */
#define MPS_STEP_BORN (-2)

struct mps_child {
	pid_t pid;
	int pidfd; /* -1 where the kernel has none */
	int exec_fd; /* non-blocking: end of file = exec succeeded, a struct mps_failure = it did not */
	bool shares_memory; /* stack and s are lent until mps_spawn_result() tells */
	/*
	 * >= 0: the child shares the table too. The caller closes this one, and those that s->fds names, only when
	 * mps_child_has_files() says so.
	 */
	int error_fd;
};
#define MPS_CHILD_INIT                                                                             \
	{                                                                                          \
		0, -1, -1, false, -1                                                               \
	}

/*
 * Starts a child that applies s and execs. Never waits for the exec. Call it from a thread that lives as long as the
 * child shall (PR_SET_PDEATHSIG). 0, or -errno with *ret_step telling where. Linux 5.2 for pidfd; earlier: -1.
 *
 * With `stack` (MPS_STACK_SIZE bytes, aligned to 16) the child shares our memory until it execs: no page table is copied,
 * however much we have touched. NULL, or a machine or kernel that cannot: fork.
 */
int mps_spawn_start(const struct mps_spawn *s, void *stack, struct mps_child *ret_child,
		    enum mps_step *ret_step);

/*
 * Has the child of that stack a descriptor table of its own? With about_to_wait, a later yes is announced on exec_fd,
 * where mps_spawn_result() then answers 0.
 */
bool mps_child_has_files(void *stack, bool about_to_wait);

/*
 * fork() for a child of our parent, where that has asked for it: no number is ours to reap. The child has all signals
 * blocked; it is for mps_child_run() or the end. Its pid, 0 in it, or -errno. Single-threaded callers only.
 */
pid_t mps_fork_sibling(void);

/*
 * Reads exec_fd: 1 = exec succeeded (or nobody was there to do it), 0 = not known yet, -1 = failed, then *ret_failure is
 * set; 2 = a child that a forkserver makes is there, ret_failure->error is its pid: more is to be read.
 */
int mps_spawn_result(int exec_fd, struct mps_failure *ret_failure);

/* What a child knows of its birth. */
struct mps_birth {
	int error_fd;	    /* takes the struct mps_failure */
	pid_t maker;	    /* whose descriptors it has copies of */
	pid_t parent;	    /* the same, or who is told of its end */
	bool announces;	    /* says MPS_STEP_BORN */
	_Atomic int *files; /* NULL, or where it says that it has a table of its own */
};

/* The child's side: applies s, execs or calls, never returns. Async-signal-safe up to the call of an entry. */
void mps_child_run(const struct mps_spawn *s, const struct mps_birth *birth)
	__attribute__((noreturn));

/* Writes a failure with its text (NULL = none), and ends. For a child. */
void mps_child_fail(int error_fd, enum mps_step step, int error, const char *text)
	__attribute__((noreturn));

/* Every signal's disposition to default, also the two that libc keeps for itself. Async-signal-safe. */
void mps_reset_signals(void);

/*
 * A message that is too long for a datagram travels in a memfd, sealed so that it neither shrinks nor changes under its
 * reader. mps_seal(): the descriptor or -errno. mps_unseal(): 0 with the mapped bytes (munmap), or -errno (-EBADMSG: no
 * such memfd, or longer than max).
 */
int mps_seal(const void *p, size_t n);
int mps_unseal(int fd, size_t max, void **ret_p, size_t *ret_n);

/* Puts s into a message (descriptors as the indexes that s->fds holds). */
void mps_spawn_encode(const struct mps_spawn *s, struct buf *to);

/*
 * Reads it back; pointers go into the message and into *scratch, which the caller keeps (and may reuse) as long as s.
 * 0, -EBADMSG for a malformed one, -ENOMEM. Descriptors are checked against n_fds that travelled.
 */
int mps_spawn_decode(struct wire *from, size_t n_fds, struct buf *scratch, struct mps_spawn *ret_s);

#endif
