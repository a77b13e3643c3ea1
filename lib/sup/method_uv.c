/*
 * The methods of the control protocol: one table, and those that are about the whole. status_uv.c answers what is asked,
 * change_uv.c does what is told, events_uv.c tells what happens.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/xalloc.h"
#include "sup/fault.h"
#include "sup/method.h"
#include "sup/said.h"
#include "sup/sup_uv.h"

/* Names, paths and messages may hold any byte; JSON holds UTF-8. What is not becomes '?'. */
json_t *method_text(const char *s)
{
	json_t *json;
	char *copy;

	if (s == NULL)
		return json_null();
	json = json_string(s);
	if (json != NULL)
		return json;
	copy = xstrdup(s);
	for (char *p = copy; *p != '\0'; p++)
		if ((unsigned char)*p >= 0x80)
			*p = '?';
	json = json_string(copy);
	free(copy);
	return json;
}

double method_seconds(struct mps_time t)
{
	return (double)t.ns / (double)MPS_NS_PER_S;
}

/* ------------------------------------------------------------------------------------------------- targets */

static void add_unit(struct svc *svc, void *user)
{
	struct request *r = user;

	if (r->n_list % 64 == 0)
		r->list = xrealloc(r->list, (r->n_list + 64) * sizeof(*r->list));
	r->list[r->n_list++] = svc->user;
}

/* As status' "errors" and the other methods' "processes" have it; both name the target and the fault. */
static void add_bad_name(struct request *r, const char *target, const struct err *err)
{
	if (r->rows == NULL)
		r->rows = json_array();
	json_array_append_new(r->rows,
			      json_pack("{s:o, s:o, s:i, s:s, s:o}", "name", method_text(target),
					"target", method_text(target), "code", FAULT_BAD_NAME,
					"status", fault_name(FAULT_BAD_NAME), "message",
					method_text(err->text)));
}

/* Each service once, however often it was named. */
static void drop_doubles(struct request *r)
{
	size_t n = 0;

	for (size_t i = 0; i < r->n_list; i++) {
		if (r->list[i]->listed == r)
			continue;
		r->list[i]->listed = r;
		r->list[n++] = r->list[i];
	}
	for (size_t i = 0; i < n; i++)
		r->list[i]->listed = NULL;
	r->n_list = n;
}

/* "targets": absent = all. Fills r->list, and r->rows with those that are nothing. False after an answer was sent. */
bool method_find_targets(struct request *r)
{
	json_t *targets = json_object_get(r->params, "targets"), *target;
	struct err err = ERR_INIT;
	size_t i;

	if (targets == NULL) {
		order_find(r->sup->index, "all", add_unit, r, &err);
		return true;
	}
	json_array_foreach (targets, i, target) {
		const char *name = json_string_value(target);

		if (name == NULL)
			break;
		if (order_find(r->sup->index, name, add_unit, r, &err) < 0)
			add_bad_name(r, name, &err);
	}
	if (!json_is_array(targets) || i < json_array_size(targets)) {
		request_fail(r, FAULT_INCORRECT_PARAMETERS, "targets: not a list of names");
		return false;
	}
	drop_doubles(r);
	return true;
}

/* ----------------------------------------------------------------------------------------------- the whole */

static void method_shutdown(struct request *r)
{
	r->sup->asked_to_end = true;
	sup_shutdown(r->sup, 0);
	request_answer(r, json_true());
	request_end(r);
}

static void method_upgrade(struct request *r)
{
	int error = upgrade_begin(r->sup, r);

	if (error == 0)
		return; /* the answer is the end of the connection, or why not */
	request_fail(r, FAULT_FAILED, "upgrade: %s",
		     error == -EBUSY ? "another one is under way" : strerror(-error));
	request_end(r);
}

static json_t *list_managers(const struct sup *s)
{
	json_t *list = json_array();

	for (size_t i = 0; i < s->conf->n_managers; i++) {
		const struct conf_proc *p = s->conf->managers[i].proc;
		AUTO_FREE char *address = worker_manager_address(&s->base, p);

		json_array_append_new(list,
				      json_pack("{s:o, s:o, s:o}", "name", method_text(p->program),
						"address", method_text(address), "authkey_file",
						method_text(p->authkey_file)));
	}
	return list;
}

static void method_info(struct request *r)
{
	const struct sup *s = r->sup;
	json_t *info = json_pack(
		"{s:s, s:i, s:o, s:o, s:o, s:s, s:i, s:i, s:f, s:f, s:I, s:I, s:o, s:o, s:o}",
		"version", MPSUP_VERSION, "protocol", 1, "name", method_text(s->options->name),
		"identifier", method_text(s->conf->supervisord.identifier), "config",
		method_text(s->conf->path), "state",
		s->phase == SUP_STOPPING ? "STOPPING" : "RUNNING", "keeper_pid", s->keeper_pid,
		"supervisor_pid", (int)getpid(), "started", method_seconds(s->started_wall),
		"uptime", method_seconds((struct mps_time){ mps_now().ns - s->started.ns }),
		"programs", (json_int_t)s->n_units, "strangers", (json_int_t)notify_strangers(s),
		"runtime_dir", method_text(s->options->dir), "logfile",
		status_path(s, activity_path(&s->conf->supervisord, s->options->foreground)),
		"managers", list_managers(s));

	request_answer(r, info);
	request_end(r);
}

static const struct method {
	const char *name;
	void (*run)(struct request *r);
	bool changes; /* refused while all is being stopped */
} methods[] = {
	{ "info", method_info, false },		{ "status", method_status, false },
	{ "pipes", method_pipes, false },	{ "start", method_start, true },
	{ "stop", method_stop, false },		{ "restart", method_restart, true },
	{ "signal", method_signal, false },	{ "send", method_send, false },
	{ "reload", method_reload, true },	{ "upgrade", method_upgrade, true },
	{ "shutdown", method_shutdown, false }, { "events", method_events, false },
};

void method_run(struct request *r, const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(methods); i++) {
		if (strcmp(methods[i].name, name) != 0)
			continue;
		if (methods[i].changes && r->sup->phase >= SUP_STOPPING) {
			request_fail(r, FAULT_SHUTDOWN_STATE, "the supervisor is shutting down");
			request_end(r);
			return;
		}
		methods[i].run(r);
		return;
	}
	request_fail(r, FAULT_UNKNOWN_METHOD, "no method '%s'", name);
	request_end(r);
}
