/*
 * What the supervisor knows of forkservers.
 */
#include "sup/servers.h"

#include <criterion/criterion.h>

#include "base/cleanup.h"
#include "conf/conf.h"

Test(servers, are_found_by_name_as_they_were_told_last)
{
	struct servers s = { NULL, 0 };
	static const char *const names[] = { "one", "two", "", "on" };

	cr_expect_null(servers_find(&s, "one"));
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		servers_set(&s, names[i], (pid_t)i + 10, false, (uint32_t)i);
	servers_set(&s, "two", 0, false, 7);
	cr_expect_eq(s.n, ARRAY_SIZE(names));
	cr_expect_eq(servers_find(&s, "one")->pid, 10);
	cr_expect_eq(servers_find(&s, "two")->pid, 0);
	cr_expect_eq(servers_find(&s, "two")->n_started, 7);
	cr_expect_eq(servers_find(&s, "on")->pid, 13);
	cr_expect_null(servers_find(&s, "o"));
	servers_fini(&s);
	cr_expect_eq(s.n, 0);
	cr_expect_null(servers_find(&s, "one"));
	servers_fini(&s);
}

Test(servers, are_used_by_programs_of_that_method)
{
	static struct conf_proc procs[] = {
		{ .start_method = CONF_METHOD_SPAWN },
		{ .start_method = CONF_METHOD_FORKSERVER, .forkserver = (char *)"one" },
		{ .start_method = CONF_METHOD_FORK, .forkserver = (char *)"two" },
	};
	struct conf conf = { .procs = procs, .n_procs = ARRAY_SIZE(procs) };

	cr_expect(servers_is_used(&conf, "one"));
	cr_expect_not(servers_is_used(&conf, "two"));
	cr_expect_not(servers_is_used(&conf, "on"));
	conf.n_procs = 1;
	cr_expect_not(servers_is_used(&conf, "one"));
}
