/*
 * The control protocol from the side that asks: a blocking unix socket, one JSON object a line. Where the socket is found
 * is instance.c's matter, what is asked the caller's.
 */
#include "sup/client.h"

#include <errno.h>
#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/limits.h"
#include "sup/fault.h"

#define READ_SIZE 65536

struct client {
	int fd;
	json_int_t last_id;
	struct buf in;
	size_t start; /* of the line that is being read */
	size_t seen;  /* bytes of `in` that were searched for a newline */
};

struct client *client_new(int fd)
{
	struct client *c = calloc(1, sizeof(*c));

	if (c != NULL)
		c->fd = fd;
	return c;
}

void client_close(struct client *c)
{
	if (c == NULL)
		return;
	fd_close(&c->fd);
	buf_fini(&c->in);
	free(c);
}

static int connect_failed(const char *path, int code, struct err *err)
{
	if (code == -ENOENT || code == -ECONNREFUSED || code == -ENOTDIR)
		return err_set(err, code == -ENOTDIR ? -ENOENT : code,
			       "no supervisor at %s; mpsup start starts one", path);
	if (code == -EACCES || code == -EPERM)
		return err_set(err, code,
			       "%s: permission denied; ask as the user that started it, or as root",
			       path);
	return err_set(err, code, "%s: %s", path, strerror(-code));
}

int client_connect(const char *path, struct client **ret_client, struct err *err)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	AUTO_CLOSE int fd = -1;
	int r;

	if (strlen(path) >= sizeof(addr.sun_path))
		return err_set(
			err, -ENAMETOOLONG,
			"%s: a socket's path has at most %zu bytes; set a shorter identifier", path,
			sizeof(addr.sun_path) - 1);
	strcpy(addr.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_set(err, -errno, "socket: %s", strerror(errno));
	do
		r = connect(fd, (struct sockaddr *)&addr, sizeof(addr));
	while (r < 0 && errno == EINTR);
	if (r < 0)
		return connect_failed(path, -errno, err);
	*ret_client = client_new(fd);
	if (*ret_client == NULL)
		return err_set(err, -ENOMEM, "out of memory");
	fd = -1;
	return 0;
}

int client_set_timeout(struct client *c, int ms)
{
	struct timeval tv = { ms / 1000, ms % 1000 * 1000 };

	if (setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)) < 0 ||
	    setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv)) < 0)
		return -errno;
	return 0;
}

int client_fd(const struct client *c)
{
	return c->fd;
}

static int lost(int code, struct err *err)
{
	if (code == -EAGAIN)
		return err_set(err, -ETIMEDOUT, "the supervisor does not answer");
	if (code == -ECONNRESET || code == -EPIPE)
		return err_set(err, -ECONNRESET, "the supervisor went away before it answered");
	return err_set(err, code, "connection to the supervisor: %s", strerror(-code));
}

static int send_all(struct client *c, const char *p, size_t n, struct err *err)
{
	while (n > 0) {
		ssize_t w = send(c->fd, p, n, MSG_NOSIGNAL);

		if (w < 0 && errno == EINTR)
			continue;
		if (w < 0)
			return lost(-errno, err);
		p += w;
		n -= (size_t)w;
	}
	return 0;
}

static int send_request(struct client *c, const char *method, json_t *params, struct err *err)
{
	AUTO_FREE char *text = NULL;
	json_t *request = json_pack("{s:I, s:s, s:o}", "id", ++c->last_id, "method", method,
				    "params", params != NULL ? params : json_object());
	size_t n;

	if (request == NULL)
		return err_set(err, -EINVAL, "%s: a parameter is not UTF-8", method);
	text = json_dumps(request, JSON_COMPACT);
	json_decref(request);
	if (text == NULL)
		return err_set(err, -ENOMEM, "out of memory");
	n = strlen(text);
	if (n >= CONTROL_LINE_MAX)
		return err_set(err, -EMSGSIZE, "%s: a request has at most %d bytes", method,
			       CONTROL_LINE_MAX);
	text[n] = '\n'; /* in the place of the NUL */
	return send_all(c, text, n + 1, err);
}

static int too_long(struct err *err)
{
	return err_set(err, -EMSGSIZE, "the supervisor sent a line of more than %d bytes",
		       CONTROL_LINE_MAX);
}

/* More bytes behind those of the unfinished line, which first moves to the front. */
static int fill(struct client *c, struct err *err)
{
	char *to;
	ssize_t n;

	if (c->start > 0) {
		buf_drop(&c->in, c->start);
		c->start = 0;
	}
	c->seen = c->in.len;
	if (c->in.len > CONTROL_LINE_MAX)
		return too_long(err);
	to = buf_reserve(&c->in, READ_SIZE);
	if (to == NULL)
		return err_set(err, -ENOMEM, "out of memory");
	do
		n = read(c->fd, to, READ_SIZE);
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		return lost(n < 0 ? -errno : -ECONNRESET, err);
	c->in.len += (size_t)n;
	return 0;
}

/* The next line's text, valid until the next call. */
static int read_line(struct client *c, const char **ret_line, size_t *ret_len, struct err *err)
{
	for (;;) {
		const char *end = c->seen < c->in.len
					  ? memchr(c->in.p + c->seen, '\n', c->in.len - c->seen)
					  : NULL;
		int r;

		if (end != NULL) {
			*ret_line = c->in.p + c->start;
			*ret_len = (size_t)(end - *ret_line);
			c->start = c->seen = (size_t)(end - c->in.p) + 1;
			return *ret_len < CONTROL_LINE_MAX ? 0 : too_long(err);
		}
		r = fill(c, err);
		if (r < 0)
			return r;
	}
}

static int read_message(struct client *c, json_t **ret_message, struct err *err)
{
	json_error_t why;
	const char *line;
	size_t len;
	int r = read_line(c, &line, &len, err);

	if (r < 0)
		return r;
	*ret_message = json_loadb(line, len, 0, &why);
	if (json_is_object(*ret_message))
		return 0;
	json_decref(*ret_message);
	return err_set(err, -EPROTO,
		       "the answer is no JSON object: '%.*s'; is another program listening there?",
		       (int)(len < 60 ? len : 60), line);
}

static int refused(const json_t *error, struct err *err)
{
	json_int_t code = json_integer_value(json_object_get(error, "code"));
	const char *text = json_string_value(json_object_get(error, "message"));

	if (code <= 0 || code > INT16_MAX)
		return err_set(err, -EPROTO, "the supervisor sent an error without a number");
	if (text == NULL || text[0] == '\0')
		text = fault_name((enum fault)code);
	return err_set(err, (int)code, "%s", text);
}

/* -EAGAIN: not yet the end; else what client_call() returns. */
static int take_message(struct client *c, json_t *m, client_on_part *on_part, void *user,
			json_t **ret_result, struct err *err)
{
	json_t *id = json_object_get(m, "id");
	json_t *error = json_object_get(m, "error");
	json_t *result = json_object_get(m, "result");
	bool ours = json_is_integer(id) && json_integer_value(id) == c->last_id;
	bool event = json_object_get(m, "event") != NULL;

	/* A request that could not be read, or a client too many, is answered without a number. */
	if (error != NULL && (ours || id == NULL || json_is_null(id)))
		return refused(error, err);
	if (event || (ours && json_is_true(json_object_get(m, "more")))) {
		if (on_part != NULL)
			on_part(m, user);
		return -EAGAIN;
	}
	if (!ours)
		return -EAGAIN; /* what is left of an earlier request */
	if (result == NULL)
		return err_set(err, -EPROTO, "the answer has neither result nor error");
	*ret_result = json_incref(result);
	return 0;
}

int client_call(struct client *c, const char *method, json_t *params, client_on_part *on_part,
		void *user, json_t **ret_result, struct err *err)
{
	int r = send_request(c, method, params, err);

	if (r < 0)
		return r;
	do {
		json_t *message;

		r = read_message(c, &message, err);
		if (r < 0)
			return r;
		r = take_message(c, message, on_part, user, ret_result, err);
		json_decref(message);
	} while (r == -EAGAIN);
	return r;
}

int client_next(struct client *c, json_t **ret_message, struct err *err)
{
	return read_message(c, ret_message, err);
}

bool client_has_line(const struct client *c)
{
	return c->seen < c->in.len && memchr(c->in.p + c->seen, '\n', c->in.len - c->seen) != NULL;
}

int client_wait_closed(struct client *c)
{
	char drop[4096];

	for (;;) {
		ssize_t n = read(c->fd, drop, sizeof(drop));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != ECONNRESET)
			return -errno;
		if (n <= 0)
			return 0;
	}
}
