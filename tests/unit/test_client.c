/*
 * The control client against the other end of a socket pair: what a supervisor may send, and what it may not.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <jansson.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/limits.h"
#include "sup/client.h"
#include "sup/fault.h"

struct seen {
	unsigned rows, events;
};

static void on_part(json_t *message, void *user)
{
	struct seen *seen = user;

	if (json_object_get(message, "event") != NULL)
		seen->events++;
	else
		seen->rows += (unsigned)json_array_size(
			json_object_get(json_object_get(message, "result"), "processes"));
}

/* The whole conversation lies ready before the question is asked; the buffers of a socket pair are large enough. */
static int ask(const char *answer, bool close_after, struct seen *seen, char **ret_result,
	       struct err *err)
{
	struct client *client;
	json_t *result = NULL;
	int fds[2], r;

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	cr_assert_eq(fd_write_all(fds[1], answer, strlen(answer)), 0);
	if (close_after)
		shutdown(fds[1], SHUT_WR);
	client = client_new(fds[0]);
	r = client_call(client, "status", NULL, on_part, seen, &result, err);
	*ret_result = r == 0 ? json_dumps(result, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
	json_decref(result);
	client_close(client);
	close(fds[1]);
	return r;
}

static const struct {
	const char *claim;
	const char *answer;
	int r;
	const char *result; /* or part of the message */
	unsigned rows, events;
} conversations[] = {
	{ "one answer", "{\"id\":1,\"result\":{\"a\":1}}\n", 0, "{\"a\":1}", 0, 0 },
	{ "a result that is no object", "{\"id\":1,\"result\":true}\n", 0, "true", 0, 0 },
	{ "null is a result too", "{\"id\":1,\"result\":null}\n", 0, "null", 0, 0 },
	{ "parts, then the last",
	  "{\"id\":1,\"more\":true,\"result\":{\"processes\":[1,2]}}\n"
	  "{\"id\":1,\"more\":true,\"result\":{\"processes\":[3]}}\n"
	  "{\"id\":1,\"result\":{\"processes\":[4]}}\n",
	  0, "{\"processes\":[4]}", 3, 0 },
	{ "events between parts",
	  "{\"event\":\"state\",\"data\":{\"name\":\"web\"}}\n"
	  "{\"id\":1,\"more\":true,\"result\":{\"processes\":[1]}}\n"
	  "{\"event\":\"state\",\"data\":{}}\n"
	  "{\"id\":1,\"result\":{}}\n",
	  0, "{}", 1, 2 },
	{ "\"more\":false is the last part", "{\"id\":1,\"more\":false,\"result\":7}\n", 0, "7", 0,
	  0 },
	{ "answers to others are passed over",
	  "{\"id\":9,\"result\":1}\n{\"id\":9,\"error\":{\"code\":3}}\n{\"id\":1,\"result\":2}\n",
	  0, "2", 0, 0 },
	{ "a refusal is a positive fault number",
	  "{\"id\":1,\"error\":{\"code\":10,\"name\":\"BAD_NAME\",\"message\":\"no program "
	  "'x'\"}}\n",
	  FAULT_BAD_NAME, "no program 'x'", 0, 0 },
	{ "a refusal after parts",
	  "{\"id\":1,\"more\":true,\"result\":{\"processes\":[1]}}\n{\"id\":1,\"error\":{\"code\":"
	  "6}}\n",
	  FAULT_SHUTDOWN_STATE, "SHUTDOWN_STATE", 1, 0 },
	{ "a refusal of the connection itself has no number of a request",
	  "{\"id\":null,\"error\":{\"code\":93,\"message\":\"too many clients\"}}\n",
	  FAULT_NOT_PERMITTED, "too many clients", 0, 0 },
	{ "an error without a code", "{\"id\":1,\"error\":{}}\n", -EPROTO, "without a number", 0,
	  0 },
	{ "an error with a negative code", "{\"id\":1,\"error\":{\"code\":-5}}\n", -EPROTO,
	  "without a number", 0, 0 },
	{ "neither result nor error", "{\"id\":1}\n", -EPROTO, "neither result nor error", 0, 0 },
	{ "the end before a word", "", -ECONNRESET, "went away", 0, 0 },
	{ "the end in the middle of a line", "{\"id\":1,\"resu", -ECONNRESET, "went away", 0, 0 },
	{ "the end between parts", "{\"id\":1,\"more\":true,\"result\":{\"processes\":[1]}}\n",
	  -ECONNRESET, "went away", 1, 0 },
	{ "no JSON", "HTTP/1.1 400 Bad Request\r\n\r\n", -EPROTO, "HTTP/1.1 400", 0, 0 },
	{ "an empty line", "\n", -EPROTO, "no JSON object", 0, 0 },
	{ "JSON, but no object", "[1,2]\n", -EPROTO, "no JSON object", 0, 0 },
	{ "two objects on a line", "{\"id\":1,\"result\":1}{\"id\":1}\n", -EPROTO, "no JSON object",
	  0, 0 },
	{ "bytes that are no UTF-8", "{\"id\":1,\"result\":\"\xff\"}\n", -EPROTO, "no JSON object",
	  0, 0 },
};

Test(client, what_the_supervisor_says)
{
	for (size_t i = 0; i < ARRAY_SIZE(conversations); i++) {
		const char *claim = conversations[i].claim;
		AUTO_FREE char *result = NULL;
		struct seen seen = { 0 };
		struct err err = ERR_INIT;
		int r = ask(conversations[i].answer, true, &seen, &result, &err);

		cr_expect_eq(r, conversations[i].r, "%s: %d (%s)", claim, r, err.text);
		if (r == 0)
			cr_expect_str_eq(result, conversations[i].result, "%s", claim);
		else
			cr_expect(strstr(err.text, conversations[i].result) != NULL, "%s: '%s'",
				  claim, err.text);
		cr_expect_eq(seen.rows, conversations[i].rows, "%s: %u rows", claim, seen.rows);
		cr_expect_eq(seen.events, conversations[i].events, "%s: %u events", claim,
			     seen.events);
	}
}

Test(client, every_cut_of_an_answer_is_a_lost_connection)
{
	static const char whole[] = "{\"event\":\"state\",\"data\":{}}\n"
				    "{\"id\":1,\"more\":true,\"result\":{\"processes\":[1]}}\n"
				    "{\"id\":1,\"result\":{}}\n";
	char cut[sizeof(whole)];

	for (size_t n = 0; n < sizeof(whole) - 1; n++) {
		AUTO_FREE char *result = NULL;
		struct seen seen = { 0 };
		struct err err = ERR_INIT;

		memcpy(cut, whole, n);
		cut[n] = '\0';
		cr_expect_eq(ask(cut, true, &seen, &result, &err), -ECONNRESET, "after %zu bytes",
			     n);
	}
}

/* Reads one request and then sends a line of `size` bytes, a few at a time, as a slow peer would. */
struct sender {
	int fd;
	size_t size;
};

static void *send_line(void *arg)
{
	static const char head[] = "{\"id\":1,\"result\":\"", tail[] = "\"}\n";
	struct sender *s = arg;
	char request[256], *line = malloc(s->size);
	int r;

	cr_assert_gt(read(s->fd, request, sizeof(request)), 0);
	memset(line, 'x', s->size);
	memcpy(line, head, sizeof(head) - 1);
	memcpy(line + s->size - (sizeof(tail) - 1), tail, sizeof(tail) - 1);
	r = 0;
	for (size_t at = 0; at < s->size && r == 0;) {
		size_t n = s->size - at < 7777 ? s->size - at : 7777;

		r = send(s->fd, line + at, n, MSG_NOSIGNAL) == (ssize_t)n ? 0 : -1;
		at += n;
	}
	free(line);
	shutdown(s->fd, SHUT_WR);
	return NULL;
}

static int ask_for_line(size_t size, size_t *ret_length)
{
	struct sender sender = { .size = size };
	struct client *client;
	json_t *result = NULL;
	pthread_t thread;
	int fds[2], r;

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	sender.fd = fds[1];
	cr_assert_eq(pthread_create(&thread, NULL, send_line, &sender), 0);
	client = client_new(fds[0]);
	r = client_call(client, "status", NULL, NULL, NULL, &result, NULL);
	*ret_length = json_string_length(result);
	json_decref(result);
	client_close(client);
	pthread_join(thread, NULL);
	close(fds[1]);
	return r;
}

Test(client, a_line_has_one_mebibyte_and_no_byte_more)
{
	size_t length;

	cr_expect_eq(ask_for_line(CONTROL_LINE_MAX, &length), 0);
	cr_expect_eq(length, (size_t)CONTROL_LINE_MAX - 18 - 3);
	cr_expect_eq(ask_for_line(CONTROL_LINE_MAX + 1, &length), -EMSGSIZE);
	cr_expect_eq(ask_for_line(3 * CONTROL_LINE_MAX, &length), -EMSGSIZE);
}

Test(client, sends_one_line_with_counted_ids)
{
	char request[256];
	struct client *client;
	json_t *result;
	int fds[2];
	ssize_t n;

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	client = client_new(fds[0]);
	cr_assert_eq(fd_write_all(fds[1], "{\"id\":1,\"result\":1}\n{\"id\":2,\"result\":2}\n", 40),
		     0);
	cr_expect_eq(client_call(client, "info", NULL, NULL, NULL, &result, NULL), 0);
	json_decref(result);
	cr_expect_eq(client_call(client, "stop", json_pack("{s:[s]}", "targets", "a\nb"), NULL,
				 NULL, &result, NULL),
		     0);
	cr_expect_eq(json_integer_value(result), 2, "what came early is kept for its request");
	json_decref(result);
	n = read(fds[1], request, sizeof(request) - 1);
	cr_assert_gt(n, 0);
	request[n] = '\0';
	cr_expect_str_eq(request,
			 "{\"id\":1,\"method\":\"info\",\"params\":{}}\n"
			 "{\"id\":2,\"method\":\"stop\",\"params\":{\"targets\":[\"a\\nb\"]}}\n");
	client_close(client);
	close(fds[1]);
}

Test(client, refuses_to_send_what_cannot_be_sent)
{
	char *large = malloc(CONTROL_LINE_MAX + 1);
	struct err err = ERR_INIT;
	struct client *client;
	json_t *result;
	int fds[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	client = client_new(fds[0]);
	memset(large, 'x', CONTROL_LINE_MAX);
	large[CONTROL_LINE_MAX] = '\0';
	cr_expect_eq(client_call(client, "stop", json_pack("{s:s}", "a", large), NULL, NULL,
				 &result, &err),
		     -EMSGSIZE);
	close(fds[1]);
	cr_expect_eq(client_call(client, "stop", NULL, NULL, NULL, &result, &err), -ECONNRESET,
		     "and no SIGPIPE");
	client_close(client);
	free(large);
}

Test(client, gives_up_on_one_that_hangs_when_told_to)
{
	struct client *client;
	json_t *result;
	int fds[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	client = client_new(fds[0]);
	cr_expect_eq(client_set_timeout(client, 10), 0);
	cr_expect_eq(client_call(client, "info", NULL, NULL, NULL, &result, NULL), -ETIMEDOUT);
	client_close(client);
	close(fds[1]);
}

Test(client, an_event_that_comes_in_two_halves_survives_a_timeout)
{
	struct client *client;
	json_t *message = NULL;
	int fds[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	client = client_new(fds[0]);
	cr_expect_eq(client_set_timeout(client, 10), 0);
	cr_assert_eq(fd_write_all(fds[1], "{\"seq\":1}\n{\"se", 14), 0);
	cr_expect_eq(client_next(client, &message, NULL), 0);
	cr_expect_eq(json_integer_value(json_object_get(message, "seq")), 1);
	json_decref(message);
	cr_expect_eq(client_next(client, &message, NULL), -ETIMEDOUT);
	cr_assert_eq(fd_write_all(fds[1], "q\":2}\n", 6), 0);
	cr_expect_eq(client_next(client, &message, NULL), 0);
	cr_expect_eq(json_integer_value(json_object_get(message, "seq")), 2);
	json_decref(message);
	close(fds[1]);
	cr_expect_eq(client_next(client, &message, NULL), -ECONNRESET);
	client_close(client);
}

Test(client, waits_for_the_end)
{
	struct client *client;
	int fds[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	client = client_new(fds[0]);
	cr_assert_eq(fd_write_all(fds[1], "{\"event\":1}\n", 12), 0);
	close(fds[1]);
	cr_expect_eq(client_wait_closed(client), 0);
	client_close(client);
	client_close(NULL);
}

Test(client, connecting_says_what_to_do_next)
{
	char dir[] = "/tmp/test_client.XXXXXX", path[64], deep[200];
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	struct err err = ERR_INIT;
	struct client *client;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	cr_assert_not_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/control.sock", dir);
	cr_expect_eq(client_connect(path, &client, &err), -ENOENT);
	cr_expect(strstr(err.text, "mpsup start starts one") != NULL, "%s", err.text);
	strcpy(addr.sun_path, path);
	cr_assert_eq(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	cr_expect_eq(client_connect(path, &client, &err), -ECONNREFUSED);
	cr_assert_eq(listen(fd, 1), 0);
	cr_expect_eq(client_connect(path, &client, &err), 0);
	client_close(client);
	memset(deep, 'x', sizeof(deep) - 1);
	deep[sizeof(deep) - 1] = '\0';
	cr_expect_eq(client_connect(deep, &client, &err), -ENAMETOOLONG);
	close(fd);
	unlink(path);
	rmdir(dir);
}

static const struct {
	const char *path, *identifier, *name;
} names[] = {
	{ "/etc/supervisord.conf", NULL, "etc-supervisord.conf" },
	{ "/etc/supervisord.conf", "", "etc-supervisord.conf" },
	{ "/etc/supervisord.conf", "shop", "shop" },
	{ "/etc/supervisord.conf", "my shop/1", "my-shop-1" },
	{ "/", NULL, "-" },
	{ "/x", "..", "-." },
	{ "/x", "../../etc", "-.-..-etc" },
	{ "/home/j\xc3\xb6rg/a b.ini", NULL, "home-j--rg-a-b.ini-4a7f77c4" },
};

Test(instance, names)
{
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		AUTO_FREE char *name = client_instance_name(names[i].path, names[i].identifier);

		cr_expect_str_eq(name, names[i].name);
	}
}

Test(instance, long_names_differ_and_fit_a_socket)
{
	char a[400], b[400];
	AUTO_FREE char *x = NULL, *y = NULL;

	memset(a, 'a', sizeof(a));
	a[0] = '/';
	a[sizeof(a) - 1] = '\0';
	memcpy(b, a, sizeof(a));
	b[5] = 'b';
	x = client_instance_name(a, NULL);
	y = client_instance_name(b, NULL);
	cr_expect_str_neq(x, y);
	cr_expect_leq(strlen(x) + strlen("/run/user/4294967295/mpsup//control.sock"), 107);
}

Test(instance, runtime_directory)
{
	AUTO_FREE char *dir = NULL;

	setenv("XDG_RUNTIME_DIR", "/run/user/7", 1);
	dir = client_runtime_dir("shop");
	cr_expect_str_eq(dir, geteuid() == 0 ? "/run/mpsup/shop" : "/run/user/7/mpsup/shop");
}

Test(fault, names)
{
	cr_expect_str_eq(fault_name(FAULT_BAD_NAME), "BAD_NAME");
	cr_expect_str_eq(fault_name(FAULT_NOT_PERMITTED), "NOT_PERMITTED");
	cr_expect_str_eq(fault_name((enum fault)4711), "UNKNOWN");
}
