/*
 * Whole files: what processes come of them and which messages. Each test writes its files into a folder of its own.
 */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/xalloc.h"
#include "conf/conf.h"

static char folder[32];

static void setup(void)
{
	strcpy(folder, "/tmp/test_conf.XXXXXX");
	cr_assert_not_null(mkdtemp(folder));
}

static void teardown(void)
{
	char *command = xasprintf("rm -rf %s", folder);

	cr_expect_eq(system(command), 0);
	free(command);
}

TestSuite(conf, .init = setup, .fini = teardown);

static char *in_folder(const char *name)
{
	return xasprintf("%s/%s", folder, name);
}

static void put(const char *name, const char *text)
{
	char *path = in_folder(name);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	cr_assert_geq(fd, 0);
	cr_assert_eq(fd_write_all(fd, text, strlen(text)), 0);
	close(fd);
	free(path);
}

static struct conf *load(const char *name)
{
	char *path = in_folder(name);
	struct conf *conf = conf_load(path, NULL);

	free(path);
	return conf;
}

static struct conf *load_text(const char *text)
{
	put("main.conf", text);
	return load("main.conf");
}

static bool says(const struct conf *conf, enum conf_severity level, int line, const char *text)
{
	for (size_t i = 0; i < conf->n_messages; i++) {
		const struct conf_message *m = &conf->messages[i];

		if (m->level == level && m->line == line && strstr(m->text, text))
			return true;
	}
	return false;
}

static const char *env(char *const *v, const char *name)
{
	for (; *v; v++)
		if (strncmp(*v, name, strlen(name)) == 0 && (*v)[strlen(name)] == '=')
			return *v + strlen(name) + 1;
	return NULL;
}

Test(conf, a_program_has_supervisords_defaults)
{
	struct conf *conf = load_text("[program:web]\ncommand=/bin/cat -n 'a b'\n");
	const struct conf_proc *p = conf->procs;

	cr_assert_eq(conf->n_errors, 0);
	cr_assert_eq(conf->n_procs, 1);
	cr_expect(strcmp(p->name, "web") == 0 && strcmp(p->group, "web") == 0);
	cr_expect_eq(p->group_priority, 999);
	cr_expect(p->autostart && p->autorestart == CONF_RESTART_UNEXPECTED);
	cr_expect(p->startsecs == 1 && p->startretries == 3 && p->stopwaitsecs == 10);
	cr_expect(p->umask == CONF_UNSET && p->restart_delay == CONF_UNSET);
	cr_expect(p->restart_limit_count == 30 && p->restart_limit_secs == 60 && p->daemon);
	cr_expect(p->out.kind == CONF_LOG_AUTO && p->out.maxbytes == 50 << 20 &&
		  p->out.backups == 10);
	cr_expect_str_eq(p->argv[2], "a b");
	cr_expect_null(p->argv[3]);
	cr_assert_not_null(p->environment);
	cr_expect_null(p->environment[0]);
	cr_expect(p->place.line == 1 && p->place_command.line == 2 && p->place_user.line == 1);
	cr_expect_str_eq(conf->supervisord.identifier, "supervisor");
	conf_free(conf);
}

Test(conf, numprocs_makes_processes_with_their_own_values)
{
	struct conf *conf =
		load_text("[program:w]\nnumprocs=3\nnumprocs_start=5\n"
			  "process_name=%(program_name)s_%(process_num)02d\n"
			  "command=/bin/w %(process_num)d/%(numprocs)d %(ENV_ID)s\n"
			  "environment=ID=\"n%(process_num)d\"\n"
			  "stdout_logfile=%(here)s/%(group_name)s-%(process_num)d.log\n");
	char *log = xasprintf("%s/w-7.log", folder);

	cr_assert_eq(conf->n_errors, 0);
	cr_assert_eq(conf->n_procs, 3);
	cr_expect_str_eq(conf->procs[2].name, "w_07");
	cr_expect_str_eq(conf->procs[2].command, "/bin/w 7/3 n7");
	cr_expect_str_eq(conf->procs[1].command, "/bin/w 6/3 n6");
	cr_expect_str_eq(conf->procs[2].out.path, log);
	cr_expect_str_eq(env(conf->procs[0].environment, "ID"), "n5");
	free(log);
	conf_free(conf);
}

Test(conf, a_log_prefix_is_expanded_and_auto_is_none_of_its_own)
{
	struct conf *conf = load_text("[program:x]\ncommand=a\nlog_prefix=<%(program_name)s> \n"
				      "[program:y]\ncommand=a\nlog_prefix=Auto\n");

	cr_expect_str_eq(conf->procs[0].log_prefix, "<x>");
	cr_expect_null(conf->procs[1].log_prefix);
	conf_free(conf);
}

Test(conf, environments_are_merged_and_empty_ones_shared)
{
	struct conf *conf = load_text("[supervisord]\nenvironment=A=\"1\",B=\"2\"\n"
				      "[program:x]\ncommand=a %(ENV_A)s\n"
				      "[program:y]\ncommand=a\nenvironment=B=\"3\",C=\"4\"\n");

	cr_expect_eq(conf->procs[0].environment, conf->supervisord.environment);
	cr_expect_str_eq(conf->procs[0].command, "a 1");
	cr_expect_str_eq(env(conf->procs[1].environment, "A"), "1");
	cr_expect_str_eq(env(conf->procs[1].environment, "B"), "3");
	cr_expect_str_eq(env(conf->procs[1].environment, "C"), "4");
	conf_free(conf);
}

Test(conf, groups_take_their_programs)
{
	struct conf *conf =
		load_text("[program:a]\ncommand=a\npriority=5\n[program:b]\ncommand=b\n"
			  "[group:g]\nprograms=b, c\npriority=7\n"
			  "[fcgi-program:c]\ncommand=c\nsocket=tcp://localhost:80\n"
			  "[eventlistener:l]\ncommand=l\nevents=tick_5,PROCESS_STATE\n");

	cr_assert_eq(conf->n_errors, 0);
	cr_assert_eq(conf->n_procs, 4);
	cr_expect(strcmp(conf->procs[0].group, "a") == 0 && conf->procs[0].group_priority == 5);
	cr_expect(strcmp(conf->procs[1].group, "g") == 0 && conf->procs[1].group_priority == 7);
	cr_expect(conf->procs[1].priority == 999);
	cr_expect(strcmp(conf->procs[2].group, "g") == 0 &&
		  conf->procs[2].kind == CONF_FCGI_PROGRAM);
	cr_expect(conf->procs[3].group_priority == -1 && conf->procs[3].priority == 999);
	cr_expect_str_eq(conf->procs[3].events[0], "TICK_5");
	conf_free(conf);
}

Test(conf, files_are_included_in_order_and_deeply)
{
	struct conf *conf;
	char *sub = in_folder("sub");

	mkdir(sub, 0755);
	put("b.conf", "[program:x]\ndirectory=/b\n[program:b]\ncommand=b %(here)s\n");
	put("a.conf", "[program:x]\ndirectory=/a\n[include]\nfiles=sub/*.conf main.conf\n");
	put("sub/c.conf", "[program:c]\ncommand=c %(here)s\n");
	conf = load_text("[program:x]\ncommand=x\ndirectory=/main\n[include]\nfiles = [ab].conf\n  "
			 "no*.conf\n");
	cr_assert_eq(conf->n_errors, 0);
	cr_assert_eq(conf->n_procs, 3);
	cr_expect_str_eq(conf->procs[0].directory, "/b");
	cr_expect_str_eq(conf->procs[0].place_directory.file + strlen(folder), "/b.conf");
	cr_expect_str_eq(conf->procs[1].argv[1], sub);
	cr_expect_str_eq(conf->procs[2].argv[1], folder);
	cr_expect(says(conf, CONF_WARNING, 5, "no*.conf"));
	cr_expect(says(conf, CONF_WARNING, 4, "in a circle"));
	free(sub);
	conf_free(conf);
}

/* One row a file: the line and a part of the message it must give. */
static const struct {
	const char *text;
	enum conf_severity level;
	int line;
	const char *says;
} messages[] = {
	{ "[program:x]\n", CONF_ERROR, 1, "command= is missing" },
	{ "[program:x]\ncommand=a\nentry=b.so:c\n", CONF_ERROR, 3,
	  "in place of command= (line 2)" },
	{ "[program:x]\nentry=b.so\n", CONF_ERROR, 2, "is not FILE:FUNCTION" },
	{ "[program:x]\nentry=:f\n", CONF_ERROR, 2, "is not FILE:FUNCTION" },
	{ "[program:x]\nentry=b.so:a b\n", CONF_ERROR, 2, "is not FILE:FUNCTION" },
	{ "[program:x]\nentry=b.so:f\nargs='\n", CONF_WARNING, 3, "can't parse args" },
	{ "[program:x]\ncommand=a\nargs=b\n", CONF_WARNING, 3, "arguments of a command" },
	{ "[program:x]\ncommand=a\nstart_method=exec\n", CONF_ERROR, 3,
	  "none of spawn, fork, forkserver" },
	{ "[program:x]\ncommand=a\nforkserver=y\n", CONF_WARNING, 3, "start_method is spawn" },
	{ "[program:x]\ncommand=a\nstart_method=forkserver\nforkserver=modles\n[forkserver:models]"
	  "\n",
	  CONF_ERROR, 4, "did you mean models?" },
	{ "[program:x]\ncommand=a\nstart_method=forkserver\nforkserver=y\n", CONF_ERROR, 4,
	  "there is no [forkserver:y]" },
	{ "[forkserver:a b]\npreload=a.so\n", CONF_ERROR, 1, "' ' must not be in it" },
	{ "[supervisord]\nstart_method=forkserver\n[program:x]\ncommand=a\nforkserver=y\n",
	  CONF_ERROR, 5, "there is no [forkserver:y]" },
	{ "[program:x]\nentry=a.so:f\nstart_method=fork\nforkserver=y\n", CONF_WARNING, 4,
	  "start_method is fork" },
	{ "[forkserver]\npreload=a.so\n", CONF_WARNING, 1, "needs a name" },
	{ "[forkserver:x]\npreloda=a.so\n", CONF_WARNING, 2, "did you mean preload" },
	{ "[program:]\ncommand=a\n", CONF_ERROR, 1, "has no name" },
	{ "[program:a b]\ncommand=a\n", CONF_ERROR, 1, "' ' must not be in it" },
	{ "[program:x]\ncommand=a\nautostrat=1\n", CONF_WARNING, 3, "did you mean autostart" },
	{ "[program:x]\ncommand=a\nnodaemon=1\n", CONF_WARNING, 3, "belongs in [supervisord]" },
	{ "[program:x]\ncommand=a\ndepends_on=b\n", CONF_WARNING, 3, "unknown key, ignored" },
	{ "[progam:x]\ncommand=a\n", CONF_WARNING, 1, "did you mean [program:x]" },
	{ "[program]\ncommand=a\n", CONF_WARNING, 1, "needs a name" },
	{ "[DEFAULT]\nautostrat=1\n", CONF_WARNING, 2, "no section has a key" },
	{ "[program:x]\ncommand=a\nnumprocs=2\n", CONF_ERROR, 1, "(process_num) must be in it" },
	{ "[program:x]\ncommand=a\nnumprocs=0\n", CONF_WARNING, 3, "makes no process" },
	{ "[program:x]\ncommand=a\nstopasgroup=1\nkillasgroup=0\n", CONF_ERROR, 4,
	  "cannot go with" },
	{ "[program:x]\ncommand=a %(process_name)s\n", CONF_ERROR, 2,
	  "here, but %(here)s, %(host_node_name)s" },
	{ "[program:x]\ncommand=a\npriority=%(process_num)d\n", CONF_ERROR, 3, "there is no" },
	{ "[program:x]\ncommand=%(ENV_MPSUP_NOPE)s\n", CONF_ERROR, 2, "MPSUP_NOPE is not set" },
	{ "[program:x]\ncommand=date +%s\n", CONF_WARNING, 2, "write '%%s'" },
	{ "[program:x]\ncommand=a 'b\n", CONF_WARNING, 2, "can't parse command" },
	{ "[program:x]\ncommand=\n", CONF_WARNING, 2, "command is empty" },
	{ "[program:x]\ncommand=a\nuser=no-such-user\n", CONF_ERROR, 3, "there is no user" },
	{ "[program:x]\ncommand=a\nstdout_logfile=/no/such/x.log\n", CONF_NOTE, 3,
	  "does not exist" },
	{ "[program:x]\ncommand=a\nstdout_logfile=syslog\n", CONF_NOTE, 3, "stdout_syslog=true" },
	{ "[program:x]\ncommand=a\nredirect_stderr=1\nstderr_logfile=/x\n", CONF_WARNING, 4,
	  "is not used" },
	{ "[program:x]\ncommand=a\nrestart_delay=5\nrestart_delay_max=1\n", CONF_ERROR, 4,
	  "is less than" },
	{ "[program:x]\ncommand=a\n[program:y]\ncommand=a\nprocess_name=z\n[group:g]\nprograms=x,y,"
	  "q\n",
	  CONF_ERROR, 7, "there is no [program:q]" },
	{ "[program:x]\ncommand=a\n[fcgi-program:x]\ncommand=a\nsocket=tcp://"
	  "a:1\n[group:g]\nprograms=x\n",
	  CONF_ERROR, 7, "both a program and an fcgi-program" },
	{ "[program:x]\ncommand=a\n[eventlistener:x]\ncommand=b\nevents=TICK\n", CONF_WARNING, 3,
	  "another process is called x:x" },
	{ "[eventlistener:x]\ncommand=a\n", CONF_ERROR, 1, "events= is missing" },
	{ "[eventlistener:x]\ncommand=a\nevents=TICK_6\n", CONF_ERROR, 3, "did you mean TICK_5" },
	{ "[eventlistener:x]\ncommand=a\nevents=TICK\nredirect_stderr=1\n", CONF_ERROR, 4,
	  "must be false" },
	{ "[fcgi-program:x]\ncommand=a\nsocket=x\n", CONF_ERROR, 3, "is not tcp://" },
	{ "[fcgi-program:x]\ncommand=a\nsocket=tcp://a:1\nsocket_mode=0700\n", CONF_ERROR, 3,
	  "unix:// socket only" },
	{ "[include]\n", CONF_ERROR, 1, "files= is missing" },
	{ "[unix_http_server]\nchmod=0700\n", CONF_ERROR, 1, "file= is missing" },
	{ "[inet_http_server]\nport=1\nusername=a\n", CONF_ERROR, 1, "password is missing" },
	{ "[supervisorctl]\nserverurl=%(nope)s\n", CONF_WARNING, 2, "there is no" },
	{ "[rpcinterface:x]\nsupervisor.rpcinterface_factory=a:b\n", CONF_WARNING, 1,
	  "Python extension" },
	{ "[program:a]\ncommand=x\n[supervisord]\nnodaemon=true\n", CONF_NOTE, 4,
	  "is read but has no effect" },
	{ "[supervisord]\nexit_on=never\n", CONF_ERROR, 2, "none of fatal" },
	{ "[supervisord]\nexit_on=exit:nosuch\n", CONF_WARNING, 2,
	  "there is no program or group 'nosuch'" },
	{ "[supervisord]\non_crash=go\n", CONF_ERROR, 2, "is none of stop, restart" },
	{ "[supervisord]\ndirectory=/no/such\n", CONF_ERROR, 2, "not an existing folder" },
};

Test(conf, messages_name_the_line)
{
	for (size_t i = 0; i < sizeof(messages) / sizeof(messages[0]); i++) {
		struct conf *conf = load_text(messages[i].text);

		if (!says(conf, messages[i].level, messages[i].line, messages[i].says)) {
			cr_expect(false, "%s: %s", messages[i].text, messages[i].says);
			for (size_t k = 0; k < conf->n_messages; k++)
				cr_log_warn("%d: %s", conf->messages[k].line,
					    conf->messages[k].text);
		}
		cr_expect_eq(conf->n_errors > 0, messages[i].level == CONF_ERROR, "%s",
			     messages[i].text);
		conf_free(conf);
	}
}

Test(conf, several_errors_come_in_one_go)
{
	struct conf *conf =
		load_text("[supervisord]\nminfds=x\n[program:a]\npriority=y\nautostart=z\nkey\n");

	cr_expect_eq(conf->n_errors, 5);
	conf_free(conf);
}

Test(conf, an_error_of_many_processes_is_told_once)
{
	struct conf *conf = load_text(
		"[program:a]\ncommand=%(nope)s\nnumprocs=50\n"
		"process_name=a%(process_num)d\nstdout_logfile=/no/such/%(process_num)d\n");

	cr_expect_eq(conf->n_errors, 1);
	conf_free(conf);
}

Test(conf, strict_makes_unknown_names_errors)
{
	struct conf_options options = { .strict = true };
	char *path = in_folder("main.conf");
	struct conf *conf;

	put("main.conf", "[program:x]\ncommand=a\nfoo=1\n[bar]\n");
	conf = conf_load(path, &options);
	cr_expect_eq(conf->n_errors, 2);
	conf_free(conf);
	free(path);
}

Test(conf, a_missing_file_is_a_message)
{
	struct conf *conf = load("nothing.conf");

	cr_expect_eq(conf->n_errors, 1);
	cr_expect_eq(conf->n_procs, 0);
	conf_free(conf);
}

Test(conf, default_keys_count_in_every_section)
{
	struct conf *conf =
		load_text("[DEFAULT]\nautostart=false\npriority=3\n[program:x]\ncommand=a\n"
			  "[program:y]\ncommand=b\npriority=4\n");

	cr_assert_eq(conf->n_errors, 0);
	cr_expect_not(conf->procs[0].autostart);
	cr_expect(conf->procs[0].priority == 3 && conf->procs[1].priority == 4);
	conf_free(conf);
}

static const struct {
	const char *keys;
	int64_t delay, max; /* ms; -1 = unset */
} delays[] = {
	{ "", -1, -1 },
	{ "startretries=infinite\n", 1000, 60000 },
	{ "restart_delay=500ms\n", 500, 60000 },
	{ "restart_delay_max=2m\n", 1000, 120000 },
	{ "restart_delay=2m\n", 120000, 120000 },
	{ "restart_delay_max=0.5\n", 500, 500 },
};

Test(conf, restart_delays_count_once_one_is_used)
{
	for (size_t i = 0; i < sizeof(delays) / sizeof(delays[0]); i++) {
		char *text = xasprintf("[program:x]\ncommand=a\n%s", delays[i].keys);
		struct conf *conf = load_text(text);

		cr_assert_eq(conf->n_procs, 1);
		cr_expect_eq(conf->procs[0].restart_delay,
			     delays[i].delay < 0 ? -1 : delays[i].delay * 1000000, "%s",
			     delays[i].keys);
		cr_expect_eq(conf->procs[0].restart_delay_max,
			     delays[i].max < 0 ? -1 : delays[i].max * 1000000, "%s",
			     delays[i].keys);
		conf_free(conf);
		free(text);
	}
}

Test(conf, the_identifier_is_found_without_programs)
{
	char *path = in_folder("main.conf"), *identifier = NULL;
	struct err err = ERR_INIT;

	put("main.conf",
	    "[program:x]\ncommand=%(nope)s\nkey\n[supervisord]\nidentifier=a-%(here)s\n");
	cr_expect_eq(conf_peek_identifier(path, false, &identifier, &err), 0, "%s", err.text);
	cr_expect_str_eq(identifier + 2, folder);
	free(identifier);
	put("main.conf", "[program:x]\nk=\n  [supervisord]\n  identifier=no\n");
	cr_expect_eq(conf_peek_identifier(path, false, &identifier, &err), 0);
	cr_expect_null(identifier);
	put("main.conf", "[supervisord]\nidentifier=%(nope)s\n");
	cr_expect_lt(conf_peek_identifier(path, false, &identifier, &err), 0);
	unlink(path);
	cr_expect_lt(conf_peek_identifier(path, false, &identifier, &err), 0);
	free(path);
}

Test(conf, env_files_are_read)
{
	char *path = in_folder("env"), **v = NULL;
	struct err err = ERR_INIT;

	put("env", "# c\nA=1\nexport B = two words # c\r\nC=\"a\\n\\\"b\\\" #x\"\nD='$x\ny' # "
		   "c\n\nE=\nA=2\nF=a#b");
	cr_assert_eq(conf_read_env_file(path, &v, &err), 0, "%s", err.text);
	cr_expect_str_eq(env(v, "A"), "2");
	cr_expect_str_eq(env(v, "B"), "two words");
	cr_expect_str_eq(env(v, "C"), "a\n\"b\" #x");
	cr_expect_str_eq(env(v, "D"), "$x\ny");
	cr_expect_str_eq(env(v, "E"), "");
	cr_expect_str_eq(env(v, "F"), "a#b");
	conf_strv_free(v);
	put("env", "A=1\n\nnonsense here\n");
	cr_expect_lt(conf_read_env_file(path, &v, &err), 0);
	cr_expect(strstr(err.text, ":3: not a KEY=value line"), "%s", err.text);
	put("env", "A=\"1\n\n");
	cr_expect_lt(conf_read_env_file(path, &v, &err), 0);
	cr_expect(strstr(err.text, ":1: the quote is not closed"), "%s", err.text);
	unlink(path);
	cr_expect_eq(conf_read_env_file(path, &v, &err), -2);
	free(path);
}

Test(conf, a_key_without_effect_is_told_once)
{
	struct conf *conf =
		load_text("[program:a]\ncommand=x\nstdout_events_enabled=1\nnumprocs=2\n"
			  "process_name=%(process_num)d\n"
			  "[program:b]\ncommand=x\nstdout_events_enabled=1\n");

	cr_assert_eq(conf->n_messages, 1);
	cr_expect_eq(conf->messages[0].line, 3);
	cr_expect_eq(conf->messages[0].level, CONF_NOTE);
	conf_free(conf);
}

Test(conf, a_bare_key_in_an_env_file_is_our_own_value)
{
	char *path = in_folder("env"), **v = NULL;
	struct err err = ERR_INIT;

	setenv("MPSUP_SET", "a value", 1);
	unsetenv("MPSUP_UNSET");
	put("env", "MPSUP_SET=x\nMPSUP_SET # comment\nexport MPSUP_UNSET\r\nB=2\nMPSUP_UNSET");
	cr_assert_eq(conf_read_env_file(path, &v, &err), 0, "%s", err.text);
	cr_expect_str_eq(env(v, "MPSUP_SET"), "a value");
	cr_expect_str_eq(env(v, "B"), "2");
	cr_expect_null(env(v, "MPSUP_UNSET"));
	conf_strv_free(v);
	unlink(path);
	free(path);
}

Test(conf, ten_thousand_programs_fit_into_ten_megabytes)
{
	struct buf text = BUF_INIT;
	struct conf *conf;

	for (int i = 0; i < 10000; i++)
		buf_addf(&text, "[program:w%d]\ncommand=/usr/bin/app --id %d\nuser=root\n", i, i);
	conf = load_text(text.p);
	cr_expect_eq(conf->n_procs, 10000);
	cr_expect_eq(conf->n_errors, 0);
	cr_expect_eq(conf->procs[0].user, conf->procs[9999].user, "equal strings are one");
	cr_expect_leq(sizeof(struct conf_proc), 512);
	conf_free(conf);
	buf_fini(&text);
}

Test(conf, streams_that_share_a_file_have_one_rotation)
{
	struct conf *conf = load_text("[program:a]\ncommand=x\nnumprocs=2\nstdout_logfile=/l/a\n"
				      "process_name=a%(process_num)d\n"
				      "stdout_logfile_maxbytes=0\nstderr_logfile=/l/a\n"
				      "stderr_logfile_maxbytes=10KB\nstderr_logfile_backups=2\n"
				      "[program:b]\ncommand=x\nstderr_logfile=/l/a\n"
				      "stderr_logfile_maxbytes=0\nstderr_logfile_compress=true\n"
				      "[program:c]\ncommand=x\nstdout_logfile=/l/c\n"
				      "stdout_logfile_maxbytes=0\nstderr_logfile=/dev/stdout\n"
				      "[program:d]\ncommand=x\nstdout_logfile=/dev/stdout\n"
				      "stdout_logfile_maxbytes=0\n");

	cr_assert_eq(conf->n_procs, 5);
	for (size_t i = 0; i < 2; i++) {
		cr_expect_eq(conf->procs[i].out.maxbytes, 10240);
		cr_expect_eq(conf->procs[i].out.backups, 2);
		cr_expect_eq(conf->procs[i].out.written->maxbytes, 0);
		cr_expect_null(conf->procs[i].err.written);
	}
	cr_expect_eq(conf->procs[2].err.maxbytes, 10240);
	cr_expect_not(conf->procs[2].err.compress);
	cr_expect_eq(conf->procs[3].out.maxbytes, 0, "nobody rotates it");
	cr_expect_eq(conf->procs[4].out.maxbytes, 0, "a device");
	cr_expect(says(conf, CONF_WARNING, 1, "'/l/a' is also a log of a0, rotated at 10240"));
	cr_expect(says(conf, CONF_WARNING, 10, "'/l/a' is also a log of a0, rotated at 10240"));
	conf_free(conf);
}

Test(conf, a_program_is_started_as_it_says_or_as_all_are)
{
	struct conf *conf = load_text("[supervisord]\nstart_method=forkserver\n"
				      "[program:a]\nentry=./w:x.so:main\nargs=1 'b c'\n"
				      "[program:b]\ncommand=x\nforkserver=two\n"
				      "[program:c]\ncommand=x\nstart_method=fork\n"
				      "[forkserver:two]\npreload=a.so, b.so\n"
				      "[forkserver:default]\npreload=c.so\n");
	const struct conf_proc *p = conf->procs;

	cr_assert_eq(conf->n_procs, 3);
	cr_expect_str_eq(p[0].entry, "./w:x.so:main");
	cr_expect_str_eq(p[0].argv[0], "./w:x.so:main");
	cr_expect_str_eq(p[0].argv[2], "b c");
	cr_expect_null(p[0].argv[3]);
	cr_expect_str_eq(p[0].forkserver, "default");
	cr_expect_str_eq(p[0].preload[0], "c.so");
	cr_expect_str_eq(p[1].forkserver, "two");
	cr_expect_str_eq(p[1].preload[1], "b.so");
	cr_expect_eq(p[2].start_method, CONF_METHOD_FORK);
	cr_expect_null(p[2].forkserver);
	conf_free(conf);
}

Test(conf, the_forkserver_for_all_need_not_be_in_the_file)
{
	struct conf *conf = load_text("[program:a]\nentry=w.so:main\nargs=%(process_num)d \"\"\n"
				      "numprocs=2\nprocess_name=a%(process_num)d\n"
				      "start_method=forkserver\n");
	const struct conf_proc *p = conf->procs;

	cr_assert_eq(conf->n_procs, 2);
	cr_expect_eq(conf->n_errors, 0);
	for (int i = 0; i < 2; i++) {
		cr_expect_str_eq(p[i].forkserver, "default");
		cr_expect_null(p[i].preload);
		cr_expect_str_eq(p[i].argv[1], i == 0 ? "0" : "1");
		cr_expect_str_eq(p[i].argv[2], "");
		cr_expect_null(p[i].argv[3]);
	}
	conf_free(conf);
}
