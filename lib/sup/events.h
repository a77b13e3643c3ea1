/*
 * Events: what happens to services and to the supervisor, told to the clients that have subscribed (mpsup-ipc(7)). events.c
 * knows the names, events_uv.c who listens. Whoever sees something happen calls one of the functions below; with nobody
 * listening that costs a count.
 */
#ifndef SUP_EVENTS_H
#define SUP_EVENTS_H

#include <jansson.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/mtime.h"
#include "sup/svc.h"

struct err;
struct keeper_message;
struct subscription;
struct sup;
struct unit;

/* X(NAME, name on the wire) */
#define EVENT_TYPES(X)                                                                             \
	X(STATE, "state")                                                                          \
	X(EXIT, "exit")                                                                            \
	X(SPAWN_ERROR, "spawn_error")                                                              \
	X(LOG_ROTATED, "log_rotated")                                                              \
	X(IPC, "ipc")                                                                              \
	X(RELOAD, "reload")                                                                        \
	X(TAKEOVER, "takeover")                                                                    \
	X(SHUTDOWN, "shutdown")

enum event_type {
#define X(name, text) EVENT_##name,
	EVENT_TYPES(X)
#undef X
		N_EVENT_TYPES
};

#define EVENT_BIT(type) (1u << (type))
#define EVENT_ALL (EVENT_BIT(N_EVENT_TYPES) - 1)

const char *event_name(enum event_type type);
/* The type's number, or -EINVAL with err naming all that there are, or the nearest. */
int event_find(const char *name, struct err *err);

/* What is told to those who come later, too; seq 0 = it has not happened. */
struct event_kept {
	uint64_t seq;
	struct mps_time wall;
};

/* Part of struct sup. */
struct events {
	struct subscription *first;
	uint64_t seq; /* number of the last event, whether somebody heard it or not */
	struct event_kept takeover, shutdown;
	pid_t before; /* the supervisor that this one follows, and how it ended as waitid(2) has it */
	int before_code, before_status; /* code 0: it made room */
};

/* events_uv.c */
void events_state(const struct unit *u, enum svc_state from);
/* To be called before the service knows of it. */
void events_exit(const struct unit *u, pid_t pid, const struct svc_exit *e);
void events_spawn_error(const struct unit *u, const char *message);
/* What it had left behind was unlinked; u NULL: the program is no more. */
void events_ipc(struct sup *s, const struct unit *u, const struct keeper_message *m);
/* u NULL: a file that belongs to no program, such as the activity log. */
void events_log_rotated(struct sup *s, const struct unit *u, const char *file);
/*
 * Another configuration is in force: data is {"added":[],"removed":[],"changed":[]}, names of processes; the reference is
 * stolen. To be called when s->index is the new one, before what was added starts.
 */
void events_reload(struct sup *s, json_t *data);
/* No subscription means the unit with this number any more: the next one is another. */
void events_forget(struct sup *s, uint32_t id);
/* welcome: of the keeper, with how the supervisor before us ended. */
void events_takeover(struct sup *s, const struct keeper_message *welcome);
void events_shutdown(struct sup *s);

/* Ends a subscription; NULL is fine. */
void events_unsubscribe(struct subscription *sub);

#endif
