/*
 * mps_manager_start(): a server as a child of this process, an image of this program or a copy of it.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "ipc/futex.h"
#include "ipc/stream.h"
#include "manager/client.h"

/* How long a start may take, snapshot and all. */
#define START (60 * MPS_SECOND)
enum { LINE_MAX_ = 8192 };

enum arg {
	ARG_READY,
	ARG_ADDRESS,
	ARG_SNAPSHOT,
	ARG_KEY,
	ARG_NUMBERS, /* these in their order */
};
#define NUMBERS(o_)                                                                                \
	{                                                                                          \
		(o_)->handshake, (int64_t)(o_)->objects_max, (int64_t)(o_)->bytes_max,             \
			(int64_t)(o_)->requests_max                                                \
	}

/* In place of the line that says where it is. Where it was a server by then nobody listens. */
static void tell_why(int fd, int r)
{
	char line[16];

	signal(SIGPIPE, SIG_IGN);
	snprintf(line, sizeof(line), "%d\n", r);
	fd_write_all(fd, line, strlen(line));
}

static int mps_manager_server(struct mps_args *args)
{
	int fd = mps_args_fd(args, ARG_READY), r;
	const char *why = "";
	size_t key_size = 0;
	struct mps_manager_options o = {
		.address = mps_args_text(args, ARG_ADDRESS),
		.snapshot = mps_args_text(args, ARG_SNAPSHOT),
		.authkey = mps_args_bytes(args, ARG_KEY, &key_size),
		.handshake = mps_args_int(args, ARG_NUMBERS),
		.objects_max = (size_t)mps_args_int(args, ARG_NUMBERS + 1),
		.bytes_max = (size_t)mps_args_int(args, ARG_NUMBERS + 2),
		.requests_max = (size_t)mps_args_int(args, ARG_NUMBERS + 3),
	};

	o.authkey_size = key_size;
	if (key_size == 0)
		o.authkey = NULL;
	r = mps_manager_serve(&o, fd, &why);
	if (r < 0)
		tell_why(fd, r);
	return r < 0;
}
MPS_TARGET(mps_manager_server);

/* A number is no text: NULL for who asks for one. */
static int add_text(struct mps_args *args, const char *text)
{
	return text != NULL ? mps_args_add_text(args, text) : mps_args_add_int(args, 0);
}

static int put_args(struct mps_args *args, const struct mps_manager_options *o, int ready)
{
	const int64_t numbers[] = NUMBERS(o);
	int r = mps_args_add_fd(args, ready);

	if (r >= 0)
		r = add_text(args, o->address);
	if (r >= 0)
		r = add_text(args, o->snapshot);
	if (r >= 0)
		r = mps_args_add(args, o->authkey, o->authkey != NULL ? o->authkey_size : 0);
	for (size_t i = 0; r >= 0 && i < ARRAY_SIZE(numbers); i++)
		r = mps_args_add_int(args, numbers[i]);
	return r < 0 ? r : 0;
}

/* "ready ADDRESS", or why not. */
static int read_line(int fd, char *line, struct mps_time until)
{
	size_t n = 0;

	while (n < LINE_MAX_) {
		int r = stream_wait(fd, POLLIN, until);
		ssize_t got;

		if (r < 0)
			return r;
		got = read(fd, line + n, LINE_MAX_ - n);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return -ECONNRESET;
		n += (size_t)got;
		if (line[n - 1] == '\n') {
			line[n - 1] = '\0';
			return 0;
		}
	}
	return -EPROTO;
}

static int understand(const char *line, const char **ret_address)
{
	int r;

	if (strncmp(line, "ready ", 6) == 0) {
		*ret_address = line + 6;
		return 0;
	}
	r = atoi(line);
	return r < 0 ? r : -EPROTO;
}

static int start_child(const struct mps_manager_options *o, int ready, struct mps_process **ret)
{
	struct mps_process_options p = { .name = "manager",
					 .target = mps_manager_server,
					 .daemon = true };
	int r = mps_args_new(&p.args);

	if (r < 0)
		return r;
	r = put_args(p.args, o, ready);
	if (r == 0)
		r = mps_process_start(&p, ret);
	mps_args_free(p.args);
	return r;
}

static void end_child(struct mps_process *p)
{
	mps_process_kill(p, START);
	mps_process_free(p);
}

static int connect_to(struct mps_process *p, const struct mps_manager_options *o, int fd,
		      struct mps_manager **ret)
{
	struct mps_time until = until_of(START);
	char line[LINE_MAX_];
	const char *address;
	int r = read_line(fd, line, until);

	if (r == 0)
		r = understand(line, &address);
	if (r == 0)
		r = mps_manager_connect(address, o, ret, START);
	if (r == 0)
		manager_own(*ret, p);
	return r;
}

int mps_manager_start(const struct mps_manager_options *options, struct mps_manager **ret)
{
	static const struct mps_manager_options plain = MPS_MANAGER_OPTIONS_INIT;
	const struct mps_manager_options *o = options != NULL ? options : &plain;
	AUTO_CLOSE int from = -1, to = -1;
	struct mps_process *p;
	int ends[2], r;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	from = ends[0];
	to = ends[1];
	r = start_child(o, to, &p);
	if (r < 0)
		return r;
	fd_close(&to);
	r = connect_to(p, o, from, ret);
	if (r < 0)
		end_child(p);
	return r;
}
