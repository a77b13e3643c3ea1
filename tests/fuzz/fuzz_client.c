/*
 * Bytes are what a supervisor answers. Whatever they are, each call ends, with a result or with a message.
 */
#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/err.h"
#include "base/fd.h"
#include "sup/client.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SIZE_MAX_SENT                                                                              \
	65536 /* fits the buffer of a socket pair, so nobody need read while we write */

static void on_part(json_t *message, void *user)
{
	unsigned *parts = user;

	if (!json_is_object(message))
		abort();
	(*parts)++;
}

static int call(struct client *client)
{
	struct err err = ERR_INIT;
	json_t *result = NULL;
	unsigned parts = 0;
	int r = client_call(client, "status", NULL, on_part, &parts, &result, &err);

	if ((r == 0) != (result != NULL) || (r == 0) != (err.text[0] == '\0'))
		abort();
	json_decref(result);
	return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct client *client;
	int fds[2];

	if (size > SIZE_MAX_SENT || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
		return 0;
	fd_write_all(fds[1], data, size);
	shutdown(fds[1], SHUT_WR);
	client = client_new(fds[0]);
	while (call(client) >= 0)
		;
	client_close(client);
	close(fds[1]);
	return 0;
}
