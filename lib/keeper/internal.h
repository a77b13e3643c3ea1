/*
 * The keeper's state, shared by its files: keeper.c (loop, signals, deadlines), boss.c (the supervisor's process),
 * dispatch.c (messages), end.c (the end of all), slot.c (one instance: start, exec, exit, signals), heir.c (another main
 * process than the one that was started), slot_report.c (what the supervisor is told of instances), server.c
 * (forkservers), server_ask.c (what they are asked for), stray.c (orphans: whose they are, reaping and ending them), and
 * those of the tracker (tracker.h).
 */
#ifndef KEEPER_INTERNAL_H
#define KEEPER_INTERNAL_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/limits.h"
#include "base/mtime.h"
#include "keeper/keeper.h"
#include "keeper/message.h"
#include "proc/spawn.h"
#include "proc/tree.h"

enum slot_state {
	SLOT_IDLE,
	SLOT_EXEC,   /* forked; exec not yet confirmed */
	SLOT_ALIVE,  /* exec succeeded */
	SLOT_ENDING, /* the main process is reaped, its tree is not known to be gone */
};

/* What the supervisor has not been told yet, in the order in which it is told. */
enum {
	REPORT_REFUSED = 1 << 0, /* another start, while this one is on */
	REPORT_STARTED = 1 << 1,
	REPORT_MAIN = 1 << 2,
	REPORT_FAILED = 1 << 3,
	REPORT_EXITED = 1 << 4,
	REPORT_GONE = 1 << 5,
	REPORT_INSTANCE = 1 << 6, /* to a new supervisor; the others are part of it */
	REPORT_OBJECTS = 1 << 7,  /* how many it holds; told before the others */
};

#define NO_SLOT UINT32_MAX

/* Signals for the supervisor have numbers below it. */
#define KEEPER_SIGNALS 32

struct ask;
struct holding;
struct server;
struct tracker;

struct slot {
	uint32_t gen;
	pid_t pid; /* 0 in EXEC: a forkserver has not made it yet */
	int pidfd;
	int exec_fd;
	pid_t heir; /* who has been named as the main process while pid lives; 0 = nobody */
	int heir_fd;
	pid_t first; /* who was started, if pid has succeeded it; 0 = pid is it */
	uint8_t state;
	uint8_t leftovers; /* enum keeper_leftovers */
	uint8_t reports;
	bool tree_left;		 /* as EXITED tells it */
	bool kill;		 /* whatever is left gets SIGKILL */
	bool linked;		 /* is in the list of ending slots */
	bool queued;		 /* is in the queue of reports */
	bool reaped;		 /* a stray of it, in the sweep of now */
	bool failed;		 /* IDLE: it was never started */
	struct birth_room *room; /* lent until the exec; NULL = none */
	struct ask *ask;	 /* of a forkserver, until the child is there */
	uint32_t n_left;	 /* strays of it, counted by the sweep */
	int32_t fail_step, fail_error;
	char *fail_text; /* NULL = fail_error says it */
	uint32_t refused_gen;
	int16_t refused_step, refused_error;
	int32_t exit_code, exit_status;
	struct mps_time started, ended_wall, grace, deadline;
	uint32_t next_ending, prev_ending, next_report;
	uint64_t sent; /* signals by SIGNAL since the start, bit n - 1 */
	uint32_t n_kept;
	int *kept;
	struct holding *holding; /* of objects; NULL = it never had any, nor a connection */
	char *name;		 /* for people; NULL = none */
	uint8_t cleanup;	 /* enum keeper_cleanup */
	bool scan;		 /* also for what its processes do not tell of */
	uid_t uid;		 /* it was started as */
	int64_t began;		 /* wall clock: its processes made nothing before */
	struct seen *seen;	 /* processes of it, but the main one: scan_sysv.c's */
};

/* An orphan that fell to us; it stays our child until we reap it, so its number cannot mean another. */
struct stray {
	pid_t pid;
	uint32_t slot; /* whose it is, or NO_SLOT */
	uint32_t gen;
	bool in_group; /* of the main process' process group */
	bool termed;   /* has had its TERM */
	bool leave;    /* of an instance whose left-overs are nobody's business */
};

/*
 * What one start lends to its child until the exec: the message that describes it, the decoder's scratch, a stack.
 * They are few; a start that finds none free forks in the ordinary way.
 */
#define BIRTHS_MAX 32

struct birth_room {
	_Alignas(16) char stack[MPS_STACK_SIZE];
	struct mps_spawn spawn;
	struct buf scratch;
	char *in; /* KEEPER_MSG_MAX bytes */
	bool busy;
	/* Open until the child has a descriptor table of its own: its end of the exec pipe, and what came along. */
	int fds[KEEPER_FDS_MAX + 1];
	size_t n_fds;
};

/* A supervisor: the one that is in charge, or one that is to be. */
struct boss {
	pid_t pid; /* 0 = none, -1 = reaped, but not dealt with */
	int pidfd, exec_fd, sock;
	bool greeted; /* has said HELLO */
	uint32_t code, status;
};
#define BOSS_INIT                                                                                  \
	{                                                                                          \
		0, -1, -1, -1, false, 0, 0                                                         \
	}

/* So many crashes in so short a time are no accident. */
#define BOSS_CRASHES 5
#define BOSS_CRASHES_NS (10 * MPS_NS_PER_S)

struct keeper {
	const struct keeper_options *options;
	pid_t pid;
	uint32_t id; /* in tags */
	int epoll, signals, children, null, idle[2];
	bool have_pidfd;	/* of all our children but siblings of workers */
	pid_t dead;		/* a child that the last SIGCHLD was about; 0 = none */
	uint64_t nofile;	/* the soft limit we were started with */
	struct boss boss, next; /* next: of an upgrade, pid 0 = none */
	bool greeted;		/* there has been a supervisor that came up */
	bool retiring;		/* the boss has been told to make room for the next */
	bool no_crash_limit;	/* MPSUP_NO */
	int ready_fd;		/* for the supervisor, until it has said 'R' there; -1 = none */
	int log_fd;		/* of the supervisor, for our last words; -1 = none */
	struct mps_time next_deadline; /* of what an upgrade waits for; ns 0 = nothing */
	struct mps_time crashes[BOSS_CRASHES];
	unsigned n_crashes;
	enum keeper_on_crash on_crash;
	/* Of each signal for the supervisor, how many there were; and of which it is to be told, bit n. */
	uint32_t signalled[KEEPER_SIGNALS];
	uint32_t signal_news;
	uint32_t conts;		       /* SIGCONT of the boss's that were passed on */
	pid_t gone_pid;		       /* of the boss that was reaped last */
	struct keeper_message welcome; /* about the one before, as WELCOME tells it */
	bool welcome_due;	       /* it has said HELLO, and was not told all of that yet */

	struct slot *slots;
	uint32_t n_slots;
	uint32_t n_live; /* EXEC or ALIVE */
	uint32_t first_ending;
	struct mps_time ending_deadline; /* none of theirs is earlier; ns 0 = none */
	uint32_t first_report, last_report;
	uint32_t kept_sent; /* descriptors of the slot that is told of now; 0 = none yet */
	bool server_news;   /* something about forkservers is to be told */
	bool sock_full;
	struct mps_time send_again; /* the kernel refused descriptors; ns 0 = it has not */

	struct server **servers; /* for good, in the order in which they were needed */
	uint32_t n_servers;
	bool reap_later;      /* somebody is dead who may be of these: when one has spoken .. */
	bool reap_again;      /* .. it is looked again */
	unsigned n_under_way; /* children that servers may have made and that have not spoken */

	struct pids children_now;
	struct stray *strays;
	size_t n_strays, cap_strays;
	bool sweep;  /* orphans may have come or died */
	bool reaped; /* a stray, in the sweep of now */
	bool blind;  /* memory or descriptors did not suffice for a sweep */
	struct mps_time sweep_not_before, sweep_soon; /* the second where somebody waits for it */

	bool finishing; /* everything ends, and then we do */
	bool finish_kill;
	struct mps_time finish_deadline;
	int exit_status;
	struct mps_time orphan_grace;
	char *unlink_list; /* encoded strv */
	size_t unlink_size;

	struct tracker *tracker; /* NULL = none */

	struct buf out, scratch;
	int fds[KEEPER_FDS_MAX];
	size_t n_fds;
	char *in; /* KEEPER_MSG_MAX bytes */
	struct birth_room rooms[BIRTHS_MAX];
	size_t n_sharing; /* rooms with n_fds > 0 */
};

/* What an epoll event is about. */
enum watch {
	WATCH_SOCK,
	WATCH_SIGNALS,
	WATCH_BOSS,
	WATCH_EXEC,
	WATCH_PIDFD,
	WATCH_HEIR,
	WATCH_NEXT,
	WATCH_NEXT_SOCK,
	WATCH_SERVER, /* `slot` is the server's index */
	WATCH_SERVER_SOCK,
	WATCH_TRACK,  /* who wants to connect */
	WATCH_CLIENT, /* `slot` is its index, `gen` its number */
	WATCH_SHM,
	WATCH_SCAN,
};
int keeper_watch(struct keeper *k, int fd, uint32_t events, enum watch what, uint32_t slot,
		 uint32_t gen);

/* *best becomes t where that is earlier; ns 0 = never. */
void keeper_earliest(struct mps_time *best, struct mps_time t);
/* Moves *fd above those that children need, where it may stay for long. */
void keeper_lift(int *fd);
/* The signals that are meant for the supervisor, bit n. */
uint32_t keeper_forwarded(void);
/* Stops watching *fd and closes it. */
void keeper_unwatch(struct keeper *k, int *fd);
/*
 * A process of our own, which has ends[1]: that is closed, and the descriptors that stay are lifted. 0, or -errno with the
 * step: then both ends are closed.
 */
int keeper_spawn(const struct mps_spawn *spawn, int ends[2], struct mps_child *ret,
		 enum mps_step *ret_step);
/* Sends k->out to the supervisor; false when the socket is full. */
bool keeper_send(struct keeper *k, const int *fds, size_t n);

/* boss.c */
/* 0, or -errno with the step that failed. */
int boss_start(struct keeper *k, enum mps_step *ret_step);
/* The boss, or the next, may have ended. */
void boss_on_exit(struct keeper *k, struct boss *b);
/* It is reaped; code and status tell how it ended. */
void boss_on_gone(struct keeper *k, struct boss *b);
/* It has said HELLO. */
void boss_on_hello(struct keeper *k, const struct keeper_message *m);
/* Answers HELLO: what was kept for instance 0, then WELCOME. False when the socket is full: to be called again. */
bool boss_welcome(struct keeper *k);
/* Starts another one from disk, which takes over when it has come up. stderr_fd becomes the keeper's. */
void boss_upgrade(struct keeper *k, int stderr_fd);
/* The next one has something to say, which can only be HELLO. */
void boss_on_next(struct keeper *k);
void boss_check_deadline(struct keeper *k, struct mps_time now);
/* A signal that the keeper got and that is meant for the supervisor. */
void boss_signal(struct keeper *k, int sig);
/* What of signals is to be told, into k->out; and that it was. */
void boss_encode_signals(struct keeper *k);
void boss_signals_told(struct keeper *k);
/* The boss is dead, but not reaped yet: the signals that it was sent and has not heard go to the next one. */
void boss_take_unheard(struct keeper *k);
/* Ends the boss and the next. */
void boss_kill(struct keeper *k);
void boss_close_ready(struct keeper *k);
/* For people, where no supervisor can say it any more: to standard error and the log. `level` as in its lines ("INFO"). */
void boss_say(const struct keeper *k, const char *level, const char *text);
/* Says why the keeper cannot start; 1. */
int boss_fail(const struct keeper *k, const char *what, int error);

/* dispatch.c */
/* A few at a time, so that a thousand starts in a row do not delay an exit. False when there are no more. */
bool dispatch_read(struct keeper *k);

/* end.c */
/* All is to end, and then the keeper with `status`; idempotent. */
void end_begin(struct keeper *k, int status);
/* What is left is killed. */
void end_hard(struct keeper *k);
/* Nothing is left. */
bool end_reached(const struct keeper *k);
void end_unlink(const struct keeper *k);

/* front.c: a front in place of the supervisor; without one the three that are told of something do nothing */
/* Starts its command; what comes of that is told. 0 or -errno. */
int front_start(struct keeper *k);
/* The command may have stopped, or go on. */
void front_on_stop(struct keeper *k);
/* An instance has ended, or was never started. */
void front_on_end(struct keeper *k);
void front_on_gone(struct keeper *k);
/* At the end: the tracker's folder, where the front is not there to remove it. */
void front_leave(const struct keeper *k);

/* slot.c */
/* `lend`: the message is in k->in and k->scratch, so the child may share our memory. */
void slot_start(struct keeper *k, const struct keeper_start *start, struct mps_spawn *spawn,
		bool lend);
/* Reports that a start failed before it became a process. */
void slot_refuse(struct keeper *k, const struct keeper_start *start, enum mps_step step, int error);
/* Closes what children shared that have their own by now; about_to_wait: the others will tell. */
void slot_release_files(struct keeper *k, bool about_to_wait);
void slot_on_exec(struct keeper *k, uint32_t index);
/* The main process may have ended: looks, and if so reaps. */
void slot_on_exit(struct keeper *k, uint32_t index);
void slot_signal(struct keeper *k, uint32_t index, int sig, enum keeper_scope scope);
/* The sweep has counted: nothing left means gone; else the clock to KILL starts. */
void slot_after_sweep(struct keeper *k, uint32_t index);
/* Nothing is left of the instance, and of what it has left behind either: it is told. */
void slot_gone(struct keeper *k, uint32_t index);
/* Descriptors that outlive the supervisor, from number `first` on; they become the keeper's. */
void slot_keep(struct keeper *k, uint32_t index, uint32_t first, const int *fds, size_t n);
/* Slot `index`, growing the table; NULL when memory ran out. */
struct slot *slot_at(struct keeper *k, uint32_t index);
/* The slot whose main process is pid, NO_SLOT if none. Linear: for kernels without pidfds and for strays without a tag. */
uint32_t slot_of_pid(const struct keeper *k, pid_t pid);
/* The main process: whom its program has named, else whom we have started. */
pid_t slot_main(const struct slot *s);
/* Its process group; that of one that was not started by us is whatever it is in now. */
pid_t slot_group(const struct slot *s);
/* A start that has no process yet has failed. */
void slot_fail(struct keeper *k, uint32_t index, const struct mps_failure *failure);

/* slot_report.c */
/* The supervisor is to be told of these, bits of REPORT_. */
void slot_report(struct keeper *k, uint32_t index, unsigned reports);
/* A new supervisor is to hear of every instance; how many that are. */
uint32_t slot_report_all(struct keeper *k);
/* Sends those that are kept from `first` on, unless some were sent already; false when the socket is full. */
bool slot_send_kept(struct keeper *k, uint32_t index, uint32_t first);
/* Tells what the socket takes. */
void slot_flush_reports(struct keeper *k);

/* heir.c */
/* Its program says that pid is its main process. Ignored if it is none of its own, and where there are no pidfds. */
void heir_name(struct keeper *k, uint32_t index, pid_t pid);
void heir_on_exit(struct keeper *k, uint32_t index);
/* The process that was started is reaped: true where another goes on in its place. */
bool heir_succeeds(struct keeper *k, uint32_t index);
void heir_drop(struct keeper *k, struct slot *s);

/* server.c */
/* Nobody is to use it: it ends when nothing is asked of it any more, until it is needed again. */
void server_drop(struct keeper *k, const char *name);
void server_on_word(struct keeper *k, uint32_t index);
void server_on_exit(struct keeper *k, uint32_t index);
bool server_has_pid(const struct keeper *k, pid_t pid, uint32_t *ret_index);
/* Whatever of those that have ended is dead and was no program's yet. */
void server_reap_spares(struct keeper *k);
struct mps_time server_next_deadline(const struct keeper *k);
void server_check_deadlines(struct keeper *k, struct mps_time now);
void server_end_all(struct keeper *k);
bool server_any(const struct keeper *k);
/* A new supervisor is to hear of all of them. */
void server_tell_all(struct keeper *k);
/* What is to be told, into k->out; and that it was. */
void server_encode_news(struct keeper *k);
void server_news_told(struct keeper *k);

/* server_ask.c */
/*
 * A start by a forkserver, made if need be: the ask and a struct mps_child that has an exec_fd only. What came with the
 * START is the ask's then. 0, or -errno with *ret_step. Nothing is done before server_go_on().
 */
int server_ask(struct keeper *k, uint32_t slot, const struct mps_spawn *spawn, struct ask **ret_ask,
	       struct mps_child *ret_child, enum mps_step *ret_step);
/* Its exec_fd has ended and there is no child: another one, or -errno (-EAGAIN: this has been tried often enough). */
int server_ask_again(struct keeper *k, struct ask *a);
/* It waits in line, and the slot is ready for what comes of it. */
void server_go_on(struct keeper *k, const struct ask *a);
/* The child is there, the ask is no more; the signals that it is to get, bit n - 1. */
uint64_t server_on_born(struct keeper *k, struct ask *a);
/* A signal for the child. False: there will be none. */
bool server_signal(struct ask *a, int sig);
void server_forget(struct keeper *k, struct ask *a);

/* stray.c */
void stray_sweep(struct keeper *k, struct mps_time now);
/* When the next sweep may begin, if one is wanted. */
struct mps_time stray_sweep_due(const struct keeper *k);
/* Everything that fell to us and is not meant to stay. */
size_t stray_count(const struct keeper *k);
/* When all is over: ends what bears our mark and never fell to us, such as siblings of workers (CLONE_PARENT). */
void stray_last_look(struct keeper *k);
void stray_signal(struct keeper *k, uint32_t slot, int sig);
/* One of this run of the instance lives. */
bool stray_any(const struct keeper *k, uint32_t slot);
void stray_reaped(struct keeper *k, const siginfo_t *si);

#endif
