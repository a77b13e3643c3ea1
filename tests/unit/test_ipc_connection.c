/*
 * Messages over pipes and sockets: frames, ends, several senders, time limits.
 */
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>

#include "../connection_scene.h"
#include "base/fd.h"

/* ------------------------------------------------------------------------------------------------------- frames */

static const struct frame {
	uint64_t length;
	const char *bytes;
	size_t n;
} frames[] = {
	{ 0, "\0\0\0\0", 4 },
	{ 1, "\0\0\0\1", 4 },
	{ 0x12345678, "\x12\x34\x56\x78", 4 },
	{ 0x7fffffff, "\x7f\xff\xff\xff", 4 },
	{ 0x80000000, "\xff\xff\xff\xff\0\0\0\0\x80\0\0\0", 12 },
	{ 0x0102030405060708, "\xff\xff\xff\xff\1\2\3\4\5\6\7\10", 12 },
};

Test(connection, a_length_is_written_and_read_as_python_does)
{
	for (size_t i = 0; i < sizeof(frames) / sizeof(*frames); i++) {
		const struct frame *f = &frames[i];
		uint8_t header[FRAME_HEADER_MAX];
		uint64_t length = 77;

		cr_assert_eq(frame_encode(header, f->length), f->n);
		cr_assert_arr_eq(header, f->bytes, f->n);
		for (size_t n = 0; n < f->n; n++)
			cr_assert_eq(frame_decode(header, n, &length), 0);
		cr_assert_eq(length, 77);
		cr_assert_eq(frame_decode(header, f->n, &length), (int)f->n);
		cr_assert_eq(length, f->length);
	}
	cr_assert_eq(frame_decode((const uint8_t *)"\x80\0\0\0", 4, &(uint64_t){ 0 }), -EPROTO);
	cr_assert_eq(frame_decode((const uint8_t *)"\xff\xff\xff\xfe", 4, &(uint64_t){ 0 }),
		     -EPROTO);
}

static const size_t sizes[] = { 0,
				1,
				3,
				4091,
				4092,
				4093,
				65531,
				65532,
				65533,
				65536,
				70000,
				1 << 20,
				(1 << 20) + 65537,
				8 << 20 };
enum { N_SIZES = sizeof(sizes) / sizeof(*sizes) };

static void send_all_sizes(struct mps_connection *c, int64_t timeout)
{
	for (size_t i = 0; i < N_SIZES; i++) {
		char *p = pattern(sizes[i]);

		if (mps_send(c, p, sizes[i], timeout) != 0)
			_exit(1);
		free(p);
	}
}

static void receive_all_sizes(struct mps_connection *c, bool into, int64_t timeout)
{
	char *buffer = malloc(9 << 20);

	for (size_t i = 0; i < N_SIZES; i++) {
		char *p = pattern(sizes[i]);
		const void *q = buffer;
		size_t n = 0;
		int r;

		do {
			r = into ? mps_recv_into(c, buffer, 9 << 20, &n, timeout)
				 : mps_recv(c, &q, &n, timeout);
		} while (r == -ETIMEDOUT);
		cr_assert_eq(r, 0, "%zu: %s", sizes[i], strerror(-r));
		cr_assert_eq(n, sizes[i]);
		cr_assert(n == 0 || memcmp(p, q, n) == 0, "%zu", sizes[i]);
		free(p);
	}
	free(buffer);
}

static void all_sizes(bool duplex, int64_t send_timeout, int64_t timeout)
{
	for (int into = 0; into < 2; into++) {
		struct mps_connection *a, *b;
		const void *p;
		size_t n;
		pid_t pid;

		cr_assert_eq(mps_pipe(duplex, &a, &b), 0);
		pid = scene_fork();
		if (pid == 0) {
			mps_connection_close(a);
			send_all_sizes(b, send_timeout);
			_exit(0);
		}
		mps_connection_close(b);
		receive_all_sizes(a, into, timeout);
		cr_assert_eq(mps_recv(a, &p, &n, LIMIT), -ENODATA);
		cr_assert_eq(mps_recv(a, &p, &n, LIMIT), -ENODATA);
		cr_assert_eq(scene_end(pid), 0);
		mps_connection_close(a);
	}
}

Test(connection, messages_of_any_size_go_through_a_pipe)
{
	all_sizes(false, MPS_FOREVER, MPS_FOREVER);
}

Test(connection, messages_of_any_size_go_through_a_socket)
{
	all_sizes(true, MPS_FOREVER, MPS_FOREVER);
}

Test(connection, messages_of_any_size_go_in_a_limited_time)
{
	all_sizes(false, LIMIT, LIMIT);
	all_sizes(true, LIMIT, LIMIT);
}

/* Each try receives what there is, and nothing of it is lost. */
Test(connection, what_has_come_when_the_time_is_over_is_kept)
{
	all_sizes(false, LIMIT, 1000);
	all_sizes(true, LIMIT, 1000);
}

Test(connection, messages_of_any_size_go_without_what_new_kernels_have)
{
	setenv("MPSUP_NO", "rwf", 1);
	all_sizes(false, MPS_FOREVER, MPS_FOREVER);
	all_sizes(false, LIMIT, 1000);
}

/* --------------------------------------------------------------------------------------------------------- ends */

Test(connection, ends_have_directions)
{
	struct mps_connection *a, *b;
	const void *p;
	size_t n;

	cr_assert_eq(mps_pipe(false, &a, &b), 0);
	cr_assert_eq(mps_send(a, "x", 1, 0), -EBADF);
	cr_assert_eq(mps_recv(b, &p, &n, 0), -EBADF);
	cr_assert_eq(mps_connection_poll(b, 0), -EBADF);
	cr_assert_eq(mps_send_fd(b, 0, 0), -EOPNOTSUPP);
	cr_assert_eq(mps_recv_fd(a, &(int){ 0 }, 0), -EOPNOTSUPP);
	cr_assert(fcntl(mps_connection_fileno(a), F_GETFD) & FD_CLOEXEC);
	cr_assert(fcntl(mps_connection_fileno(b), F_GETFD) & FD_CLOEXEC);
	mps_connection_close(a);
	mps_connection_close(b);
	mps_connection_close(NULL);
}

Test(connection, only_pipes_and_stream_sockets_are_taken)
{
	struct mps_connection *c;
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	int datagrams = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	cr_assert_eq(mps_connection_open(null, &c), -EINVAL);
	cr_assert_eq(mps_connection_open(datagrams, &c), -EINVAL);
	cr_assert_eq(mps_connection_open(-1, &c), -EBADF);
	cr_assert_eq(close(null), 0);
	cr_assert_eq(close(datagrams), 0);
}

static void nobody_receives(bool duplex)
{
	struct mps_connection *a, *b;

	signal(SIGPIPE, SIG_DFL); /* would end the test */
	cr_assert_eq(mps_pipe(duplex, &a, &b), 0);
	mps_connection_close(a);
	cr_assert_eq(mps_send(b, "x", 1, MPS_FOREVER), -EPIPE);
	cr_assert_eq(mps_send(b, "x", 1, 0), -EPIPE);
	mps_connection_close(b);
}

Test(connection, who_sends_to_nobody_is_told_so_without_a_signal)
{
	nobody_receives(false);
	nobody_receives(true);
	setenv("MPSUP_NO", "rwf", 1);
	nobody_receives(false);
}

Test(connection, a_pending_sigpipe_of_others_stays)
{
	sigset_t s, pending;

	sigemptyset(&s);
	sigaddset(&s, SIGPIPE);
	sigprocmask(SIG_BLOCK, &s, NULL);
	setenv("MPSUP_NO", "rwf", 1);
	nobody_receives(false);
	sigpending(&pending);
	cr_assert_not(sigismember(&pending, SIGPIPE));
	raise(SIGPIPE);
	nobody_receives(false);
	sigpending(&pending);
	cr_assert(sigismember(&pending, SIGPIPE));
	signal(SIGPIPE, SIG_IGN);
}

static void half_message(bool duplex, size_t n, size_t sent)
{
	struct mps_connection *a, *b;
	uint8_t header[FRAME_HEADER_MAX];
	char *text = pattern(n);
	const void *p;
	size_t size = frame_encode(header, n);
	int fd;

	cr_assert_eq(mps_pipe(duplex, &a, &b), 0);
	cr_assert_eq(mps_send(b, "whole", 5, 0), 0);
	fd = connection_take_fd(b);
	cr_assert_eq(fd_write_all(fd, header, sent < size ? sent : size), 0);
	if (sent > size)
		cr_assert_eq(fd_write_all(fd, text, sent - size), 0);
	got(a, "whole");
	cr_assert_eq(mps_recv(a, &p, &n, 0), -ETIMEDOUT);
	cr_assert_eq(mps_connection_poll(a, 0), 0, "half a message is none");
	close(fd);
	cr_assert_eq(mps_connection_poll(a, LIMIT), 1);
	cr_assert_eq(mps_recv(a, &p, &n, LIMIT), -EPROTO);
	cr_assert_eq(mps_recv(a, &p, &n, LIMIT), -EPROTO);
	mps_connection_close(a);
	free(text);
}

Test(connection, who_dies_within_a_message_does_not_hold_up_the_receiver)
{
	for (int duplex = 0; duplex < 2; duplex++) {
		half_message(duplex, 10, 2);
		half_message(duplex, 10, 4);
		half_message(duplex, 10, 13);
		half_message(duplex, 1 << 20, 5);
		half_message(duplex, 1 << 20, 50000);
	}
}

static void no_length(const char *bytes, size_t size, int error)
{
	struct mps_connection *a, *b;
	const void *p;
	size_t n;

	cr_assert_eq(mps_pipe(false, &a, &b), 0);
	mps_connection_set_limit(a, 100);
	cr_assert_eq(fd_write_all(mps_connection_fileno(b), bytes, size), 0);
	cr_assert_eq(mps_connection_poll(a, 0), 1);
	cr_assert_eq(mps_recv(a, &p, &n, 0), error);
	cr_assert_eq(mps_recv(a, &p, &n, 0), error);
	mps_connection_close(a);
	mps_connection_close(b);
}

Test(connection, what_is_no_message_or_too_long_is_an_error)
{
	no_length("\x80\0\0\0", 4, -EPROTO);
	no_length("\0\0\0\x65", 4, -EMSGSIZE);
	no_length("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 12, -EMSGSIZE);
}

Test(connection, the_long_form_of_a_length_is_read)
{
	struct mps_connection *a, *b;
	const char bytes[] = "\xff\xff\xff\xff\0\0\0\0\0\0\0\5hello";

	cr_assert_eq(mps_pipe(false, &a, &b), 0);
	for (size_t i = 0; i < sizeof(bytes) - 1; i++) {
		cr_assert_eq(mps_connection_poll(a, 0), 0);
		cr_assert_eq(fd_write_all(mps_connection_fileno(b), bytes + i, 1), 0);
	}
	got(a, "hello");
	mps_connection_close(a);
	mps_connection_close(b);
}

Test(connection, a_message_longer_than_the_limit_is_not_sent)
{
	struct mps_connection *a, *b;

	cr_assert_eq(mps_pipe(false, &a, &b), 0);
	mps_connection_set_limit(b, 2);
	cr_assert_eq(mps_send(b, "abc", 3, 0), -EMSGSIZE);
	cr_assert_eq(mps_send(b, "ab", 2, 0), 0);
	got(a, "ab");
	mps_connection_close(a);
	mps_connection_close(b);
}

/* Of one byte each, so that a piece of another one is seen. */
static void send_letters(struct mps_connection *c, char letter, int count)
{
	char *p = malloc(100000);

	memset(p, letter, 100000);
	for (int i = 0; i < count; i++)
		if (mps_send(c, p, (size_t)(1 + i * 7919 % 100000), MPS_FOREVER) != 0)
			_exit(1);
	_exit(0);
}

static void two_senders(bool duplex)
{
	struct mps_connection *a, *b;
	pid_t pids[2];
	const char *p;
	size_t n, count = 0;
	int r;

	cr_assert_eq(mps_pipe(duplex, &a, &b), 0);
	for (int i = 0; i < 2; i++) {
		pids[i] = scene_fork();
		if (pids[i] == 0)
			send_letters(b, (char)('a' + i), 200);
	}
	mps_connection_close(b);
	while ((r = mps_recv(a, (const void **)&p, &n, LIMIT)) == 0) {
		for (size_t i = 1; i < n; i++)
			cr_assert_eq(p[i], p[0]);
		count++;
	}
	cr_assert_eq(r, -ENODATA);
	cr_assert_eq(count, 400);
	for (int i = 0; i < 2; i++)
		cr_assert_eq(scene_end(pids[i]), 0);
	mps_connection_close(a);
}

Test(connection, two_processes_may_send_over_one_end)
{
	two_senders(false);
	two_senders(true);
}

Test(connection, half_a_message_of_another_sender_ends_the_sending)
{
	struct mps_connection *a, *b;
	char *p = pattern(4 << 20);
	const void *q;
	size_t n;
	pid_t pid;

	cr_assert_eq(mps_pipe(true, &a, &b), 0);
	pid = scene_fork();
	if (pid == 0)
		_exit(mps_send(b, p, 4 << 20, MPS_FOREVER) != 0);
	cr_assert_eq(stream_wait(mps_connection_fileno(a), POLLIN, (struct mps_time){ INT64_MAX }),
		     0);
	kill(pid, SIGKILL);
	cr_assert_eq(scene_end(pid), -SIGKILL);
	cr_assert_eq(mps_send(b, "x", 1, LIMIT), -EPIPE);
	cr_assert_eq(mps_send(b, "x", 1, LIMIT), -EPIPE);
	cr_assert_eq(mps_recv(a, &q, &n, LIMIT), -EPROTO, "although this end is still open");
	mps_connection_close(a);
	mps_connection_close(b);
	free(p);
}

/* --------------------------------------------------------------------------------------------------------- time */

static void full(bool duplex)
{
	struct mps_connection *a, *b;
	char *p = pattern(1000);
	const void *q;
	size_t n, sent = 0;
	int r;

	cr_assert_eq(mps_pipe(duplex, &a, &b), 0);
	while ((r = mps_send(b, p, 1000, 0)) == 0)
		sent++;
	cr_assert_eq(r, -ETIMEDOUT);
	cr_assert_gt(sent, 10);
	for (size_t i = 0; i < sent; i++) {
		cr_assert_eq(mps_recv(a, &q, &n, LIMIT), 0);
		cr_assert_eq(n, 1000);
		cr_assert_eq(memcmp(p, q, n), 0);
	}
	cr_assert_eq(mps_connection_poll(a, 0), 0);
	mps_connection_close(a);
	mps_connection_close(b);
	free(p);
}

Test(connection, a_try_does_not_wait_for_room)
{
	full(false);
	full(true);
	setenv("MPSUP_NO", "rwf", 1);
	full(false);
}

static void cut(bool duplex)
{
	struct mps_connection *a, *b;
	char *p = pattern(4 << 20);
	const void *q;
	size_t n;

	cr_assert_eq(mps_pipe(duplex, &a, &b), 0);
	cr_assert_eq(mps_send(b, p, 4 << 20, 1000), -ETIMEDOUT);
	cr_assert_eq(mps_send(b, "x", 1, MPS_FOREVER), -EPIPE);
	cr_assert_eq(mps_recv(a, &q, &n, LIMIT), -EPROTO);
	mps_connection_close(a);
	mps_connection_close(b);
	free(p);
}

Test(connection, after_half_a_message_nothing_is_sent)
{
	cut(false);
	cut(true);
}

Test(connection, a_shared_file_is_not_made_non_blocking)
{
	struct mps_connection *a, *b;
	const void *p;
	size_t n;

	cr_assert_eq(mps_pipe(true, &a, &b), 0);
	cr_assert_eq(mps_recv(a, &p, &n, 1000), -ETIMEDOUT);
	cr_assert_eq(mps_send(b, "x", 1, 1000), 0);
	cr_assert_not(fcntl(mps_connection_fileno(a), F_GETFL) & O_NONBLOCK);
	cr_assert_not(fcntl(mps_connection_fileno(b), F_GETFL) & O_NONBLOCK);
	mps_connection_close(a);
	mps_connection_close(b);
}

static void non_blocking(bool duplex)
{
	struct mps_connection *a, *b;
	pid_t pid;

	cr_assert_eq(mps_pipe(duplex, &a, &b), 0);
	cr_assert_eq(fd_set_nonblock(mps_connection_fileno(a), true), 0);
	cr_assert_eq(fd_set_nonblock(mps_connection_fileno(b), true), 0);
	pid = scene_fork();
	if (pid == 0) {
		mps_connection_close(a);
		send_all_sizes(b, MPS_FOREVER);
		_exit(0);
	}
	receive_all_sizes(a, false, MPS_FOREVER);
	cr_assert_eq(scene_end(pid), 0);
	mps_connection_close(a);
	mps_connection_close(b);
}

Test(connection, who_makes_it_non_blocking_does_no_harm)
{
	non_blocking(false);
	non_blocking(true);
}
