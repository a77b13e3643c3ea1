/*
 * [pipe:NAME]: which ends each program gets, what is refused and where, and what a reload finds.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/fd.h"
#include "conf/conf.h"
#include "conf/diff.h"
#include "conf/keys.h"

static struct conf *load_text(const char *text)
{
	char path[] = "/tmp/mpsup-test.XXXXXX";
	AUTO_CLOSE int fd = mkstemp(path);
	struct conf *conf;

	cr_assert_eq(fd_write_all(fd, text, strlen(text)), 0);
	conf = conf_load(path, NULL);
	unlink(path);
	return conf;
}

#define A "[program:a]\ncommand=x\n"
#define B "[program:b]\ncommand=x\n"
#define W "[program:w]\ncommand=x\nnumprocs=3\nprocess_name=%(process_num)d\n"

/* "a 1>p(P=1) ...; ...": for each process its wires: descriptor, > or <, pipe, variable. */
static char *shown(const struct conf *conf)
{
	struct buf b = BUF_INIT;

	buf_adds(&b, "");
	for (size_t i = 0; i < conf->n_procs; i++) {
		const struct conf_proc *p = &conf->procs[i];

		if (p->n_wires > 0)
			buf_addf(&b, "%s%s", b.len > 0 ? "; " : "", p->name);
		for (size_t k = 0; k < p->n_wires; k++)
			buf_addf(&b, " %d%c%s(%s)", p->wires[k].fd,
				 p->wires[k].side == CONF_FROM ? '>' : '<', p->wires[k].pipe,
				 p->wires[k].variable + strlen("MPSUP_PIPE_"));
	}
	return b.p;
}

static const struct {
	const char *claim, *text, *shows;
} good[] = {
	{ "standard output to standard input", A B "[pipe:p]\nfrom=a\nto=b\n",
	  "a 1>p(P=1); b 0<p(P=0)" },
	{ "other numbers", A B "[pipe:p]\nfrom=a:2\nto=b:7\n", "a 2>p(P=2); b 7<p(P=7)" },
	{ "none is the lowest that is free",
	  A B "[pipe:p]\nfrom=a:none\nto=b:none\n[pipe:q]\nfrom=a:3\nto=b:none\n"
	      "[pipe:r]\nfrom=a:5\nto=b:3\n",
	  "a 3>q(Q=3) 4>p(P=4) 5>r(R=5); b 3<r(R=3) 4<p(P=4) 5<q(Q=5)" },
	{ "all processes of a program", A W "[pipe:p]\nfrom=a\nto=w\nmode=packet\n",
	  "a 1>p(P=1); 0 0<p(P=0); 1 0<p(P=0); 2 0<p(P=0)" },
	{ "several at each end", A B W "[pipe:p]\nfrom=a, b:4\nto=w\nmode=packet\n",
	  "a 1>p(P=1); b 4>p(P=4); 0 0<p(P=0); 1 0<p(P=0); 2 0<p(P=0)" },
	{ "the section may stand before the programs", "[pipe:p]\nfrom=a\nto=b\n" A B,
	  "a 1>p(P=1); b 0<p(P=0)" },
	{ "in every group of the program",
	  A B "[pipe:p]\nfrom=a\nto=b\n[group:g]\nprograms=a\n[group:h]\nprograms=a\n",
	  "a 1>p(P=1); a 1>p(P=1); b 0<p(P=0)" },
	{ "variables are in capitals", A B "[pipe:my_Pipe2]\nfrom=a\nto=b\n",
	  "a 1>my_Pipe2(MY_PIPE2=1); b 0<my_Pipe2(MY_PIPE2=0)" },
	{ "a circle", A B "[pipe:p]\nfrom=a\nto=b\n[pipe:q]\nfrom=b\nto=a\n",
	  "a 0<q(Q=0) 1>p(P=1); b 0<p(P=0) 1>q(Q=1)" },
};

Test(pipes, give_each_process_its_ends)
{
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		struct conf *conf = load_text(good[i].text);
		AUTO_FREE char *text = shown(conf);

		cr_expect_eq(conf->n_errors, 0, "%s: %s", good[i].claim,
			     conf->n_messages > 0 ? conf->messages[0].text : "");
		cr_expect_str_eq(text, good[i].shows, "%s: %s", good[i].claim, text);
		conf_free(conf);
	}
}

static const struct {
	const char *text;
	int line;
	const char *says;
} bad[] = {
	{ A B "[pipe:p]\nto=b\n", 5, "from= is missing" },
	{ A B "[pipe:p]\nfrom=a\n", 5, "to= is missing" },
	{ A B "[pipe:p]\nfrom=,\nto=b\n", 6, "names no program" },
	{ A B "[pipe:p]\nfrom=worker\nto=b\n", 6, "there is no [program:worker]" },
	{ A "[program:worker]\ncommand=x\n[pipe:p]\nfrom=workr\nto=a\n", 6,
	  "there is no [program:workr] (did you mean worker?)" },
	{ A B "[pipe:p]\nfrom=a:x\nto=b\n", 6, "'a:x': what follows the :" },
	{ A B "[pipe:p]\nfrom=a:-1\nto=b\n", 6, "must be a descriptor from 0 to 255, or none" },
	{ A B "[pipe:p]\nfrom=a:256\nto=b\n", 6, "must be a descriptor" },
	{ A B "[pipe:p]\nfrom=a\nto=b\n[pipe:q]\nfrom=a\nto=b:3\n", 9,
	  "descriptor 1 of 'a' is taken by [pipe:p]" },
	{ A B "[pipe:p]\nfrom=a\nto=a\n", 7, "'a' is at this pipe already (line 6)" },
	{ A B "redirect_stderr=true\n[pipe:p]\nfrom=b:2\nto=a\n", 7,
	  "descriptor 2 of 'b' is taken by its standard output" },
	{ A "[fcgi-program:f]\ncommand=x\nsocket=unix:///tmp/x\n[pipe:p]\nfrom=a\nto=f\n", 8,
	  "descriptor 0 of 'f' is taken by its listening socket" },
	{ A "[eventlistener:l]\ncommand=x\nevents=TICK_5\n[pipe:p]\nfrom=l\nto=a\n", 7,
	  "descriptor 1 of 'l' is taken by the event protocol" },
	{ A "stdout_logfile=/tmp/x\n" B "[pipe:p]\nfrom=a\nto=b\n", 3,
	  "cannot be: this stream goes into [pipe:p]" },
	{ A "stdout_syslog=true\n" B "[pipe:p]\nfrom=a\nto=b\n", 3, "false would do" },
	{ A "stderr_logfile=/tmp/x\n" B "[pipe:p]\nfrom=a:2\nto=b\n", 3, "NONE would do" },
	{ A W "[pipe:p]\nfrom=a\nto=w\nmode=duplex\n", 9,
	  "3 processes at one end of a duplex pipe" },
	{ A B "[pipe:a-b]\nfrom=a\nto=b\n", 5, "'a-b' is no name of a pipe" },
	{ A B "[pipe:p]\nfrom=a\nto=b\n[pipe:P]\nfrom=a:3\nto=b:3\n", 8,
	  "its variable MPSUP_PIPE_P is that of [pipe:p] too" },
	{ A B "[pipe:p]\nfrom=a\nto=b\nsize=-1\n", 8, "must be from 1 to" },
	{ A B "[pipe:p]\nfrom=a\nto=b\nsize=3GB\n", 8, "must be from 1 to" },
	{ A B "[pipe:p]\nfrom=a\nto=b\nmode=both\n", 8, "is none of stream, packet, duplex" },
	{ A B "[pipe:p]\nfrom=a\nto=b\non_end=stay\n", 8, "is none of eof, keep" },
};

static bool says(const struct conf *conf, int line, const char *text)
{
	for (size_t i = 0; i < conf->n_messages; i++)
		if (conf->messages[i].level == CONF_ERROR && conf->messages[i].line == line &&
		    strstr(conf->messages[i].text, text))
			return true;
	return false;
}

Test(pipes, refuse_what_cannot_be_with_its_line)
{
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct conf *conf = load_text(bad[i].text);

		cr_expect(says(conf, bad[i].line, bad[i].says), "%d: %s: %d: %s", bad[i].line,
			  bad[i].says, conf->n_messages ? conf->messages[0].line : 0,
			  conf->n_messages ? conf->messages[0].text : "no message");
		cr_expect_eq(conf->n_errors, 1, "%s: %zu errors", bad[i].says, conf->n_errors);
		conf_free(conf);
	}
}

Test(pipes, silence_the_log_of_what_goes_into_them)
{
	struct conf *conf = load_text(A "redirect_stderr=true\n" B "[pipe:p]\nfrom=a\nto=b\n");

	cr_expect_eq(conf->n_errors, 0);
	cr_expect_eq(conf->procs[0].out.kind, CONF_LOG_NONE);
	cr_expect_eq(conf->procs[1].out.kind, CONF_LOG_AUTO);
	cr_expect_eq(conf->pipes[0].on_end, CONF_END_EOF);
	cr_expect_eq(conf->pipes[0].size, 0);
	conf_free(conf);
}

#define AB A B "[pipe:p]\nfrom=a\nto=b\n"

static const struct {
	const char *claim, *from, *to, *shows;
} reloads[] = {
	{ "the same", AB, AB "mode=stream\non_end=eof\n", "" },
	{ "size and on_end touch no program", AB, AB "size=1MB\non_end=keep\n",
	  "p changed live size on_end" },
	{ "a pipe comes", A B, AB, "a restarted stdout_logfile from; b restarted to; p added" },
	{ "a pipe goes", AB, A B, "a restarted stdout_logfile from; b restarted to; p removed" },
	{ "another mode", AB, AB "mode=packet\n",
	  "a restarted mode; b restarted mode; p restarted mode" },
	{ "one more producer", AB W, A B "[pipe:p]\nfrom=a,w:3\nto=b\n" W,
	  "0 restarted from; 1 restarted from; 2 restarted from; p changed live from" },
	{ "another number", AB, A B "[pipe:p]\nfrom=a:1\nto=b:4\n",
	  "b restarted to; p changed live from to" },
};

static char *differences(const struct diff *d)
{
	struct buf b = BUF_INIT;

	buf_adds(&b, "");
	for (size_t i = 0; i < d->n + d->n_pipes; i++) {
		const struct diff_row *row = &d->rows[i];
		const struct diff_pipe *pipe = i >= d->n ? &d->pipes[i - d->n] : NULL;
		enum diff_kind kind = pipe ? pipe->kind : row->kind;
		size_t n = pipe ? pipe->n_keys : row->n_keys;

		if (kind == DIFF_SAME)
			continue;
		buf_addf(&b, "%s%s %s", b.len > 0 ? "; " : "",
			 pipe ? (pipe->to ? pipe->to : pipe->from)->name : row->to->name,
			 diff_kind_word(kind));
		for (size_t k = 0; k < n; k++)
			buf_addf(&b, " %s", (pipe ? pipe->keys : row->keys)[k]->name);
	}
	return b.p;
}

Test(pipes, a_reload_restarts_who_gets_another_end)
{
	for (size_t i = 0; i < ARRAY_SIZE(reloads); i++) {
		struct conf *from = load_text(reloads[i].from), *to = load_text(reloads[i].to);
		struct diff *d = diff_new(from, to);
		AUTO_FREE char *text = differences(d);

		cr_expect_str_eq(text, reloads[i].shows, "%s: %s", reloads[i].claim, text);
		diff_free(d);
		conf_free(from);
		conf_free(to);
	}
}
