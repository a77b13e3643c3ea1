/*
 * The parts that the machine's actions are made of; private to its files. They write the fields of a service and call
 * its ops; which part is used when is the table's business.
 */
#ifndef SUP_SVC_STEP_H
#define SUP_SVC_STEP_H

#include <stdbool.h>
#include <stdint.h>

#include "sup/svc.h"

#define SVC_BIT(state) (1u << (state))

/* One event on its way through the table. */
struct svc_step {
	const struct svc_arg *arg; /* never NULL */
	struct mps_time now;
	struct mps_time arm; /* the timer that the next state begins with; ns 0 = none */
	unsigned allowed;    /* states, from the rule */
};

/*
 * The only writer of a state: asserts that the rule allows it, ends what it forbids (the timer of the old state, the
 * pid, the flags of STOPPING), notes the time, arms t->arm, tells on_state, and starts the process in STARTING.
 */
void svc_enter(struct svc *s, struct svc_step *t, enum svc_state to);

/* For states that are left again in the same event, but that those who watch are used to see. */
void svc_pass_through(struct svc *s, struct svc_step *t, enum svc_state state);

/* Arms the one timer, or disarms it (ns 0). */
void svc_set_timer(struct svc *s, struct mps_time at);

/* It is RUNNING when it says so. */
bool svc_tells_when_ready(const struct svc *s);
/* STARTING: by a forkserver, which may be loading still. */
bool svc_waits_for_server(const struct svc *s);
/* False for a timer that fired early or was replaced meanwhile; an early one is armed again. */
bool svc_timer_is_due(struct svc *s, const struct svc_step *t);

/* Log lines: free text, and "WHAT: NAME (exit status 1JUDGEMENT)" about the last exit. */
void svc_say(struct svc *s, enum svc_level level, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void svc_say_exit(struct svc *s, enum svc_level level, const char *what, const char *judgement);

/* Copies text to spawn_error; NULL clears it. */
void svc_remember_error(struct svc *s, const char *text);

/* What came with STARTED, EXITED and SPAWN_FAILED goes into the fields, the history and the log. */
void svc_note_started(struct svc *s, const struct svc_step *t);
void svc_note_exit(struct svc *s, const struct svc_step *t);
void svc_note_spawn_failed(struct svc *s, const struct svc_step *t);

/* Of the newest record of the history, which there must be. Nanoseconds. */
int64_t svc_last_uptime(const struct svc *s);

/* Notes a restart that restart_limit allows; false when it is one too many. Always true without a limit. */
bool svc_note_restart(struct svc *s, const struct svc_step *t);

/* A request begins a new count of everything. */
void svc_reset_counters(struct svc *s);
/* One more, without ever wrapping to 0. */
void svc_count_up(unsigned *n);

/* svc_stop.c */
/* stopsignal, or SIGABRT to one that was not heard of, and SIGCONT. */
void svc_send_stop(struct svc *s);
void svc_send_kill(struct svc *s);
/* When SIGKILL is sent again; when one that was asked to end gets the signal. */
struct mps_time svc_next_kill(const struct svc *s, const struct svc_step *t);
struct mps_time svc_half_of_stop(const struct svc *s, const struct svc_step *t);
/* It has t->arg->span from now on, but never less than it had. */
void svc_extend(struct svc *s, const struct svc_step *t);

/* svc_after.c: the state that follows. */
enum svc_state svc_start_again(struct svc *s);
/* It has asked for a restart itself: at once, unless restart_limit forbids it. */
enum svc_state svc_restart_as_asked(struct svc *s, const struct svc_step *t);
/* It did not come up: exited before startsecs, or could not be started. */
enum svc_state svc_fail(struct svc *s, struct svc_step *t);
/* A run that had come up is over, and so is its tree. */
enum svc_state svc_after_run(struct svc *s, struct svc_step *t);

#endif
