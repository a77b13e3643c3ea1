/*
 * The C side of interop.sh: a listener that sends back what comes, or a client that is sent back what it sends.
 *
 *   interop echo ADDRESS KEY|- md5|- COUNT   prints the address, serves COUNT connections; "accept: ENAME" of those that fail
 *   interop ask ADDRESS KEY|- md5|-          messages of all sizes, and descriptors on a unix socket; "connect: ENAME"
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mpsup.h"

#define LIMIT (60 * MPS_SECOND)

static int failed(const char *what, int r)
{
	printf("%s: %s\n", what, strerrorname_np(-r));
	fflush(stdout);
	return 1;
}

/* What it gets has a word written into it: a pipe's end. */
static int write_into(struct mps_connection *c)
{
	int fd, r = mps_recv_fd(c, &fd, LIMIT);

	if (r < 0)
		return r;
	if (write(fd, "written", 7) != 7)
		return -EIO;
	close(fd);
	return 0;
}

static int echo(struct mps_connection *c)
{
	const void *p;
	size_t n;
	int r;

	while ((r = mps_recv(c, &p, &n, LIMIT)) == 0) {
		r = mps_send(c, p, n, LIMIT);
		if (r == 0 && n == 6 && memcmp(p, "handle", 6) == 0)
			r = write_into(c);
		if (r < 0)
			return failed("echo", r);
	}
	mps_connection_close(c);
	return r == -ENODATA ? 0 : failed("recv", r);
}

static int serve(const char *address, const struct mps_address_options *options, int count)
{
	struct mps_listener *l;
	int bad = 0, r = mps_listen(address, options, &l);

	if (r < 0)
		return failed("listen", r);
	printf("%s\n", mps_listener_address(l));
	fflush(stdout);
	while (count-- > 0) {
		struct mps_connection *c;

		r = mps_listener_accept(l, &c, 2 * MPS_SECOND);
		if (r < 0)
			bad |= failed("accept", r);
		else
			bad |= echo(c);
	}
	mps_listener_close(l);
	return bad;
}

/* The echo takes nothing while it sends, so long ones go through a second process as they would through Python. */
static int round_trip(struct mps_connection *c, size_t n)
{
	char *p = malloc(n + 1);
	const void *q;
	size_t m;
	int r;

	for (size_t i = 0; i < n; i++)
		p[i] = (char)(i * 31 + i / 1000);
	r = mps_send(c, p, n, LIMIT);
	if (r == 0)
		r = mps_recv(c, &q, &m, LIMIT);
	if (r == 0 && (m != n || memcmp(p, q, n) != 0))
		r = -EILSEQ;
	free(p);
	return r;
}

static int handle(struct mps_connection *c)
{
	int ends[2], r;
	char word[8] = "";

	if (pipe(ends) < 0)
		return -errno;
	r = round_trip(c, 0);
	if (r == 0)
		r = mps_send(c, "handle", 6, LIMIT);
	if (r == 0)
		r = mps_send_fd(c, ends[1], LIMIT);
	close(ends[1]);
	if (r == 0 && (read(ends[0], word, 7) != 7 || strcmp(word, "written") != 0))
		r = -EIO;
	if (r == 0) {
		const void *p;
		size_t n;

		r = mps_recv(c, &p, &n, LIMIT);
	}
	return r;
}

static int ask(const char *address, const struct mps_address_options *options)
{
	static const size_t sizes[] = { 0, 1, 16384, 16385, 65536, 1 << 20, 8 << 20 };
	struct mps_connection *c;
	int r = mps_connect(address, options, &c, LIMIT);

	if (r < 0)
		return failed("connect", r);
	for (size_t i = 0; r == 0 && i < sizeof(sizes) / sizeof(*sizes); i++)
		r = round_trip(c, sizes[i]);
	if (r == 0 && strncmp(address, "tcp:", 4) != 0)
		r = handle(c);
	if (r < 0)
		return failed("ask", r);
	mps_connection_close(c);
	puts("good");
	return 0;
}

int main(int argc, char **argv)
{
	struct mps_address_options options = MPS_ADDRESS_OPTIONS_INIT;

	if (argc < 5)
		return 2;
	if (strcmp(argv[3], "-") != 0) {
		options.authkey = argv[3];
		options.authkey_size = strlen(argv[3]);
	}
	options.allow_md5 = strcmp(argv[4], "md5") == 0;
	if (strcmp(argv[1], "echo") == 0 && argc == 6)
		return serve(argv[2], &options, atoi(argv[5]));
	return ask(argv[2], &options);
}
