/*
 * What one can wait for, and when it is in vain.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "sup/goal.h"

/* In the order of enum svc_state: . may come, + is there, - not any more. */
static const struct {
	const char *text;
	const char *verdicts;
	bool at_rest;
} goals[] = {
	{ "running", "..+..---", false },
	{ "RUNNING", "..+..---", false },
	{ "stopped", "+....---", true },
	{ "Exited", ".....+--", true },
	{ "fatal", ".....-+-", true },
	{ "backoff", "...+.---", false },
	{ "starting", ".+...---", false },
	{ "stopping", "....+---", false },
	{ "unknown", ".....--+", true },
	{ "down", "+....+++", true },
	{ "settled", "+.+..+++", true },
	{ "running,exited", "..+..+--", true },
	{ "starting,running", ".++..---", false },
};

Test(goal, each_state_is_judged)
{
	for (size_t i = 0; i < ARRAY_SIZE(goals); i++) {
		goal_set goal = 0;

		cr_assert_eq(goal_parse(goals[i].text, &goal, NULL), 0, "%s", goals[i].text);
		cr_expect_eq(goal_is_at_rest(goal), goals[i].at_rest, "%s", goals[i].text);
		for (int s = 0; s < N_SVC_STATES; s++)
			cr_expect_eq(".+-"[goal_judge(goal, (enum svc_state)s)],
				     goals[i].verdicts[s], "%s in %s", goals[i].text,
				     svc_state_name((enum svc_state)s));
	}
}

Test(goal, what_is_no_state_is_told_with_what_would_be_right)
{
	static const struct {
		const char *text, *says;
	} rows[] = {
		{ "runing", "no state 'runing' (did you mean running?)" },
		{ "", "no state '': one of running, exited, " },
		{ "running,", "no state ''" },
		{ "running,donw", "no state 'donw' (did you mean down?)" },
		{ "ready for everything", ", down, settled" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct err err = ERR_INIT;
		goal_set goal = 77;

		cr_expect_eq(goal_parse(rows[i].text, &goal, &err), -EINVAL);
		cr_expect_eq(goal, 77u);
		cr_expect(strstr(err.text, rows[i].says) != NULL, "%s", err.text);
	}
}

Test(goal, every_state_has_a_name)
{
	for (int s = 0; s < N_SVC_STATES; s++)
		cr_expect_eq(goal_state(svc_state_name((enum svc_state)s)), (enum svc_state)s);
	cr_expect_eq(goal_state("running"), N_SVC_STATES);
}
