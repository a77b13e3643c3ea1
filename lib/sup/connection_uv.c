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

enum { WRITE_LOW = 256 << 10 }; /* an answer in parts goes on when less than this is waiting */

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

void connection_drop(struct client *c)
{
	struct control *control = c->sup->control;
	struct client **at;

	if (c->closing)
		return;
	c->closing = true;
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

/* ------------------------------------------------------------------------------------------------- writing */

struct write {
	uv_write_t req;
	char *text;
	size_t told; /* of an event, else 0 */
};

static void on_written(uv_write_t *req, int status)
{
	struct write *w = (struct write *)req;
	struct client *c = req->handle->data;

	c->told -= w->told;
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
	struct write *w = xcalloc(1, sizeof(*w));
	uv_buf_t b = uv_buf_init(text, (unsigned)n);

	w->text = text;
	w->told = is_event ? n : 0;
	c->told += w->told;
	if (uv_write(&w->req, (uv_stream_t *)&c->pipe, &b, 1, on_written) < 0) {
		free(w->text);
		free(w);
		connection_drop(c);
	}
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
		abort(); /* out of memory: texts are UTF-8 by then */
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

/* All whole lines that are there; what is left stays for the next read. */
static void take_lines(struct client *c)
{
	size_t from = 0;

	while (!c->closing && c->scanned < c->in.len) {
		char *end = memchr(c->in.p + c->scanned, '\n', c->in.len - c->scanned);

		if (end == NULL) {
			c->scanned = c->in.len;
			break;
		}
		c->scanned = (size_t)(end - c->in.p) + 1;
		on_line(c, c->in.p + from, c->scanned - 1 - from);
		from = c->scanned;
	}
	buf_drop(&c->in, from);
	c->scanned -= from;
	if (c->in.len == 0)
		buf_fini(&c->in); /* a thousand silent clients hold nothing */
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *b)
{
	static char shared[64 << 10];

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
	take_lines(c);
	if (!c->closing && c->in.len > CONTROL_LINE_MAX) {
		json_t *null = json_null();

		client_fail(c, null, FAULT_INCORRECT_PARAMETERS, "line longer than 1 MiB");
		connection_drop(c);
	}
}

/* ----------------------------------------------------------------------------------------------- beginning */

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
