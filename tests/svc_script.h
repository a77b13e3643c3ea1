/*
 * Scripts for tests of the machine: settings and events as words. Included by Criterion's tests.
 */
#ifndef TESTS_SVC_SCRIPT_H
#define TESTS_SVC_SCRIPT_H

#include "svc_check.h"

#include <criterion/criterion.h>

#include "base/cleanup.h"
#include "base/xalloc.h"

static void set_one(struct world *w, const char *key, long v)
{
	struct conf_proc *c = &w->conf;
	struct {
		const char *key;
		int *field;
	} ints[] = {
		{ "startsecs", &c->startsecs },	      { "startretries", &c->startretries },
		{ "stopsignal", &c->stopsignal },     { "stopwaitsecs", &c->stopwaitsecs },
		{ "limit", &c->restart_limit_count }, { "limit_secs", &c->restart_limit_secs },
	};

	for (size_t i = 0; i < ARRAY_SIZE(ints); i++) {
		if (strcmp(key, ints[i].key) == 0) {
			*ints[i].field = (int)v;
			return;
		}
	}
	if (strcmp(key, "autorestart") == 0)
		c->autorestart = (enum conf_autorestart)v;
	else if (strcmp(key, "kill_mode") == 0)
		c->kill_mode = (enum conf_kill_mode)v;
	else if (strcmp(key, "stopasgroup") == 0)
		c->stopasgroup = v != 0;
	else if (strcmp(key, "killasgroup") == 0)
		c->killasgroup = v != 0;
	else if (strcmp(key, "exitcode") == 0)
		w->exitcodes[0] = (uint8_t)v;
	else if (strcmp(key, "delay_ms") == 0)
		c->restart_delay = v * MPS_NS_PER_MS;
	else if (strcmp(key, "delay_max_ms") == 0)
		c->restart_delay_max = v * MPS_NS_PER_MS;
	else if (strcmp(key, "notify") == 0)
		c->ready = v != 0 ? CONF_READY_NOTIFY : CONF_READY_TIME;
	else if (strcmp(key, "server") == 0)
		c->start_method = v != 0 ? CONF_METHOD_FORKSERVER : CONF_METHOD_SPAWN;
	else if (strcmp(key, "timeout_ms") == 0)
		c->start_timeout = v * MPS_NS_PER_MS;
	else if (strcmp(key, "watchdog_ms") == 0)
		c->watchdog = v * MPS_NS_PER_MS;
	else if (strcmp(key, "message") == 0)
		c->stop_method = v != 0 ? CONF_STOP_MESSAGE : CONF_STOP_SIGNAL;
	else if (strcmp(key, "deaf") == 0)
		w->deaf = v != 0;
	else
		cr_assert_fail("no setting %s", key);
}

/* "startsecs=0 limit=3" */
static void set_all(struct world *w, const char *settings)
{
	AUTO_FREE char *copy = xstrdup(settings != NULL ? settings : "");
	char *save = NULL;

	for (char *word = strtok_r(copy, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
		char *equals = strchr(word, '=');

		*equals = '\0';
		set_one(w, word, strtol(equals + 1, NULL, 10));
	}
}

static void end(struct world *w, int code, const char *number)
{
	char *rest;
	struct svc_arg arg = { .exit = { .code = code, .wall.ns = 1 } };

	arg.exit.status = (int)strtol(number, &rest, 10);
	arg.exit.tree_left = *rest == '+';
	world_event(w, SVC_EV_EXITED, &arg);
}

/*
 * One word of a script. "+500" passes milliseconds, "timer" passes time up to the timer and fires it, "tick" fires it
 * whatever the time; "exit:1", "sig:11", "core:11" end the main process, with a "+" behind others of its tree are left.
 */
static void do_word(struct world *w, const char *word)
{
	static const struct {
		const char *word;
		enum svc_event event;
		struct svc_arg arg;
	} plain[] = {
		{ "start", SVC_EV_START, { 0 } },
		{ "stop", SVC_EV_STOP, { 0 } },
		{ "restart", SVC_EV_RESTART, { 0 } },
		{ "kill", SVC_EV_KILL, { 0 } },
		{ "again", SVC_EV_RESTART, { .by_itself = true } },
		{ "up", SVC_EV_STARTED, { .pid = 42 } },
		{ "nospawn", SVC_EV_SPAWN_FAILED, { .text = "no such file" } },
		{ "busy", SVC_EV_SPAWN_BUSY, { .text = "fork: try again" } },
		{ "relief", SVC_EV_RELIEF, { 0 } },
		{ "gone", SVC_EV_GONE, { 0 } },
		{ "tick", SVC_EV_TIMER, { 0 } },
		{ "ready", SVC_EV_READY, { 0 } },
		{ "alive", SVC_EV_ALIVE, { 0 } },
		{ "extend", SVC_EV_EXTEND, { .span = 20 * MPS_NS_PER_S } },
		{ "main", SVC_EV_MAIN, { .pid = 43 } },
	};

	if (word[0] == '+') {
		w->now.ns += strtol(word, NULL, 10) * MPS_NS_PER_MS;
	} else if (strcmp(word, "timer") == 0) {
		cr_assert(w->timer.ns != 0, "no timer is armed");
		w->now = w->timer;
		world_event(w, SVC_EV_TIMER, NULL);
	} else if (str_is_prefix("exit:", word)) {
		end(w, CLD_EXITED, word + 5);
	} else if (str_is_prefix("sig:", word)) {
		end(w, CLD_KILLED, word + 4);
	} else if (str_is_prefix("core:", word)) {
		end(w, CLD_DUMPED, word + 5);
	} else {
		for (size_t i = 0; i < ARRAY_SIZE(plain); i++) {
			if (strcmp(plain[i].word, word) == 0) {
				world_event(w, plain[i].event, &plain[i].arg);
				return;
			}
		}
		cr_assert_fail("no word %s", word);
	}
}

static void play(struct world *w, const char *settings, const char *script)
{
	AUTO_FREE char *copy = xstrdup(script);
	char *save = NULL;

	world_init(w, true);
	set_all(w, settings);
	for (char *word = strtok_r(copy, " ", &save); word; word = strtok_r(NULL, " ", &save))
		do_word(w, word);
}

#endif
