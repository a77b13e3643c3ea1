/*
 * Following events. See follow.h.
 */
#include "mpsup/follow.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "mpsup/connect.h"
#include "sup/client.h"

bool follow_is_over(int r)
{
	return r == -ENOENT || r == -ECONNREFUSED;
}

/* Milliseconds until then, or until the deadline if that is earlier; 0 = no limit, -ETIMEDOUT: it has come. */
static int time_left(const struct follow *f, struct mps_time until, struct err *err)
{
	int64_t ms, at = until.ns;

	if (f->deadline.ns != 0 && (at == 0 || f->deadline.ns < at))
		at = f->deadline.ns;
	if (at == 0)
		return 0;
	ms = (at - mps_now().ns + MPS_NS_PER_MS - 1) / MPS_NS_PER_MS;
	if (ms <= 0)
		return err_set(err, -ETIMEDOUT,
			       "not in time: the supervisor has not said anything more");
	return ms < INT32_MAX ? (int)ms : INT32_MAX;
}

static int set_timeout(struct follow *f, struct mps_time until, struct err *err)
{
	int r = time_left(f, until, err);

	if (r >= 0)
		r = client_set_timeout(f->client, r);
	return r < 0 && r != -ETIMEDOUT
		       ? err_set(err, r, "the connection's timeout: %s", strerror(-r))
		       : r;
}

static void on_event(json_t *message, void *user)
{
	struct follow *f = user;
	json_t *seq = json_object_get(message, "seq");

	if (json_is_integer(seq))
		f->seq = json_integer_value(seq);
	f->event(message, f->user);
}

static void on_row(json_t *row, void *user)
{
	struct follow *f = user;

	f->row(row, f->user);
}

static void on_error(json_t *error, void *user)
{
	struct follow *f = user;

	f->error(error, f->user);
}

static int look(struct follow *f, struct err *err)
{
	const struct connect_on on = { on_row, on_error, on_event, f };
	json_t *params = json_pack("{s:O, s:O*}", "fields", f->fields, "targets", f->targets);
	int r = set_timeout(f, (struct mps_time){ 0 }, err);

	if (r == 0)
		return connect_rows(f->client, "status", params, &on, err);
	json_decref(params);
	return r;
}

static void take_answer(struct follow *f, const json_t *result)
{
	json_int_t pid = json_integer_value(json_object_get(result, "supervisor_pid"));
	json_int_t seq = json_integer_value(json_object_get(result, "seq"));
	json_t *errors = json_object_get(result, "errors"), *error;
	json_int_t n_missed = pid == f->supervisor_pid ? seq - f->seq : 0;
	size_t i;

	f->supervisor_pid = pid;
	f->seq = seq;
	f->begin(n_missed, f->user);
	if (f->fields == NULL) /* else status will tell of them */
		json_array_foreach (errors, i, error)
			f->error(error, f->user);
}

static int subscribe(struct follow *f, struct err *err)
{
	int r = time_left(f, (struct mps_time){ 0 }, err);
	json_t *params, *result;

	if (r < 0)
		return r;
	params = json_pack("{s:I, s:O*, s:O*}", "supervisor_pid", f->supervisor_pid, "types",
			   f->types, "targets", f->targets);
	r = connect_ask(f->path, r, "events", params, &f->client, &result, err);
	if (r != 0)
		return r;
	take_answer(f, result);
	json_decref(result);
	return f->fields != NULL ? look(f, err) : 0;
}

/* Again also where it went away while we looked. */
static int subscribe_again(struct follow *f, struct err *err)
{
	int r;

	do {
		client_close(TAKE_PTR(f->client));
		r = subscribe(f, err);
	} while (r == -ECONNRESET && f->client != NULL);
	return r;
}

/* A new connection begins with a look. */
int follow_look(struct follow *f, struct err *err)
{
	int r = look(f, err);

	return r == -ECONNRESET ? subscribe_again(f, err) : r;
}

int follow_open(struct follow *f, const struct cmd_context *ctx, struct err *err)
{
	int r = connect_socket_path(ctx, &f->path, err);

	if (r < 0)
		return r == -ENOENT ? -EINVAL : r;
	return subscribe_again(f, err);
}

int follow_next(struct follow *f, struct mps_time until, struct err *err)
{
	json_t *message;
	int r = set_timeout(f, until, err);

	if (r == 0)
		r = client_next(f->client, &message, err);
	if (r == -ECONNRESET)
		return subscribe_again(f, err);
	if (r != 0)
		return r;
	if (json_object_get(message, "event") != NULL)
		on_event(message, f);
	json_decref(message);
	return 0;
}

int follow_fd(const struct follow *f)
{
	return client_fd(f->client);
}

bool follow_has_more(const struct follow *f)
{
	return client_has_line(f->client);
}

void follow_close(struct follow *f)
{
	client_close(TAKE_PTR(f->client));
	free(TAKE_PTR(f->path));
}
