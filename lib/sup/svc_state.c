/*
 * A service to a record and back. See svc_state.h.
 */
#include "sup/svc_state.h"

#include <string.h>

#include "base/cleanup.h"
#include "base/xalloc.h"

enum {
	WANT_START = 1 << 0,
	STOP_ASKED = 1 << 1,
	EXITED = 1 << 2,
	KILLED = 1 << 3,
	TOO_SOON = 1 << 4,
	TREE_LEFT = 1 << 5,
	ASKED = 1 << 6,
	OVERDUE = 1 << 7,
	READY = 1 << 8,
	OWN_WISH = 1 << 9,
};

uint64_t svc_name_hash(const char *name)
{
	uint64_t h = UINT64_C(14695981039346656037); /* FNV-1a */

	for (; *name != '\0'; name++)
		h = (h ^ (unsigned char)*name) * UINT64_C(1099511628211);
	return h != 0 ? h : 1;
}

void svc_save(const struct svc *s, const struct svc_record *before, struct svc_record *ret,
	      const struct svc_rings *rings)
{
	unsigned n;

	memset(ret, 0, sizeof(*ret)); /* padding too */
	ret->name = before->name != 0 ? before->name : svc_name_hash(s->name);
	ret->started = s->started.ns;
	ret->started_wall = s->started_wall.ns;
	ret->changed = s->changed.ns;
	ret->changed_wall = s->changed_wall.ns;
	ret->timer_at = s->timer_at.ns;
	ret->exit_wall = s->last_exit.wall.ns;
	ret->gen = s->gen;
	ret->pid = s->pid;
	ret->restarts = s->restarts;
	ret->backoff = s->backoff;
	ret->busy = s->busy;
	ret->streak = s->streak;
	ret->n_history = s->n_history;
	ret->n_limited = s->n_limited;
	ret->exit_code = s->last_exit.code;
	ret->exit_status = s->last_exit.status;
	ret->state = (uint8_t)s->state;
	ret->flags =
		(uint16_t)((s->want_start ? WANT_START : 0) | (s->stop_asked ? STOP_ASKED : 0) |
			   (s->exited ? EXITED : 0) | (s->killed ? KILLED : 0) |
			   (s->too_soon ? TOO_SOON : 0) | (s->last_exit.tree_left ? TREE_LEFT : 0) |
			   (s->asked ? ASKED : 0) | (s->overdue ? OVERDUE : 0) |
			   (s->ready ? READY : 0) | (s->own_wish ? OWN_WISH : 0));
	/* One event may have written more than one. Of another run of numbers, a record that made no sense, all count. */
	n = s->n_history - before->n_history;
	for (n = n < SVC_HISTORY ? n : SVC_HISTORY; s->history != NULL && n > 0; n--)
		rings->history[(s->n_history - n) % SVC_HISTORY] =
			s->history[(s->n_history - n) % SVC_HISTORY];
	if (s->n_limited > before->n_limited)
		rings->limited[(s->n_limited - 1) % CONF_LIMIT_MAX] =
			s->limited[(s->n_limited - 1) % CONF_LIMIT_MAX];
}

/*
 * Arithmetic and the table may trust what is taken: no time lies before its clock began, what is being stopped is so for
 * a reason, and a run whose tree goes on is in the history.
 */
static bool is_sound(const struct svc_record *r)
{
	const int64_t times[] = { r->started,	   r->started_wall, r->changed,
				  r->changed_wall, r->timer_at,	    r->exit_wall };

	for (size_t i = 0; i < ARRAY_SIZE(times); i++)
		if (times[i] < 0)
			return false;
	if (r->state == SVC_STOPPING && !(r->flags & (STOP_ASKED | EXITED | OVERDUE)))
		return false;
	return r->state < N_SVC_STATES && r->pid >= 0 && (r->n_history > 0 || !(r->flags & EXITED));
}

static void restore_rings(struct svc *s, const struct svc_record *r, const struct svc_rings *rings)
{
	s->n_history = r->n_history;
	s->n_limited = r->n_limited;
	if (r->n_history > 0) {
		s->history = xcalloc(SVC_HISTORY, sizeof(*s->history));
		memcpy(s->history, rings->history, SVC_HISTORY * sizeof(*s->history));
	}
	if (r->n_limited > 0) {
		s->limited = xcalloc(CONF_LIMIT_MAX, sizeof(*s->limited));
		memcpy(s->limited, rings->limited, CONF_LIMIT_MAX * sizeof(*s->limited));
		for (size_t i = 0; i < CONF_LIMIT_MAX; i++)
			if (s->limited[i].ns < 0)
				s->limited[i].ns = 0;
	}
}

bool svc_restore(struct svc *s, const struct svc_record *r, const struct svc_rings *rings)
{
	if (!is_sound(r) || r->name != svc_name_hash(s->name))
		return false;
	s->started.ns = r->started;
	s->started_wall.ns = r->started_wall;
	s->changed.ns = r->changed;
	s->changed_wall.ns = r->changed_wall;
	s->timer_at.ns = r->timer_at;
	s->gen = r->gen;
	s->pid = r->pid;
	s->restarts = r->restarts;
	s->backoff = r->backoff;
	s->busy = r->busy;
	s->streak = r->streak;
	s->last_exit = (struct svc_exit){ .code = r->exit_code,
					  .status = r->exit_status,
					  .tree_left = r->flags & TREE_LEFT,
					  .wall = { r->exit_wall } };
	s->state = (enum svc_state)r->state;
	s->want_start = r->flags & WANT_START;
	s->stop_asked = r->flags & STOP_ASKED;
	s->exited = r->flags & EXITED;
	s->killed = r->flags & KILLED;
	s->too_soon = r->flags & TOO_SOON;
	s->asked = r->flags & ASKED;
	s->overdue = r->flags & OVERDUE;
	s->ready = r->flags & READY;
	s->own_wish = r->flags & OWN_WISH;
	restore_rings(s, r, rings);
	return true;
}
