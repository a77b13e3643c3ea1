/*
 * Connections of the control socket: lines in, lines out, both bounded. A client that does not read is dropped, one that
 * says nothing costs a descriptor, one that talks nonsense gets an error. What a request means is method_uv.c's.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/limits.h"
#include "base/xalloc.h"
#include "sup/connection_uv.h"
#include "sup/control.h"
#include "sup/events.h"
#include "sup/sup_uv.h"

enum {
	WRITE_LOW = 256 << 10, /* an answer in parts goes on when less than this is waiting */
	READ_ONCE = 64 << 10,
	TURN_NS = 2 * 1000000, /* of requests, until other events have their turn */
};

/* ------------------------------------------------------------------------------------------------- closing */

static void join_all(struct request *r)
{
	struct control *control = r->sup->control;

	r->next_all = control->requests;
	if (r->next_all != NULL)
		r->next_all->prev_all = r;
	control->requests = r;
}

/* At the very end the list itself is gone already. */
static void leave_all(struct request *r)
{
	struct control *control = r->sup->control;

	if (r->next_all != NULL)
		r->next_all->prev_all = r->prev_all;
	if (r->prev_all != NULL)
		r->prev_all->next_all = r->next_all;
	else if (control != NULL)
		control->requests = r->next_all;
}

static void request_free(struct request *r)
{
	leave_all(r);
	change_forget(r);
	reloaded_free(r->report);
	json_decref(r->id);
	json_decref(r->params);
	json_decref(r->rows);
	free(r->list);
	free(r);
}

/* Only here: whoever is at work on a request when its client is dropped may still finish its sentence. */
static void on_client_closed(uv_handle_t *handle)
{
	struct client *c = handle->data;

	if (--c->n_handles > 0)
		return;
	fd_close(&c->hangup_fd);
	while (c->requests != NULL) {
		struct request *r = c->requests;

		c->requests = r->next;
		request_free(r);
	}
	buf_fini(&c->in);
	free(c);
}

static void leave_ready(struct client *c)
{
	struct control *control = c->sup->control;
	struct client **at = &control->ready;

	if (!c->is_ready)
		return;
	c->is_ready = false;
	while (*at != c)
		at = &(*at)->next_ready;
	*at = c->next_ready;
	if (control->ready_end == &c->next_ready)
		control->ready_end = at;
}

void connection_drop(struct client *c)
{
	struct control *control = c->sup->control;
	struct client **at;

	if (c->closing)
		return;
	c->closing = true;
	leave_ready(c);
	at = &control->clients;
	while (*at != c)
		at = &(*at)->next;
	*at = c->next;
	control->n_clients--;
	events_unsubscribe(TAKE_PTR(c->subscription));
	if (c->hangup_fd >= 0)
		uv_close((uv_handle_t *)&c->hangup, on_client_closed);
	uv_close((uv_handle_t *)&c->pipe, on_client_closed);
}

/* A client that has said all is let go when it has been told all. */
static void client_let_go(struct client *c)
{
	if (c->ended && c->requests == NULL && c->subscription == NULL &&
	    uv_stream_get_write_queue_size((uv_stream_t *)&c->pipe) == 0)
		connection_drop(c);
}

void request_end(struct request *r)
{
	struct client *c = r->client;
	struct request **at = &c->requests;

	while (*at != r)
		at = &(*at)->next;
	*at = r->next;
	r->client->n_requests--;
	request_free(r);
	client_let_go(c);
}

/* Of all clients together: where it is too much the one that holds most is dropped. */
static size_t waits_to_be_read(const struct client *c)
{
	return uv_stream_get_write_queue_size((const uv_stream_t *)&c->pipe);
}

static size_t is_half_said(const struct client *c)
{
	return c->in.len;
}

static void drop_largest(struct control *control, size_t (*size)(const struct client *), size_t max)
{
	struct client *largest = NULL;
	size_t sum = 0;

	for (struct client *c = control->clients; c != NULL; c = c->next) {
		sum += size(c);
		if (largest == NULL || size(c) > size(largest))
			largest = c;
	}
	if (sum > max)
		connection_drop(largest);
}

/* ------------------------------------------------------------------------------------------------- writing */

static void on_turn(uv_idle_t *turn);

struct write {
	uv_write_t req;
	char *text;
	size_t size;
	size_t told; /* of an event, else 0 */
};

static void on_written(uv_write_t *req, int status)
{
	struct write *w = (struct write *)req;
	struct client *c = req->handle->data;

	c->told -= w->told;
	if (c->sup->control != NULL)
		c->sup->control->waiting -= w->size;
	free(w->text);
	free(w);
	if (status < 0 || c->closing) {
		if (status != UV_ECANCELED)
			connection_drop(c);
		return;
	}
	if (uv_stream_get_write_queue_size((uv_stream_t *)&c->pipe) >= WRITE_LOW)
		return;
	for (struct request *r = c->requests, *next; r != NULL && !c->closing; r = next) {
		next = r->next;
		if (r->produce != NULL)
			r->produce(r);
	}
	client_let_go(c);
}

/* Steals `text`, which has n bytes. What is said and what is told do not count for one another. */
static void client_write(struct client *c, char *text, size_t n, bool is_event)
{
	struct control *control = c->sup->control;
	struct write *w = xcalloc(1, sizeof(*w));
	uv_buf_t b = uv_buf_init(text, (unsigned)n);

	w->text = text;
	w->size = n;
	w->told = is_event ? n : 0;
	if (uv_write(&w->req, (uv_stream_t *)&c->pipe, &b, 1, on_written) < 0) {
		free(w->text);
		free(w);
		connection_drop(c);
		return;
	}
	c->told += w->told;
	control->waiting += n;
	if (control->waiting > CONTROL_OUT_ALL_MAX)
		uv_idle_start(&control->turn, on_turn); /* whoever calls may be at work on others */
}

void client_tell(struct client *c, const char *line, size_t n, size_t max)
{
	if (c->closing)
		return;
	/* libuv says only at the next turn what was taken at once; of what waits it knows the sum. */
	if (c->told > max && uv_stream_get_write_queue_size((uv_stream_t *)&c->pipe) > max)
		connection_drop(c);
	else
		client_write(c, memcpy(xmalloc(n), line, n), n, true);
}

/* Steals `line`. */
static void client_send(struct client *c, json_t *line)
{
	char *text;
	size_t n;

	if (c->closing) {
		json_decref(line);
		return;
	}
	/* Seconds since the epoch with three decimals; 17 digits would cost more than all the rest. */
	text = json_dumps(line, JSON_COMPACT | JSON_REAL_PRECISION(13));
	json_decref(line);
	if (text == NULL)
		xalloc_failed(); /* texts are UTF-8 by then */
	n = strlen(text);
	text[n] = '\n'; /* in place of the NUL: what is written has a length */
	if (uv_stream_get_write_queue_size((uv_stream_t *)&c->pipe) > CONTROL_OUT_MAX + c->told) {
		free(text);
		connection_drop(c);
	} else {
		client_write(c, text, n + 1, false);
	}
}

static void answer(const struct request *r, json_t *result, bool more)
{
	json_t *line = json_object();

	json_object_set(line, "id", r->id);
	if (more)
		json_object_set_new(line, "more", json_true());
	json_object_set_new(line, "result", result);
	client_send(r->client, line);
}

void request_answer(struct request *r, json_t *result)
{
	answer(r, result, false);
}

void request_answer_part(struct request *r, json_t *result, bool more)
{
	answer(r, result, more);
	if (!more)
		request_end(r);
	else if (!r->client->closing &&
		 uv_stream_get_write_queue_size((uv_stream_t *)&r->client->pipe) < WRITE_LOW)
		r->produce(r);
}

void request_event(struct request *r, const char *event, json_t *data)
{
	client_send(r->client, json_pack("{s:s, s:o}", "event", event, "data", data));
}

static void client_fail(struct client *c, json_t *id, enum fault code, const char *text)
{
	/* A text that is not UTF-8 cannot be JSON. */
	json_t *message = json_string(text);

	client_send(c, json_pack("{s:O, s:{s:i, s:s, s:o}}", "id", id, "error", "code", (int)code,
				 "name", fault_name(code), "message",
				 message != NULL ? message : json_string("?")));
}

void request_fail(struct request *r, enum fault code, const char *fmt, ...)
{
	struct err err;
	va_list ap;

	va_start(ap, fmt);
	err_vset(&err, 0, fmt, ap);
	va_end(ap);
	client_fail(r->client, r->id, code, err.text);
}

bool request_is_lost(const struct request *r)
{
	return r->client->closing;
}

void request_subscribe(struct request *r, struct subscription *sub)
{
	events_unsubscribe(r->client->subscription);
	r->client->subscription = sub;
}

/* ------------------------------------------------------------------------------------------------- reading */

static void start_request(struct client *c, json_t *line)
{
	json_t *id = json_object_get(line, "id"), *params = json_object_get(line, "params");
	const char *method = json_string_value(json_object_get(line, "method"));
	struct request *r;

	if (id == NULL)
		id = json_null();
	if (method == NULL || (params != NULL && !json_is_object(params))) {
		client_fail(c, id, FAULT_INCORRECT_PARAMETERS,
			    "a request is {\"id\":1,\"method\":\"status\",\"params\":{}}");
		return;
	}
	if (c->n_requests >= CONTROL_REQUESTS_MAX) {
		client_fail(c, id, FAULT_FAILED,
			    "too many requests are waiting on this connection");
		return;
	}
	c->n_requests++;
	r = xcalloc(1, sizeof(*r));
	r->client = c;
	r->sup = c->sup;
	r->id = json_incref(id);
	r->params = params != NULL ? json_incref(params) : json_object();
	r->next = c->requests;
	c->requests = r;
	join_all(r);
	method_run(r, method);
}

static void on_line(struct client *c, const char *p, size_t n)
{
	json_error_t error;
	json_t *line;

	if (n == 0 || (n == 1 && *p == '\r'))
		return;
	line = json_loadb(p, n, JSON_REJECT_DUPLICATES, &error);
	if (json_is_object(line)) {
		start_request(c, line);
	} else {
		json_t *null = json_null();

		client_fail(c, null, FAULT_INCORRECT_PARAMETERS,
			    line == NULL ? error.text : "a request is a JSON object");
	}
	json_decref(line);
}

static bool has_line(struct client *c)
{
	char *end = c->scanned < c->in.len
			    ? memchr(c->in.p + c->scanned, '\n', c->in.len - c->scanned)
			    : NULL;

	c->scanned = end != NULL ? (size_t)(end - c->in.p) : c->in.len;
	return end != NULL;
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *b);
static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *b);

static void join_ready(struct client *c)
{
	struct control *control = c->sup->control;

	c->is_ready = true;
	c->next_ready = NULL;
	*control->ready_end = c;
	control->ready_end = &c->next_ready;
	uv_idle_start(&control->turn, on_turn);
}

/* Nothing whole is left: what there is of a line stays for the next read. */
static void read_on(struct client *c)
{
	buf_drop(&c->in, c->from);
	c->scanned -= c->from;
	c->from = 0;
	if (c->in.len == 0)
		buf_fini(&c->in); /* a thousand silent clients hold nothing */
	uv_read_start((uv_stream_t *)&c->pipe, on_alloc, on_read);
}

static void take_line(struct client *c)
{
	size_t from = c->from;

	c->from = ++c->scanned;
	on_line(c, c->in.p + from, c->from - 1 - from);
	if (c->closing)
		return;
	if (has_line(c))
		join_ready(c);
	else
		read_on(c);
}

/* One line of each in turn: who has asked for very much does not hold up who asks for little, nor the programs. */
static void on_turn(uv_idle_t *turn)
{
	struct control *control = turn->data;
	int64_t end = mps_now().ns + TURN_NS;

	if (control->waiting > CONTROL_OUT_ALL_MAX)
		drop_largest(control, waits_to_be_read, CONTROL_OUT_ALL_MAX);
	do {
		struct client *c = control->ready;

		if (c == NULL)
			break;
		leave_ready(c);
		take_line(c);
	} while (mps_now().ns < end);
	if (control->ready == NULL)
		uv_idle_stop(turn);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *b)
{
	static char shared[READ_ONCE];

	(void)handle;
	(void)suggested;
	*b = uv_buf_init(shared, sizeof(shared));
}

/* Closed on both sides, not only shut down for writing (unix(7), POLLHUP). */
static bool has_gone(struct client *c)
{
	struct pollfd p = { .events = 0 };

	return uv_fileno((uv_handle_t *)&c->pipe, &p.fd) < 0 || poll(&p, 1, 0) != 0;
}

static void on_hangup(uv_poll_t *poll, int status, int events)
{
	(void)status;
	(void)events;
	connection_drop(poll->data);
}

/* Of what the kernel may tell only the hang-up comes, which epoll(7) never leaves out. */
static int watch_hangup(struct client *c)
{
	uv_os_fd_t fd;
	int r = uv_fileno((uv_handle_t *)&c->pipe, &fd);

	if (r < 0)
		return r;
	c->hangup_fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	r = c->hangup_fd < 0 ? -errno : uv_poll_init(&c->sup->loop, &c->hangup, c->hangup_fd);
	if (r < 0) {
		fd_close(&c->hangup_fd);
		return r;
	}
	c->n_handles++;
	c->hangup.data = c;
	return uv_poll_start(&c->hangup, UV_PRIORITIZED, on_hangup);
}

/* `echo REQUEST | socat` shuts its side down and reads on: its answers may be yet to come. */
static void on_end(struct client *c, int status)
{
	if (status != UV_EOF || has_gone(c)) {
		connection_drop(c);
		return;
	}
	uv_read_stop((uv_stream_t *)&c->pipe);
	c->ended = true;
	client_let_go(c);
	if (!c->closing && watch_hangup(c) < 0)
		connection_drop(c);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *b)
{
	struct client *c = stream->data;

	if (n == 0)
		return;
	if (n < 0) {
		on_end(c, (int)n);
		return;
	}
	buf_add(&c->in, b->base, (size_t)n);
	if (has_line(c)) {
		uv_read_stop(stream);
		join_ready(c);
	} else if (c->in.len > CONTROL_LINE_MAX) {
		json_t *null = json_null();

		client_fail(c, null, FAULT_INCORRECT_PARAMETERS, "line longer than 1 MiB");
		connection_drop(c);
	} else if (c->in.len > READ_ONCE) {
		drop_largest(c->sup->control, is_half_said, CONTROL_IN_ALL_MAX);
	}
}

/* ----------------------------------------------------------------------------------------------- beginning */

void connection_init(struct control *control)
{
	control->ready_end = &control->ready;
	uv_idle_init(&control->sup->loop, &control->turn);
	control->turn.data = control;
}

static void on_control_closed(uv_handle_t *handle)
{
	free(handle->data);
}

void connection_fini(struct control *control)
{
	uv_close((uv_handle_t *)&control->turn, on_control_closed);
}

struct client *connection_new(struct control *control)
{
	struct client *c = xcalloc(1, sizeof(*c));

	c->sup = control->sup;
	c->hangup_fd = -1;
	c->n_handles = 1;
	uv_pipe_init(&control->sup->loop, &c->pipe, 0);
	c->pipe.data = c;
	return c;
}

void connection_refuse(struct client *c)
{
	c->closing = true;
	uv_close((uv_handle_t *)&c->pipe, on_client_closed);
}

void connection_begin(struct client *c)
{
	struct control *control = c->sup->control;

	c->next = control->clients;
	control->clients = c;
	control->n_clients++;
	uv_read_start((uv_stream_t *)&c->pipe, on_alloc, on_read);
}
