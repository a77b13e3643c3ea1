/*
 * What programs leave behind in /dev/shm and elsewhere. The keeper knows of it, unlinks it and tells; here it is said to
 * people. What keepers leave that were killed is in their journals: the supervisor sweeps those, its own keeper's too
 * when that has died before it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/utf8.h"
#include "base/xalloc.h"
#include "sup/client.h"
#include "sup/sup_uv.h"
#include "track/sweep.h"

static void log_object(struct sup *s, enum svc_level level, const char *before,
		       enum track_type type, const char *name, const char *after,
		       const char *program, pid_t pid)
{
	AUTO_BUF clean = BUF_INIT;

	utf8_add_clean(&clean, name, strlen(name));
	activity_log(&s->log, level, "%s%s %s %s (%s%s%spid %d)", before, track_type_people(type),
		     clean.p != NULL ? clean.p : "", after, program[0] != '\0' ? "program " : "",
		     program, program[0] != '\0' ? ", " : "", (int)pid);
}

void ipc_on_unlinked(struct sup *s, const struct keeper_message *m)
{
	const struct keeper_message heard = { .type = KEEPER_HEARD, .count = 1 };
	const struct unit *u = m->instance < s->n_ids ? s->by_id[m->instance] : NULL;

	if (m->text == NULL || m->program == NULL)
		return;
	log_object(s, SVC_LOG_INFO, "leaked ", (enum track_type)m->object, m->text, "unlinked",
		   m->program, m->pid);
	events_ipc(s, u, m);
	keeper_link_send(s, &heard, NULL, NULL,
			 0); /* the line goes out at the end of this turn, too */
}

void ipc_on_objects(struct sup *s, const struct keeper_message *m)
{
	struct unit *u = m->instance < s->n_ids ? s->by_id[m->instance] : NULL;

	if (m->instance == 0) {
		/* Whoever floods it must not flood the log. */
		activity_log(&s->log, s->n_strange_words == 0 ? SVC_LOG_WARN : SVC_LOG_DEBG,
			     "the tracker has not heard %u connections or words: of strangers, "
			     "malformed, or beyond its limits",
			     m->count);
		s->n_strange_words = m->count;
	} else if (u != NULL) {
		u->n_objects = m->count;
		u->n_cleaned = m->cleaned;
	}
}

/* ------------------------------------------------------------------------------------------------------- sweeps */

static void on_swept(const struct track_record *record, enum object_state state, const char *who,
		     void *user)
{
	enum track_type type = (enum track_type)record->type;

	if (state == OBJECT_FREE)
		log_object(user, SVC_LOG_INFO, "leaked ", type, record->name, "unlinked", who,
			   record->creator.pid);
	else if (state == OBJECT_USED || state == OBJECT_UNKNOWN)
		log_object(user, SVC_LOG_WARN, "", type, record->name,
			   state == OBJECT_USED
				   ? "is not unlinked: it is in use"
				   : "is not unlinked: nobody can tell if it is in use",
			   who, record->creator.pid);
}

static void on_killed(size_t n, const char *who, void *user)
{
	struct sup *s = user;

	activity_log(&s->log, SVC_LOG_WARN,
		     "killed %zu processes that were left of %s, which was killed", n, who);
}

void ipc_sweep_own(struct sup *s)
{
	const struct track_sweep sweep = { .tell = on_swept, .killed = on_killed, .user = s };
	AUTO_FREE char *path = xasprintf("%s/ipc.journal", s->options->dir);
	int r = track_sweep_journal(path, &sweep);

	if (r < 0 && r != -ENOENT)
		activity_log(&s->log, SVC_LOG_WARN,
			     "objects that programs have left behind are not unlinked: %s: %s",
			     path, strerror(-r));
}

void ipc_sweep_dead(struct sup *s)
{
	const struct track_sweep sweep = { .tell = on_swept, .killed = on_killed, .user = s };
	AUTO_FREE char *base = client_runtime_base();

	ipc_sweep_own(s);
	track_sweep_all(base, &sweep);
}
