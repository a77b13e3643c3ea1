/*
 * A service: one process of the configuration and its life. The machine is a table of states and events; it is pure:
 * what it does goes through struct svc_ops, the time is an argument, so it is tested without a process.
 * Rules are supervisord's (states, codes, startretries) with monotonic time; see mpsup.conf(5), LIFE OF A PROGRAM.
 */
#ifndef SUP_SVC_H
#define SUP_SVC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/mtime.h"

struct conf_proc;

/* X(NAME, code of supervisord, what holds in it) */
#define SVC_STATES(X)                                                                              \
	X(STOPPED, 0, "not started, or stopped by a request; no process")                          \
	X(STARTING, 10, "started; not yet startsecs old, or has not said yet that it is ready")    \
	X(RUNNING, 20, "running")                                                                  \
	X(BACKOFF, 30, "ended too early, or could not be started; waits to be tried again")        \
	X(STOPPING, 40,                                                                            \
	  "being ended, or its main process has and the rest of its tree is being ended")          \
	X(EXITED, 100, "ended by itself from RUNNING; no process")                                 \
	X(FATAL, 200, "given up; no process")                                                      \
	X(UNKNOWN, 1000, "the supervisor could not find out")

enum svc_state {
#define X(name, code, doc) SVC_##name,
	SVC_STATES(X)
#undef X
		N_SVC_STATES
};

/* X(NAME, what happened) */
#define SVC_EVENTS(X)                                                                              \
	X(START, "a request to start, or autostart")                                               \
	X(STOP, "a request to stop")                                                               \
	X(RESTART, "a request to stop, if need be, and then start")                                \
	X(KILL, "a request to end the whole tree by SIGKILL now")                                  \
	X(STARTED, "exec has succeeded; arg.pid")                                                  \
	X(SPAWN_FAILED, "it cannot be started; arg.text says why")                                 \
	X(SPAWN_BUSY, "it could not be started for lack of a resource that comes back; arg.text")  \
	X(RELIEF, "a resource may have come back")                                                 \
	X(EXITED, "the main process has ended; arg.exit; others of its tree may still be there")   \
	X(GONE, "the last process of the tree is gone")                                            \
	X(TIMER, "the armed time has come")                                                        \
	X(READY, "it has said that it is ready")                                                   \
	X(ALIVE, "it has said that it is alive")                                                   \
	X(EXTEND, "it has said that it needs longer to start or to stop; arg.span")                \
	X(MAIN, "another of its processes is the main one now; arg.pid")

enum svc_event {
#define X(name, doc) SVC_EV_##name,
	SVC_EVENTS(X)
#undef X
		N_SVC_EVENTS
};

/* How a main process ended: the si_code and si_status of waitid(2). */
struct svc_exit {
	int code;	      /* CLD_EXITED, CLD_KILLED, CLD_DUMPED */
	int status;	      /* exit status, or signal */
	bool tree_left;	      /* others of its tree are still there; GONE will follow */
	struct mps_time wall; /* when, CLOCK_REALTIME */
};

struct svc_arg {
	pid_t pid;	      /* STARTED, MAIN */
	const char *text;     /* SPAWN_FAILED, SPAWN_BUSY: copied */
	struct svc_exit exit; /* EXITED */
	int64_t span;	      /* EXTEND, ns */
	bool by_itself; /* START, RESTART: the program has asked for it, and restart_limit counts it like an end */
};

/* Which processes a signal goes to. */
enum svc_scope { SVC_SCOPE_MAIN, SVC_SCOPE_GROUP, SVC_SCOPE_TREE };

enum svc_level { SVC_LOG_CRIT, SVC_LOG_ERRO, SVC_LOG_WARN, SVC_LOG_INFO, SVC_LOG_DEBG };

struct svc;

/*
 * What the machine does to the world. None of these may call svc_event() for the same service (asserted): what must
 * follow from a change of state is done after svc_event() has returned. For other services it may.
 */
struct svc_ops {
	/* Starts the process; the outcome arrives later as STARTED, SPAWN_FAILED or SPAWN_BUSY, never from inside. */
	void (*start)(struct svc *s);
	/* To the main process, its group, or everything of the instance. */
	void (*signal)(struct svc *s, int sig, enum svc_scope scope);
	/* Asks it, in words, to end. False where it cannot be asked. */
	bool (*ask)(struct svc *s);
	/* Arms the one timer of s for `at` (replaces an armed one); at.ns == 0 disarms. */
	void (*timer)(struct svc *s, struct mps_time at);
	/*
	 * After each change of state (s->state is the new one). A state that is only passed through (EXITED before an
	 * immediate restart) is reported too; svc_is_ended() is false in it.
	 */
	void (*on_state)(struct svc *s, enum svc_state from);
	/* A line for the activity log, in supervisord's wording. */
	void (*log)(struct svc *s, enum svc_level level, const char *text);
	/* 0 … UINT32_MAX, for jitter. */
	uint32_t (*random)(struct svc *s);
};

#define SVC_HISTORY 8

/* A past run, for `status NAME`. */
struct svc_past {
	struct mps_time ended; /* wall clock */
	int64_t uptime_ns;
	int32_t code; /* CLD_*, 0 = could not be started */
	int32_t status;
};

struct svc {
	const struct conf_proc *conf;
	const struct svc_ops *ops;
	void *user;
	char *name;	   /* as people write it: "web", "web:web_00"; owned */
	char *spawn_error; /* why it could not be started, or is FATAL; NULL = no reason; owned */
	struct svc_past
		*history;   /* SVC_HISTORY of them once there is one, else NULL; ring, owned */
	unsigned n_history; /* ever written */
	/*
	 * When it was restarted by the policy since the last request, for restart_limit; the ring's room grows with
	 * n_limited, up to CONF_LIMIT_MAX. NULL = never; owned.
	 */
	struct mps_time *limited;
	unsigned n_limited; /* ever written */
	enum svc_state state;
	uint32_t id;	   /* the instance's number at the keeper */
	uint32_t gen;	   /* counts starts; answers to an older start are not ours */
	pid_t pid;	   /* 0 = none */
	unsigned restarts; /* starts by the policy, not by a request, since the last request */
	struct mps_time started; /* monotonic: exec of the present or last run */
	struct mps_time started_wall;
	struct mps_time changed; /* monotonic: last change of state */
	struct mps_time changed_wall;
	struct mps_time timer_at;  /* ns 0 = not armed */
	struct svc_exit last_exit; /* code 0 = none yet */
	unsigned backoff;	   /* tries that failed in a row */
	unsigned busy;		   /* tries that failed in a row for lack of a resource */
	unsigned streak;	   /* restarts in a row after runs shorter than restart_delay_max */
	bool want_start; /* STOPPING: start again when it is over (RESTART, or START while stopping) */
	bool stop_asked; /* STOPPING: a request, not a left-over tree */
	bool exited;	 /* STOPPING: the main process has ended, its tree has not */
	bool killed;	 /* STOPPING: SIGKILL was sent */
	bool too_soon;	 /* STOPPING: the main process ended, or is ended, before it had come up */
	bool asked;	 /* STOPPING: in words; the signal comes later */
	bool own_wish;	 /* want_start: only the program itself has asked for it */
	bool overdue;	 /* STOPPING: since it was not heard of in time */
	bool ready;	 /* STARTING: it was faster to say so than the keeper that it is there */
	bool passing;	 /* in on_state: another state follows in the same event */
	bool inside;	 /* svc_event() is at work */
};

/* Takes conf and ops by reference, name by copy. State STOPPED, nothing armed. */
void svc_init(struct svc *s, uint32_t id, const char *name, const struct conf_proc *conf,
	      const struct svc_ops *ops, void *user);
void svc_fini(struct svc *s);

/*
 * The one way in. Every event may come at any time: what does not fit the state is ignored. `arg` may be NULL where
 * the event has none. Asserts that the state it leads to is among those that the table allows.
 */
void svc_event(struct svc *s, enum svc_event event, const struct svc_arg *arg, struct mps_time now);

const char *svc_state_name(enum svc_state state); /* "RUNNING" */
int svc_state_code(enum svc_state state);
const char *svc_event_name(enum svc_event event);

/* STARTING, RUNNING, STOPPING: there may be a process, so a signal can be sent. */
bool svc_is_signallable(const struct svc *s);
/* STOPPED, EXITED, FATAL, UNKNOWN. */
bool svc_is_stopped(const struct svc *s);
/* Never started. (gen may go on from where another unit with this number at the keeper ended.) */
bool svc_is_fresh(const struct svc *s);
/* Nothing will start it again by itself: stopped as above and no restart due. */
bool svc_is_ended(const struct svc *s);

/* A supervisor before us may have died before it sent what a stop needs: `sent` has the signals that were, bit n - 1. */
void svc_repeat_stop(struct svc *s, uint64_t sent);

/*
 * One line for people about s, the INFO column: "last exit: code 1, 4m ago", "SIGSEGV (core), retry in 12 s (7 of 10)",
 * the spawn error, "Not started". Heap string, "" when there is nothing to say.
 */
char *svc_info(const struct svc *s, struct mps_time now, struct mps_time wall);

/* "exit status 1", "terminated by SIGSEGV (core dumped)", as the activity log words it. Heap string. */
char *svc_exit_text(const struct svc_exit *e);

/* There was a run in the last try, and last_exit tells how it ended; false where it could not be started, or never was. */
bool svc_has_run(const struct svc *s);

/* True where the exit is one of exitcodes=. */
bool svc_exit_is_expected(const struct svc *s, const struct svc_exit *e);
/* Before EXITED of e at `now`: it is expected and the program has come up, or is being stopped. */
bool svc_exit_is_wanted(const struct svc *s, const struct svc_exit *e, struct mps_time now);

/*
 * The table, for tests and documentation: the states that `event` in `state` may lead to or pass through, one bit each
 * (1u << state). Only the state itself where the event is ignored; 0 = nobody wrote that cell.
 */
unsigned svc_rule_targets(enum svc_state state, enum svc_event event);

#endif
