/*
 * Types of values: what is accepted, what it becomes, and what the message says when it is not.
 */
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "conf/conf.h"
#include "conf/types.h"

static const struct {
	const char *text;
	int64_t want;
} bytes[] = {
	{ "0", 0 },	     { "1024", 1024 },	  { "50MB", 50 << 20 },	    { "50 MB", 50 << 20 },
	{ "10kb", 10 << 10 }, { "1Gb", 1 << 30 }, { "-1", -1 },		    { " 7 ", 7 },
	{ "1_000", 1000 },
}, times[] = {
	{ "0.5", 500000000 }, { "500ms", 500000000 }, { "2m", 120000000000 }, { "1", 1000000000 },
	{ "1 s", 1000000000 }, { "1h", 3600000000000 }, { "0", 0 }, { ".25", 250000000 },
}, limits[] = {
	{ "30/60", 30 * 1000 + 60 }, { "30/60s", 30 * 1000 + 60 }, { "5/1m", 5 * 1000 + 60 },
	{ "off", 60 }, { "0", 60 }, { "5 / 10", 5 * 1000 + 10 },
};

Test(types, numbers_with_units)
{
	struct err err = ERR_INIT;
	int64_t n;
	int count, secs;

	for (size_t i = 0; i < sizeof(bytes) / sizeof(bytes[0]); i++) {
		cr_expect_eq(type_bytes(bytes[i].text, &n, &err), 0, "%s", bytes[i].text);
		cr_expect_eq(n, bytes[i].want, "%s is %ld", bytes[i].text, (long)n);
	}
	for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
		cr_expect_eq(type_time(times[i].text, &n, &err), 0, "%s", times[i].text);
		cr_expect_eq(n, times[i].want, "%s is %ld", times[i].text, (long)n);
	}
	for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
		cr_expect_eq(type_limit(limits[i].text, &count, &secs, &err), 0, "%s",
			     limits[i].text);
		cr_expect_eq(count * 1000 + secs, limits[i].want, "%s", limits[i].text);
	}
}

/* One row a mistake: the key whose type is meant, the text, a part of the message. */
static const struct {
	const char *key, *text, *says;
} bad[] = {
	{ "autostart", "t", "'t' is not a boolean" },
	{ "autostart", "", "is not a boolean" },
	{ "priority", "0x10", "not a whole number (such as 999)" },
	{ "priority", "1.5", "not a whole number" },
	{ "priority", "1e3", "not a whole number" },
	{ "priority", "99999999999", "too large" },
	{ "priority", "999999999999999999999", "too large" },
	{ "stopwaitsecs", "5 min", "'5 min' is not a whole number of seconds (such as 10)" },
	{ "stopwaitsecs", "0.5", "whole number of seconds" },
	{ "numprocs", "100001", "the most is 100000" },
	{ "stdout_logfile_maxbytes", "10K", "512KB" },
	{ "stdout_logfile_maxbytes", "1.5MB", "number of bytes" },
	{ "stdout_logfile_maxbytes", "50MB ", "number of bytes" },
	{ "stdout_logfile_maxbytes", "9999999999GB", "number of bytes" },
	{ "umask", "089", "not an octal number (such as 022)" },
	{ "umask", "-1", "not an octal number" },
	{ "umask", "1777", "the most is 777" },
	{ "exitcodes", "0,256", "from 0 to 255" },
	{ "exitcodes", "0,", "ends in a comma" },
	{ "exitcodes", "0,,1", "list of exit codes" },
	{ "stopsignal", "FOO", "no signal" },
	{ "autorestart", "maybe", "none of true, false, unexpected" },
	{ "kill_mode", "all", "none of tree, group, process" },
	{ "kill_mode", "tre", "none of" },
	{ "restart_delay", "5 weeks", "is not a time" },
	{ "restart_delay", "-1", "is not a time" },
	{ "restart_delay", "1e3", "is not a time" },
	{ "restart_limit", "30", "N/SECONDS" },
	{ "restart_limit", "30/0", "at least 1" },
	{ "restart_limit", "129/60", "at most 128 restarts" },
	{ "startretries", "forever", "or infinite" },
	{ "user", "no-such-user-here", "there is no user 'no-such-user-here'" },
	{ "user", "4000000001", "no user with the id" },
	{ "env_file", "-", "names no file" },
	{ "serverurl", "localhost", "is no URL" },
	{ "process_name", "a b", "' ' must not be in it" },
	{ "process_name", "a/b", "'/' must not be in it" },
	{ "environment", "A", "is not KEY=value" },
};

Test(types, messages_say_what_would_be_right)
{
	struct store *store = store_new();
	struct type_context tc = { .store = store };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		const struct key *key = key_find(SECTION_PROGRAM, bad[i].key);
		struct conf_proc proc = { 0 };
		struct err err = ERR_INIT;

		cr_assert_not_null(key, "%s", bad[i].key);
		cr_expect_lt(type_parse(key, bad[i].text, &proc, &tc, &err), 0, "%s=%s", bad[i].key,
			     bad[i].text);
		cr_expect(strstr(err.text, bad[i].says), "%s=%s: %s", bad[i].key, bad[i].text,
			  err.text);
	}
	store_free(store);
}

Test(types, integers_as_python)
{
	int64_t n = 0;

	cr_expect(type_integer("010", &n) == 0 && n == 10);
	cr_expect(type_integer(" -1 ", &n) == 0 && n == -1);
	cr_expect(type_integer("+5", &n) == 0 && n == 5);
	cr_expect_lt(type_integer("1__0", &n), 0);
	cr_expect_lt(type_integer("_1", &n), 0);
	cr_expect_lt(type_integer("", &n), 0);
	cr_expect_lt(type_integer("1 2", &n), 0);
}

Test(types, programs_take_the_words_of_supervisord)
{
	struct store *store = store_new();
	struct type_context tc = { .store = store };
	struct conf_proc p = { 0 };

#define PUT(key, text) type_parse(key_find(SECTION_PROGRAM, key), text, &p, &tc, NULL)
	cr_expect(PUT("autostart", "On") == 0 && p.autostart);
	cr_expect(PUT("autorestart", "Unexpected") == 0 &&
		  p.autorestart == CONF_RESTART_UNEXPECTED);
	cr_expect(PUT("autorestart", "1") == 0 && p.autorestart == CONF_RESTART_TRUE);
	cr_expect(PUT("stopsignal", " sigint ") == 0 && p.stopsignal == 2);
	cr_expect(PUT("umask", "0o22") == 0 && p.umask == 022);
	cr_expect(PUT("exitcodes", "0, 2,255") == 0 && p.n_exitcodes == 3 && p.exitcodes[2] == 255);
	cr_expect(PUT("exitcodes", "") == 0 && p.n_exitcodes == 0);
	cr_expect(PUT("stdout_logfile", "none") == 0 && p.out.kind == CONF_LOG_NONE);
	cr_expect(PUT("stdout_logfile", "off") == 0 && p.out.kind == CONF_LOG_NONE);
	cr_expect(PUT("stdout_logfile", "Auto") == 0 && p.out.kind == CONF_LOG_AUTO);
	cr_expect(PUT("stdout_logfile", "/x") == 0 && p.out.kind == CONF_LOG_FILE);
	cr_expect(PUT("startretries", "infinite") == 0 && p.startretries == CONF_RETRIES_INFINITE);
	cr_expect(PUT("startretries", "-1") == 0 && p.startretries == 0);
	cr_expect(PUT("env_file", "-/x") == 0 && p.env_file_optional &&
		  strcmp(p.env_file, "/x") == 0);
	cr_expect(PUT("user", "root") == 0 && PUT("user", "0") == 0);
	store_free(store);
}

Test(types, home_folders_are_expanded)
{
	char *path;

	setenv("HOME", "/h", 1);
	path = type_expanduser("~/x");
	cr_expect_str_eq(path, "/h/x");
	free(path);
	path = type_expanduser("~root");
	cr_expect_str_eq(path, "/root");
	free(path);
	path = type_expanduser("/a/~");
	cr_expect_str_eq(path, "/a/~");
	free(path);
	path = type_expanduser("~no-such-user/x");
	cr_expect_str_eq(path, "~no-such-user/x");
	free(path);
}
