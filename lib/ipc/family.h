/*
 * The children of this process, and what lives beside them for their sake: a guard and a forkserver. Between the files of
 * mps_process.
 */
#ifndef IPC_FAMILY_H
#define IPC_FAMILY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/mtime.h"
#include "ipc/futex.h"
#include "mpsup.h"

struct mps_child;
struct note;
struct mps_failure;
struct mps_spawn;

struct mps_process {
	struct mps_process *next;
	pid_t owner, pid;
	int sentinel; /* a pidfd; where the kernel has none, the read end of a pipe whose other the child has */
	bool has_pidfd;
	bool ended;
	bool is_known; /* code: nobody else has reaped it */
	int code;
	bool daemon;
	int64_t grace;
	uint64_t mark;
	char name[];
};

static inline int64_t time_left(struct mps_time until)
{
	if (until.ns == INT64_MAX)
		return INT64_MAX;
	return until.ns - mps_now().ns;
}

/* Waits until the descriptor is readable, or has ended. False: it is not, and the time is over. */
bool wait_readable(int fd, struct mps_time until);

/* ------------------------------------------------------------------------------------- family.c: the list */

/* Numbers of the next child, and what it is called by them: "2", and of the child 2 of child 1 "1:2". */
struct birth_number {
	uint32_t n;
	char identity[64]; /* of the deepest: cut */
};
int family_number(struct birth_number *ret);
/* Now it is one of ours; owner and next are set here. */
void family_add(struct mps_process *p);
void family_remove(struct mps_process *p);
/* Looks whether it has ended, and reaps it. */
bool family_reap(struct mps_process *p);
/* All that have ended. */
void family_reap_all(void);
/* As exit(3) does: daemons are terminated, the others waited for. */
void family_end(void);
/* What is called before that, so that nobody goes on starting children. One function. */
void family_before_end(void (*function)(void));
/* Who we are to our children; "" = the first. */
/* They stay: nothing is copied. */
void family_set_identity(const char *identity);
/* This thread makes a copy for a start, which closes what is not its own by itself. */
void family_forks(bool forks);
/* Held while the guard and the forkserver are looked at, or made, which takes its time. In a forked process nobody holds it. */
void servers_lock(void);
void servers_unlock(void);

/* --------------------------------------------------------------------------------- process.c: one child */

/* What is left of mps_process_terminate() when it has been asked to end already. */
int process_end(struct mps_process *p, struct mps_time kill_at, struct mps_time until);
void process_ask_to_end(struct mps_process *p);

/* ----------------------------------------------------------------------------------- lineage.c: marks, guard */

/* Of the n-th child. */
uint64_t lineage_mark(uint32_t n, bool outlives);
/* All that bears the mark, and what descends from that, is killed. 0, or -ETIMEDOUT. */
int lineage_kill(uint64_t mark, struct mps_time until);
/* There is a guard, or one is started; with the lock held. Where there can be none nothing happens. */
void guard_ensure(void);
/* This process ends as it should. */
void guard_dismiss(void);
/* In a copy of the process. */
void guard_forget(bool closes);
/* The role. */
int guard_run(int argc, char **argv);
extern const char guard_role[];

/* ----------------------------------------------------------------------------------------- forker.c */

/*
 * Asks the forkserver for a child; it is started where there is none. 0 with pid and pidfd of *ret_child, or -errno
 * with *ret_failure.
 */
int forker_start(const struct mps_spawn *s, struct mps_child *ret_child,
		 struct mps_failure *ret_failure);
/* NULL: its current directory is ours. To be freed. */
char *forker_cwd(void);
void forker_end(void);
void forker_forget(bool closes);
int forker_run(int argc, char **argv);
extern const char forker_role[];

/* ----------------------------------------------------------------------------------------- target.c */

extern const char target_role[];
/* By name; NULL = not registered. */
mps_target *target_find(const char *name);
/* NULL: not registered, or another one has its name, and would be run in its place. */
const char *target_name(mps_target *function);
/* What a process that was made for a target does; argv: program, role, number of the note's descriptor, name. */
int target_run(int argc, char **argv);
/* For a fork the same, in the memory that is copied; argv is what it is called with. */
struct copy {
	char *argv[4];
	const struct note *note;
	struct mps_args *args;
	mps_target *function;
};
int target_run_copy(int argc, char **argv);
/* mps_init() has been called, so an image of this program can be something else. */
bool target_is_ready(void);
/* argv[0] of an image of this program. */
char *target_program(void);

/* ----------------------------------------------------------------------------------------- launch.c */

/*
 * mps_spawn_start(), and waits until it is known how that went. 0 with pid and pidfd; -errno with *ret_failure, when the
 * child is reaped.
 */
int launch(const struct mps_spawn *s, struct mps_child *ret_child, struct mps_failure *ret_failure);
int fail_step(struct mps_failure *ret_failure, int step, int error);
/* To where it does not stand in the way of those that come and go (MPS_LOW_FDS). */
void lift_fd(int *fd);
bool is_main_thread(void);
/* The end of a child that nobody else knows of. */
void reap_hidden(pid_t pid, int pidfd);

#endif
