/*
 * The client's side of a listener: connect, and show each other the key.
 */
#include <errno.h>
#include <stddef.h>
#include <unistd.h>

#include "ipc/address.h"
#include "ipc/auth.h"
#include "ipc/connection.h"
#include "ipc/futex.h"

#define HANDSHAKE (5 * MPS_SECOND)

static int exchange(struct mps_connection *c, struct auth *a, struct mps_time until)
{
	struct auth_message answer;
	int r = auth_begin(a, &answer);

	while (r == 0) {
		const void *p;
		size_t n;
		int sent = 0;

		r = mps_recv(c, &p, &n, stream_left(until));
		if (r < 0)
			return r == -ENODATA ? -ECONNRESET : r;
		r = auth_feed(a, p, n, &answer);
		if (answer.n > 0)
			sent = mps_send(c, answer.p, answer.n, stream_left(until));
		if (r >= 0 && sent < 0)
			return sent == -EPIPE ? -ECONNRESET : sent;
	}
	return r < 0 ? r : 0;
}

static int show_key(struct mps_connection *c, const struct mps_address_options *options,
		    struct mps_time until)
{
	struct auth a = {
		.key = options->authkey,
		.key_size = options->authkey_size,
		.allow_md5 = options->allow_md5,
	};
	struct mps_time end = until_of(options->handshake > 0 ? options->handshake : HANDSHAKE);
	int r;

	mps_connection_set_limit(c, AUTH_MESSAGE_MAX);
	r = exchange(c, &a, until.ns < end.ns ? until : end);
	mps_connection_set_limit(c, MPS_MESSAGE_MAX);
	return r;
}

int mps_connect(const char *address, const struct mps_address_options *options,
		struct mps_connection **ret, int64_t timeout)
{
	struct mps_time until = until_of(timeout);
	struct mps_connection *c;
	int fd = address_connect(address, until);
	int r;

	if (fd < 0)
		return fd;
	r = mps_connection_open(fd, &c);
	if (r < 0) {
		close(fd);
		return r;
	}
	if (options != NULL && options->authkey != NULL)
		r = show_key(c, options, until);
	if (r < 0)
		mps_connection_close(c);
	else
		*ret = c;
	return r;
}
