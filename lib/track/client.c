/*
 * See client.h. A tracker answers nothing but a PROBE, so that is what is sent behind.
 */
#include "track/client.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/fd.h"

enum { PATIENCE_MS = 10000 };

static int wait_for(int sock, short events)
{
	struct pollfd p = { .fd = sock, .events = events };
	int r;

	do
		r = poll(&p, 1, PATIENCE_MS);
	while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : r == 0 ? -ETIMEDOUT : 0;
}

static int send_all(int sock, const struct buf *words)
{
	if (words->failed)
		return -ENOMEM;
	while (send(sock, words->p, words->len, MSG_NOSIGNAL) < 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}

static int talk(int sock, enum track_verb verb, enum track_type type, const char *name)
{
	AUTO_BUF words = BUF_INIT, probe = BUF_INIT;
	char answer[64];
	ssize_t n;
	int r;

	track_word_encode(verb, type, name, &words);
	track_word_encode(TRACK_PROBE, type, "0", &probe);
	r = send_all(sock, &words);
	if (r == 0)
		r = send_all(sock, &probe);
	if (r == 0)
		r = wait_for(sock, POLLIN);
	if (r < 0)
		return r;
	n = recv(sock, answer, sizeof(answer), 0);
	return n < 0 ? -errno : n == 0 ? -ECONNRESET : 0;
}

int track_say(const char *socket, enum track_verb verb, enum track_type type, const char *name,
	      struct err *err)
{
	AUTO_CLOSE int sock = fd_connect_unix(SOCK_SEQPACKET, socket);
	int r = sock;

	if (r < 0)
		return err_set(err, r, "no resource tracker at %s: %s", socket, strerror(-r));
	r = talk(sock, verb, type, name);
	if (r == -ECONNRESET)
		return err_set(err, r,
			       "the resource tracker at %s has not taken it: is this process a "
			       "program of it?",
			       socket);
	return r < 0 ? err_set(err, r, "the resource tracker at %s: %s", socket, strerror(-r)) : 0;
}

void track_tell(const char *socket, enum track_verb verb, enum track_type type, const char *name)
{
	AUTO_CLOSE int sock = fd_connect_unix(SOCK_SEQPACKET, socket);
	AUTO_BUF words = BUF_INIT;

	if (sock < 0)
		return;
	track_word_encode(verb, type, name, &words);
	send_all(sock, &words);
}
