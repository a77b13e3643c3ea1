/*
 * From a configured program to what the keeper starts: whose value of a variable counts, which file is executed, and
 * the words of each mistake, which are supervisord's.
 */
#include "sup/worker.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/xalloc.h"
#include "conf/conf.h"

static char folder[] = "/tmp/mpsup-test.XXXXXX", conf_path[64];
static struct conf conf;
static struct worker_base base;
static char *argv_[] = { (char *)"sh", NULL };
static char *environment[8];

static void put_file(const char *path, const char *text, mode_t mode)
{
	AUTO_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	cr_assert_eq(fd_write_all(fd, text, strlen(text)), 0);
	cr_assert_eq(chmod(path, mode), 0);
}

static void enter(void)
{
	cr_assert_not_null(mkdtemp(folder));
	cr_assert_eq(chdir(folder), 0);
	snprintf(conf_path, sizeof(conf_path), "%s/main.conf", folder);
	conf.path = conf_path;
	worker_base_init(&base, &conf, "inst", "/run/sock");
}

static void leave(void)
{
	char command[128];

	worker_base_fini(&base);
	snprintf(command, sizeof(command), "rm -r %s", folder);
	cr_expect_eq(system(command), 0);
}

static struct conf_proc program(void)
{
	return (struct conf_proc){
		.program = (char *)"web",
		.name = (char *)"web_0",
		.group = (char *)"web",
		.argv = argv_,
		.environment = environment,
		.umask = CONF_UNSET,
		.place = { conf_path, 1 },
		.place_command = { conf_path, 2 },
		.place_directory = { conf_path, 3 },
		.place_user = { conf_path, 4 },
		.place_env_file = { conf_path, 5 },
	};
}

static const char *value(const struct worker_spawn *w, const char *name)
{
	size_t n = strlen(name), found = 0;
	const char *v = NULL;

	for (char **e = w->envp; *e != NULL; e++)
		if (strncmp(*e, name, n) == 0 && (*e)[n] == '=') {
			v = *e + n + 1;
			found++;
		}
	cr_expect_leq(found, 1, "%s is there %zu times", name, found);
	return v;
}

static void fails(const struct conf_proc *p, const char *text)
{
	struct worker_spawn w = { 0 };
	struct err err = ERR_INIT;

	cr_expect_lt(worker_prepare(&base, p, "web:web_0", 1, &w, &err), 0);
	cr_expect_str_eq(err.text, text);
	worker_spawn_fini(&w);
}

static void prepares(const struct conf_proc *p, struct worker_spawn *w)
{
	struct err err = ERR_INIT;

	cr_assert_eq(worker_prepare(&base, p, "web:web_0", 7, w, &err), 0, "%s", err.text);
}

TestSuite(worker, .init = enter, .fini = leave);

Test(worker, the_last_word_on_a_variable_is_environment)
{
	struct conf_proc p = program();
	struct worker_spawn w;

	for (int i = 1; i <= 4; i++) {
		char name[4] = { 'V', (char)('0' + i), 0 };

		setenv(name, "inherited", 1);
	}
	setenv("SUPERVISOR_ENABLED", "0", 1);
	setenv("HOME", "/inherited", 1);
	put_file("env", "V2=file\nV3=file\nSUPERVISOR_GROUP_NAME=file\nHOME=/file\n", 0600);
	p.env_file = (char *)"env";
	p.user = (char *)"root";
	environment[0] = (char *)"V3=conf";
	environment[1] = (char *)"MPSUP_NAME=conf";
	environment[2] = NULL;
	prepares(&p, &w);
	cr_expect_str_eq(value(&w, "V1"), "inherited");
	cr_expect_str_eq(value(&w, "V2"), "file");
	cr_expect_str_eq(value(&w, "V3"), "conf");
	cr_expect_str_eq(value(&w, "SUPERVISOR_ENABLED"), "1");
	cr_expect_str_eq(value(&w, "SUPERVISOR_PROCESS_NAME"), "web_0");
	cr_expect_str_eq(value(&w, "SUPERVISOR_GROUP_NAME"), "file");
	cr_expect_str_eq(value(&w, "MPSUP_NAME"), "conf");
	cr_expect_str_eq(value(&w, "MPSUP_SOCKET"), "/run/sock");
	cr_expect_str_eq(value(&w, "MPSUP_INSTANCE"), "inst/web:web_0/7");
	cr_expect_str_eq(value(&w, "HOME"), "/file");
	cr_expect_str_eq(value(&w, "USER"), "root");
	cr_expect_str_eq(value(&w, "LOGNAME"), "root");
	worker_spawn_fini(&w);
}

Test(worker, without_a_user_home_is_inherited)
{
	struct conf_proc p = program();
	struct worker_spawn w;

	setenv("HOME", "/inherited", 1);
	prepares(&p, &w);
	cr_expect_str_eq(value(&w, "HOME"), "/inherited");
	cr_expect_not(w.spawn.set_user);
	cr_expect_null(value(&w, "SUPERVISOR_SERVER_URL"));
	cr_expect_geq(w.spawn.nofile, 100);
	worker_spawn_fini(&w);
}

Test(worker, the_first_of_path_that_exists_counts)
{
	struct conf_proc p = program();
	struct worker_spawn w;
	char path[128], expected[128];

	mkdir("a", 0700);
	mkdir("b", 0700);
	put_file("b/prog", "", 0700);
	argv_[0] = (char *)"prog";
	snprintf(path, sizeof(path), "PATH=/nonexistent:%s/a:%s/b", folder, folder);
	environment[0] = path; /* the program's own PATH, not the supervisor's */
	snprintf(expected, sizeof(expected), "%s/b/prog", folder);
	prepares(&p, &w);
	cr_expect_str_eq(w.path, expected);
	worker_spawn_fini(&w);
	put_file("a/prog", "", 0600);
	snprintf(expected, sizeof(expected),
		 "command at '%s/a/prog' is not executable (main.conf:2)", folder);
	fails(&p, expected);
	unlink("a/prog");
	mkdir("a/prog", 0700);
	snprintf(expected, sizeof(expected), "command at '%s/a/prog' is a directory (main.conf:2)",
		 folder);
	fails(&p, expected);
	argv_[0] = (char *)"nosuch";
	fails(&p, "can't find command 'nosuch' (main.conf:2)");
}

Test(worker, a_command_with_a_slash_is_not_searched)
{
	struct conf_proc p = program();
	struct worker_spawn w;
	char expected[128];

	argv_[0] = (char *)"bin/x";
	p.directory = (char *)"/usr";
	prepares(&p, &w);
	snprintf(expected, sizeof(expected), "%s/bin/x", folder);
	cr_expect_str_eq(w.path, expected); /* from where the supervisor stands */
	cr_expect_str_eq(w.spawn.cwd, "/usr");
	worker_spawn_fini(&w);
	argv_[0] = (char *)"/no/such";
	prepares(&p, &w);
	cr_expect_str_eq(w.path, "/no/such");
	worker_spawn_fini(&w);
}

Test(worker, users_are_looked_up_by_name_and_number)
{
	static const char *const users[] = { "nobody", "65534" };
	struct conf_proc p = program();

	for (int i = 0; i < 4 && geteuid() == 0; i++) {
		struct worker_spawn w;

		p.user = (char *)users[i % 2];
		prepares(&p, &w);
		cr_expect(w.spawn.set_user);
		cr_expect_eq(w.spawn.uid, 65534);
		cr_expect_geq(w.spawn.n_groups, 1);
		cr_expect_str_eq(value(&w, "USER"), "nobody");
		worker_spawn_fini(&w);
	}
	p.user = (char *)"nosuchuser";
	fails(&p, "no user 'nosuchuser' (main.conf:4)");
}

Test(worker, a_missing_env_file_is_a_mistake_unless_it_is_optional)
{
	struct conf_proc p = program();
	struct worker_spawn w = { 0 };
	struct err err = ERR_INIT;

	p.env_file = (char *)"nosuch";
	cr_expect_eq(worker_prepare(&base, &p, "web", 1, &w, &err), -ENOENT);
	cr_expect_eq(strncmp(err.text, "env_file: ", 10), 0, "%s", err.text);
	cr_expect_not_null(strstr(err.text, "(main.conf:5)"));
	p.env_file_optional = true;
	prepares(&p, &w);
	worker_spawn_fini(&w);
}

Test(worker, a_command_that_cannot_be_split_says_so)
{
	struct conf_proc p = program();

	p.argv = NULL;
	p.argv_error = (char *)"a quote has no end";
	fails(&p, "a quote has no end");
}

Test(worker, a_failed_start_names_step_subject_and_place)
{
	static const struct {
		enum mps_step step;
		int error;
		const char *text;
		const char *says;
	} rows[] = {
		{ MPS_STEP_EXEC, ENOENT, "exec /opt/x: No such file or directory (main.conf:2)",
		  NULL },
		{ MPS_STEP_CHDIR, EACCES, "chdir /srv: Permission denied (main.conf:3)", NULL },
		{ MPS_STEP_UID, EPERM, "setuid (user bob): Operation not permitted (main.conf:4)",
		  NULL },
		{ MPS_STEP_FORK, EAGAIN, "fork: Resource temporarily unavailable (main.conf:1)",
		  NULL },
		{ MPS_STEP_ENTRY, 0, "entry ./w.so: undefined symbol: f (main.conf:2)",
		  "undefined symbol: f" },
		{ MPS_STEP_SERVER, 0, "forkserver one: preload a.so: no (main.conf:1)",
		  "preload a.so: no" },
		{ MPS_STEP_SERVER, EAGAIN,
		  "forkserver one: Resource temporarily unavailable (main.conf:1)", NULL },
	};
	struct conf_proc p = program();

	argv_[0] = (char *)"/opt/x";
	p.directory = (char *)"/srv";
	p.user = (char *)"bob";
	p.forkserver = (char *)"one";
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		AUTO_FREE char *text = NULL;

		p.entry = rows[i].step == MPS_STEP_ENTRY ? (char *)"./w.so:f" : NULL;
		text = worker_failure_text(&base, &p, rows[i].step, rows[i].error, rows[i].says);

		cr_expect_str_eq(text, rows[i].text);
	}
}

/* What the kernel says of an exec that failed is about the interpreter as often as about the file. */
Test(worker, a_failed_exec_names_the_file_that_was_tried_and_what_it_lacks)
{
	static const struct {
		const char *content;
		int error;
		const char *says;
	} rows[] = {
		{ "#!/usr/bin/pyton3\n", ENOENT, "its interpreter /usr/bin/pyton3 does not exist" },
		{ "#! /no/env -S x\nls\n", ENOENT, "its interpreter /no/env does not exist" },
		{ "#!/bin/sh\r\nls\r\n", ENOENT,
		  "its interpreter /bin/sh exists, but the line has a CR at its end" },
		{ "#!/no/end", ENOENT, "its interpreter /no/end does not exist" },
		{ "\177ELF", ENOENT, "its dynamic loader does not exist" },
		{ "ls\n", ENOEXEC, "Exec format error: no #! line?" },
		{ "#!/bin/sh\n", EACCES, "Permission denied" },
	};
	struct conf_proc p = program();
	static char path_variable[64];

	argv_[0] = (char *)"tool";
	snprintf(path_variable, sizeof(path_variable), "PATH=%s", folder);
	environment[0] = path_variable;
	p.environment = environment;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		AUTO_FREE char *want =
			xasprintf("exec %s/tool: %s (main.conf:2)", folder, rows[i].says);
		AUTO_FREE char *text = NULL;

		put_file("tool", rows[i].content, 0700);
		text = worker_failure_text(&base, &p, MPS_STEP_EXEC, rows[i].error, NULL);
		cr_expect_str_eq(text, want);
	}
}
