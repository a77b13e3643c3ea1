/*
 * What a reload finds between two files: each key by its type, each process by its name.
 */
#include "conf/diff.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/fd.h"
#include "conf/conf.h"
#include "conf/keys.h"
#include "conf/types.h"

static struct conf *load_text(const char *text)
{
	char path[] = "/tmp/mpsup-test.XXXXXX";
	AUTO_CLOSE int fd = mkstemp(path);
	struct conf *conf;

	cr_assert_eq(fd_write_all(fd, text, strlen(text)), 0);
	conf = conf_load(path, NULL);
	unlink(path);
	for (size_t i = 0; i < conf->n_messages; i++)
		cr_assert_neq(conf->messages[i].level, CONF_ERROR, "%s: %s", text,
			      conf->messages[i].text);
	return conf;
}

static void add_keys(struct buf *b, const struct key **keys_found, size_t n)
{
	for (size_t i = 0; i < n; i++)
		buf_addf(b, " %s", keys_found[i]->name);
}

/* "web:0 restarted command environment; ..." without those that are the same. */
static char *shown(const struct diff *d)
{
	struct buf b = BUF_INIT;

	for (size_t i = 0; i < d->n; i++) {
		const struct diff_row *row = &d->rows[i];
		const struct conf_proc *p = row->to != NULL ? row->to : row->from;

		cr_expect_eq(row->from == NULL, row->kind == DIFF_ADDED);
		cr_expect_eq(row->to == NULL, row->kind == DIFF_REMOVED);
		if (row->kind == DIFF_SAME)
			continue;
		buf_addf(&b, "%s%s:%s %s", b.len > 0 ? "; " : "", p->group, p->name,
			 diff_kind_word(row->kind));
		add_keys(&b, row->keys, row->n_keys);
	}
	if (d->n_own > 0)
		buf_addf(&b, "%sown", b.len > 0 ? "; " : "");
	add_keys(&b, d->own, d->n_own);
	buf_adds(&b, "");
	return b.p;
}

#define A "[program:a]\ncommand=x\n"
#define N(n) "numprocs=" n "\nprocess_name=%(process_num)s\n"

static const struct {
	const char *claim, *from, *to, *shows;
} files[] = {
	{ "the same", A "user=root\n", A "user=root\n", "" },
	{ "places and comments are nothing", A, "# a comment\n\n" A "\n; another\n", "" },
	{ "a default that is written out is nothing", A,
	  A
	  "autostart=true\nstdout_logfile=AUTO\npriority=999\nkill_mode=tree\nkillasgroup=false\n",
	  "" },
	{ "added and removed", A "[program:b]\ncommand=x\n", A "[program:c]\ncommand=x\n",
	  "b:b removed; c:c added" },
	{ "what a process must be started with", A, "[program:a]\ncommand=y\ndirectory=/\n",
	  "a:a restarted command directory" },
	{ "what it need not", A, A "stopwaitsecs=5\nautorestart=true\nexitcodes=0,3\n",
	  "a:a changed live autorestart exitcodes stopwaitsecs" },
	{ "both", A, A "stopwaitsecs=5\numask=027\n", "a:a restarted stopwaitsecs umask" },
	{ "more processes", A N("2"), A N("4"), "a:2 added; a:3 added" },
	{ "fewer processes", A N("3"), A N("1"), "a:1 removed; a:2 removed" },
	{ "other numbers", A N("2"), A N("2") "numprocs_start=1\n", "a:0 removed; a:2 added" },
	{ "numprocs where it is used", "[program:a]\ncommand=x %(numprocs)d\n" N("1"),
	  "[program:a]\ncommand=x %(numprocs)d\n" N("2"), "a:0 restarted command; a:1 added" },
	{ "a group is joined", A "[program:b]\ncommand=x\n",
	  A "[program:b]\ncommand=x\n[group:g]\nprograms=a\n", "a:a removed; g:a added" },
	{ "a member comes, the others stay", A "[program:b]\ncommand=x\n[group:g]\nprograms=a\n",
	  A "[program:b]\ncommand=x\n[group:g]\nprograms=a,b\n", "b:b removed; g:b added" },
	{ "the group's priority", A "[group:g]\nprograms=a\n",
	  A "[group:g]\nprograms=a\npriority=5\n", "g:a changed live priority" },
	{ "its own priority is told once", A, A "priority=5\n", "a:a changed live priority" },
	{ "variables for all", A, A "[supervisord]\nenvironment=K=\"1\"\n",
	  "a:a restarted environment" },
	{ "the order of variables is nothing", A "environment=A=\"1\",B=\"2\"\n",
	  A "environment=B=\"2\",A=\"1\"\n", "" },
	{ "variables", A "environment=A=\"1\",B=\"2\"\n", A "environment=B=\"3\",A=\"1\"\n",
	  "a:a restarted environment" },
	{ "stopasgroup takes killasgroup along", A, A "stopasgroup=true\n",
	  "a:a changed live stopasgroup killasgroup" },
	{ "restart_limit's second half", A, A "restart_limit=30/61\n",
	  "a:a changed live restart_limit" },
	{ "env_file's dash", A "env_file=/x\n", A "env_file=-/x\n", "a:a restarted env_file" },
	{ "another kind of program", A, "[fcgi-program:a]\ncommand=x\nsocket=unix:///tmp/s\n", "" },
	{ "the supervisor's own", A,
	  A "[supervisord]\nloglevel=debug\nminfds=1025\nexit_on=exit:a\n",
	  "own loglevel minfds exit_on" },
	{ "exit_on's name", A "[supervisord]\nexit_on=exit:a\n",
	  A "[supervisord]\nexit_on=exit:b\n", "own exit_on" },
};

Test(diff, tells_what_became_of_each_process)
{
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		struct conf *from = load_text(files[i].from), *to = load_text(files[i].to);
		struct diff *d = diff_new(from, to);
		AUTO_FREE char *text = shown(d);

		if (files[i].shows[0] != '\0' || from->procs[0].kind == to->procs[0].kind)
			cr_expect_str_eq(text, files[i].shows, "%s: %s", files[i].claim, text);
		else
			cr_expect_eq(d->rows[0].kind, DIFF_RESTART, "%s", files[i].claim);
		diff_free(d);
		conf_free(from);
		conf_free(to);
	}
}

/* Two values of each type, which a key of it can have. */
static const struct {
	enum key_type type;
	const char *a, *b;
} values[] = {
	{ KEY_STRING, "x", "y" },
	{ KEY_PATH, "/x", "/y" },
	{ KEY_DIRECTORY, "/", "/tmp" },
	{ KEY_NAME, "x", "y" },
	{ KEY_BOOL, "true", "false" },
	{ KEY_INT, "1", "2" },
	{ KEY_SECONDS, "1", "2" },
	{ KEY_TIME, "1", "2" },
	{ KEY_RETRIES, "1", "infinite" },
	{ KEY_BYTES, "1", "2" },
	{ KEY_OCTAL, "1", "2" },
	{ KEY_AUTORESTART, "true", "unexpected" },
	{ KEY_SIGNAL, "TERM", "INT" },
	{ KEY_EXITCODES, "0", "0,1" },
	{ KEY_LOGFILE, "/x", "/y" },
	{ KEY_ENVIRONMENT, "A=1", "A=2" },
	{ KEY_EVENTS, "TICK", "EVENT" },
	{ KEY_USER, "0", "root" },
	{ KEY_OWNER, "0", "root" },
	{ KEY_URL, "http://a", "http://b" },
	{ KEY_SOCKET, "unix:///a", "unix:///b" },
	{ KEY_LIMIT, "1/2", "1/3" },
	{ KEY_EXIT_ON, "exit:a", "exit:b" },
	{ KEY_ENV_FILE, "/x", "-/x" },
	{ KEY_ENTRY, "a.so:f", "a.so:g" },
};

static const char *value_of(const struct key *key, bool second)
{
	static char first[64];

	if (key->type == KEY_CHOICE) { /* one that has a single choice has no second value */
		snprintf(first, sizeof(first), "%.*s", (int)strcspn(key->choices, "|"),
			 key->choices);
		return second ? strrchr(key->choices, '|') + 1 : first;
	}
	for (size_t i = 0; i < ARRAY_SIZE(values); i++)
		if (values[i].type == key->type)
			return second ? values[i].b : values[i].a;
	cr_assert(false, "%s: no values of its type here", key->name);
	return NULL;
}

static bool is_compared(const struct key *key)
{
	return (key->sections & (SECTION_PROC | SECTION_SUPERVISORD)) &&
	       !(key->flags & KEY_ELSEWHERE) &&
	       (key->type != KEY_CHOICE || strchr(key->choices, '|') != NULL);
}

static void put(const struct key *key, bool second, struct conf *conf)
{
	struct type_context tc = { .store = conf->store };
	void *base = key->sections & SECTION_SUPERVISORD ? (void *)&conf->supervisord : conf->procs;
	struct err err = ERR_INIT;

	conf->procs->kind = key->sections & SECTION_PROGRAM    ? CONF_PROGRAM
			    : key->sections & SECTION_FCGI     ? CONF_FCGI_PROGRAM
			    : key->sections & SECTION_LISTENER ? CONF_EVENTLISTENER
							       : CONF_MANAGER;
	cr_assert_eq(type_parse(key, value_of(key, second), base, &tc, &err), 0, "%s: %s",
		     key->name, err.text);
}

/* Whatever key the table gets, a reload sees that it has changed. */
Test(diff, every_key_of_a_process_and_of_the_supervisor_is_compared)
{
	size_t n = 0;

	for (size_t i = 0; i < n_keys; i++) {
		struct conf *from = load_text(A), *to = load_text(A);
		struct diff *d;

		if (is_compared(&keys[i])) {
			put(&keys[i], false, from);
			put(&keys[i], true, to);
			d = diff_new(from, to);
			cr_expect_eq(d->n_own + d->rows[0].n_keys, 1, "%s: %zu keys", keys[i].name,
				     d->n_own + d->rows[0].n_keys);
			cr_expect_eq((d->n_own > 0 ? d->own : d->rows[0].keys)[0], &keys[i], "%s",
				     keys[i].name);
			diff_free(d);
			n++;
		}
		conf_free(from);
		conf_free(to);
	}
	cr_expect_gt(n, 60);
}
