/*
 * The machine as a whole: the arithmetic of its policy, every cell of its table, and a walk through everything that can
 * be reached.
 */
#include "../svc_script.h"

#include "sup/svc_policy.h"

/* ------------------------------------------------------------------------------------------------ policy */

Test(svc_policy, jitter_is_a_tenth_either_way)
{
	struct conf_proc c = { .restart_delay = MPS_NS_PER_S,
			       .restart_delay_max = 60 * MPS_NS_PER_S };
	int64_t low = svc_policy_delay(&c, 1, 0), high = svc_policy_delay(&c, 1, UINT32_MAX);

	cr_expect_eq(low, 900 * MPS_NS_PER_MS);
	cr_expect(high > 1099 * MPS_NS_PER_MS && high <= 1100 * MPS_NS_PER_MS);
}

Test(svc_policy, huge_numbers_do_not_overflow)
{
	struct conf_proc c = { .restart_delay = INT64_MAX / 3, .restart_delay_max = INT64_MAX };

	cr_expect(svc_policy_delay(&c, UINT32_MAX, 0) > 0);
	c.restart_delay = c.restart_delay_max = CONF_UNSET;
	cr_expect(svc_policy_delay(&c, UINT32_MAX, 0) > 0);
	cr_expect_eq(svc_policy_after((struct mps_time){ INT64_MAX - 5 }, 10).ns, INT64_MAX);
	cr_expect_eq(svc_policy_after((struct mps_time){ 0 }, -5).ns, 1);
	cr_expect_eq(svc_policy_busy_delay(UINT32_MAX), 800 * MPS_NS_PER_MS);
}

Test(svc_policy, a_long_restart_delay_alone_is_not_cut)
{
	struct conf_proc c = { .restart_delay = 600 * MPS_NS_PER_S,
			       .restart_delay_max = CONF_UNSET };

	cr_expect_eq(svc_policy_delay(&c, 3, 0), 540 * MPS_NS_PER_S);
	c.restart_delay_max = 0;
	cr_expect_eq(svc_policy_delay(&c, 3, 0), 0);
}

/* ------------------------------------------------------------------------------------------------ table */

Test(svc_table, every_cell_is_written)
{
	for (int state = 0; state < N_SVC_STATES; state++) {
		for (int event = 0; event < N_SVC_EVENTS; event++) {
			unsigned targets = svc_rule_targets(state, event);

			cr_expect(targets != 0 && targets < 1u << N_SVC_STATES, "%s in %s",
				  svc_event_name(event), svc_state_name(state));
		}
	}
}

Test(svc_table, only_requests_leave_a_state_at_rest)
{
	static const enum svc_state rest[] = { SVC_STOPPED, SVC_EXITED, SVC_FATAL, SVC_UNKNOWN };

	for (size_t i = 0; i < ARRAY_SIZE(rest); i++)
		for (int event = 0; event < N_SVC_EVENTS; event++)
			cr_expect_eq(svc_rule_targets(rest[i], event),
				     1u << (event == SVC_EV_START || event == SVC_EV_RESTART
						    ? SVC_STARTING
						    : rest[i]));
}

Test(svc_table, unknown_can_be_started)
{
	struct world w;

	play(&w, NULL, "+1");
	w.svc.state = w.from = SVC_UNKNOWN;
	do_word(&w, "exit:1");
	do_word(&w, "start");
	cr_expect_eq(w.svc.state, SVC_STARTING);
	world_fini(&w);
}

Test(svc_table, codes_are_supervisords)
{
	cr_expect_eq(svc_state_code(SVC_STOPPED), 0);
	cr_expect_eq(svc_state_code(SVC_BACKOFF), 30);
	cr_expect_eq(svc_state_code(SVC_FATAL), 200);
	cr_expect_str_eq(svc_state_name(SVC_UNKNOWN), "UNKNOWN");
	cr_expect_str_eq(svc_event_name(SVC_EV_SPAWN_BUSY), "SPAWN_BUSY");
}

/* ------------------------------------------------------------------------------------------------ walk */

enum { WALK_DEPTH = 40, WALK_PLACES = 40000 };

static const char *const steps[] = { "start",	"stop",	  "restart", "kill",   "up",
				     "nospawn", "busy",	  "relief",  "exit:0", "exit:1",
				     "exit:0+", "sig:9+", "gone",    "tick",   "due",
				     "ready",	"alive",  "extend",  "again",  "main" };

/* What tells two services apart as far as the machine's next step goes; counts beyond a few are the same. */
struct key {
	unsigned char state, pid, timer, flags, backoff, busy, streak, limited, down, code, heard;
};

struct place {
	struct key key;
	unsigned char path[WALK_DEPTH];
	unsigned char depth;
};

static unsigned char few(unsigned n)
{
	return n < 5 ? (unsigned char)n : 5;
}

static struct key key_of(const struct world *w)
{
	const struct svc *s = &w->svc;

	return (struct key){ .state = (unsigned char)s->state,
			     .pid = s->pid != 0,
			     .timer = s->timer_at.ns != 0,
			     .flags = (unsigned char)(s->want_start | s->stop_asked << 1 |
						      s->exited << 2 | s->killed << 3 |
						      s->too_soon << 4),
			     .backoff = few(s->backoff),
			     .busy = few(s->busy),
			     .streak = few(s->streak),
			     .limited = few(s->n_limited),
			     .down = w->down,
			     .code = s->exited && s->last_exit.code == CLD_EXITED,
			     .heard = (unsigned char)(s->asked | s->overdue << 1 | s->ready << 2 |
						      s->own_wish << 3) };
}

static void walk_step(struct world *w, int step)
{
	w->now.ns += 10 * MPS_NS_PER_MS;
	if (strcmp(steps[step], "due") != 0) {
		do_word(w, steps[step]);
	} else if (w->timer.ns != 0) {
		if (w->now.ns < w->timer.ns)
			w->now = w->timer;
		world_event(w, SVC_EV_TIMER, NULL);
	}
}

static void walk_to(struct world *w, const char *settings, const struct place *p)
{
	world_init(w, false);
	set_all(w, settings);
	for (int i = 0; i < p->depth; i++)
		walk_step(w, p->path[i]);
}

static bool is_new(const struct place *places, size_t n, struct key key)
{
	for (size_t i = 0; i < n; i++)
		if (memcmp(&places[i].key, &key, sizeof(key)) == 0)
			return false;
	return true;
}

/* Breadth first through everything that differs; the states that were met, one bit each. world_event() checks. */
static unsigned walk(const char *settings)
{
	struct place *places = xcalloc(WALK_PLACES, sizeof(*places));
	size_t n = 1;
	unsigned met = 0;

	for (size_t i = 0; i < n; i++) {
		for (int step = 0; step < (int)ARRAY_SIZE(steps); step++) {
			struct place next = places[i];
			struct world w;

			walk_to(&w, settings, &places[i]);
			walk_step(&w, step);
			met |= 1u << w.svc.state;
			next.key = key_of(&w);
			world_fini(&w);
			if (places[i].depth == WALK_DEPTH || !is_new(places, n, next.key))
				continue;
			next.path[next.depth++] = (unsigned char)step;
			cr_assert(n < WALK_PLACES);
			places[n++] = next;
		}
	}
	free(places);
	return met;
}

Test(svc_walk, everything_that_can_be_reached_is_sound, .timeout = 120)
{
	/* A state that is only passed through is not met. */
	static const unsigned always = 1u << SVC_STOPPED | 1u << SVC_STARTING | 1u << SVC_RUNNING |
				       1u << SVC_BACKOFF | 1u << SVC_STOPPING;
	static const struct {
		const char *settings;
		unsigned more;
	} rows[] = {
		{ "startretries=1", 1u << SVC_EXITED | 1u << SVC_FATAL },
		{ "startretries=1 autorestart=1 startsecs=0 limit=2 limit_secs=1000",
		  1u << SVC_FATAL },
		{ "startretries=1 autorestart=0 stopwaitsecs=0 kill_mode=2",
		  1u << SVC_EXITED | 1u << SVC_FATAL },
		{ "startretries=2 delay_ms=100 delay_max_ms=1000 limit=2 limit_secs=1000",
		  1u << SVC_EXITED | 1u << SVC_FATAL },
		{ "startretries=-1 delay_ms=0 autorestart=1", 0 },
		{ "startretries=1 notify=1 timeout_ms=500 watchdog_ms=300 message=1",
		  1u << SVC_EXITED | 1u << SVC_FATAL },
		{ "startretries=1 server=1 timeout_ms=500", 1u << SVC_EXITED | 1u << SVC_FATAL },
		{ "startretries=1 notify=1 autorestart=0 message=1 deaf=1 watchdog_ms=300",
		  1u << SVC_EXITED | 1u << SVC_FATAL },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		unsigned met = walk(rows[i].settings);

		cr_expect_eq(met, always | rows[i].more, "%s: states %x", rows[i].settings, met);
	}
}
