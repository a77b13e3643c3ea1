/*
 * Messages over pipes and sockets: frames, time limits, ends, what is read ahead, descriptors.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "ipc/connection.h"

#define LIMIT (30 * MPS_SECOND)

static char *pattern(size_t n)
{
	char *p = malloc(n + 1);

	cr_assert_not_null(p);
	for (size_t i = 0; i < n; i++)
		p[i] = (char)(i * 7 + i / 251);
	return p;
}

static pid_t child(void)
{
	pid_t pid = fork();

	cr_assert_geq(pid, 0);
	if (pid == 0)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	return pid;
}

static int status_of(pid_t pid)
{
	int status;

	cr_assert_eq(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static struct mps_connection *opened(int fd)
{
	struct mps_connection *c;

	cr_assert_eq(mps_connection_open(fd, &c), 0);
	return c;
}

static void got(struct mps_connection *c, const char *text)
{
	const void *p;
	size_t n;

	cr_assert_eq(mps_recv(c, &p, &n, LIMIT), 0);
	cr_assert_eq(n, strlen(text));
	cr_assert_arr_eq(p, text, n);
}

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
		pid = child();
		if (pid == 0) {
			mps_connection_close(a);
			send_all_sizes(b, send_timeout);
			_exit(0);
		}
		mps_connection_close(b);
		receive_all_sizes(a, into, timeout);
		cr_assert_eq(mps_recv(a, &p, &n, LIMIT), -ENODATA);
		cr_assert_eq(mps_recv(a, &p, &n, LIMIT), -ENODATA);
		cr_assert_eq(status_of(pid), 0);
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
		pids[i] = child();
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
		cr_assert_eq(status_of(pids[i]), 0);
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
	pid = child();
	if (pid == 0)
		_exit(mps_send(b, p, 4 << 20, MPS_FOREVER) != 0);
	cr_assert_eq(stream_wait(mps_connection_fileno(a), POLLIN, (struct mps_time){ INT64_MAX }),
		     0);
	kill(pid, SIGKILL);
	cr_assert_eq(status_of(pid), -SIGKILL);
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
	if (!duplex)
		mps_connection_close(b);
	cr_assert_eq(mps_recv(a, &q, &n, LIMIT), -EPROTO);
	mps_connection_close(a);
	if (duplex)
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
	pid = child();
	if (pid == 0) {
		mps_connection_close(a);
		send_all_sizes(b, MPS_FOREVER);
		_exit(0);
	}
	receive_all_sizes(a, false, MPS_FOREVER);
	cr_assert_eq(status_of(pid), 0);
	mps_connection_close(a);
	mps_connection_close(b);
}

Test(connection, who_makes_it_non_blocking_does_no_harm)
{
	non_blocking(false);
	non_blocking(true);
}

/* ------------------------------------------------------------------------------------------------ reading ahead */

Test(connection, a_buffer_that_is_too_small_leaves_the_message)
{
	struct mps_connection *a, *b;
	char small[4], *long_one = pattern(100000), *room = malloc(100000);
	size_t n;
	pid_t pid;

	cr_assert_eq(mps_pipe(true, &a, &b), 0);
	cr_assert_eq(mps_send(b, "hello", 5, 0), 0);
	for (int i = 0; i < 3; i++) {
		cr_assert_eq(mps_recv_into(a, small, sizeof(small), &n, 0), -ENOBUFS);
		cr_assert_eq(n, 5);
	}
	got(a, "hello");
	pid = child();
	if (pid == 0)
		_exit(mps_send(b, long_one, 100000, LIMIT) != 0);
	cr_assert_eq(mps_recv_into(a, small, sizeof(small), &n, LIMIT), -ENOBUFS);
	cr_assert_eq(n, 100000);
	cr_assert_eq(mps_recv_into(a, room, 100000, &n, LIMIT), 0);
	cr_assert_eq(memcmp(room, long_one, n), 0);
	cr_assert_eq(status_of(pid), 0);
	mps_connection_close(a);
	mps_connection_close(b);
	free(long_one);
	free(room);
}

static struct mps_connection *handed_on(struct mps_connection *c)
{
	struct mps_connection *again = NULL;
	struct buf unread = BUF_INIT;

	cr_assert_eq(connection_unread(c, &unread), 0);
	cr_assert_eq(connection_reopen(connection_take_fd(c), unread.p, unread.len, &again), 0);
	buf_fini(&unread);
	return again;
}

/* `sent` bytes of a message of n come before, the others afterwards. */
static void hand_on(size_t n, size_t sent)
{
	struct mps_connection *a, *b;
	uint8_t header[FRAME_HEADER_MAX];
	char *text = pattern(n);
	const void *p;
	int fd;

	cr_assert_eq(mps_pipe(true, &a, &b), 0);
	fd = mps_connection_fileno(b);
	cr_assert_eq(mps_send(b, "one", 3, 0), 0);
	cr_assert_eq(mps_send(b, "two", 3, 0), 0);
	cr_assert_eq(fd_write_all(fd, header, frame_encode(header, n)), 0);
	cr_assert_eq(fd_write_all(fd, text, sent), 0);
	got(a, "one");
	a = handed_on(a);
	got(a, "two");
	if (sent < n)
		cr_assert_eq(mps_recv(a, &p, &n, 0), -ETIMEDOUT);
	a = handed_on(a);
	cr_assert_eq(fd_write_all(fd, text + sent, n - sent), 0);
	cr_assert_eq(mps_send(b, "three", 5, 0), 0);
	cr_assert_eq(mps_connection_poll(a, 0), 1);
	a = handed_on(a);
	cr_assert_eq(mps_recv(a, &p, &n, 0), 0);
	cr_assert_eq(memcmp(p, text, n), 0);
	got(a, "three");
	mps_connection_close(a);
	mps_connection_close(b);
	free(text);
}

Test(connection, what_was_read_ahead_goes_with_who_hands_it_on)
{
	hand_on(1, 0);
	hand_on(30000, 30000);
	hand_on(30000, 10000);
	hand_on(150000, 0);
	hand_on(150000, 1000);
	hand_on(150000, 100000);
	hand_on(150000, 150000);
}

/* -------------------------------------------------------------------------------------------------- descriptors */

Test(connection, a_descriptor_goes_between_messages_that_are_read_ahead)
{
	struct mps_connection *a, *b;
	const void *p;
	size_t n;
	int ends[2], fd;
	char c;

	cr_assert_eq(mps_pipe(true, &a, &b), 0);
	cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
	for (int i = 0; i < 3; i++) {
		cr_assert_eq(mps_send(b, "before", 6, 0), 0);
		cr_assert_eq(mps_send_fd(b, ends[0], 0), 0);
		cr_assert_eq(mps_send(b, "after", 5, 0), 0);
	}
	for (int i = 0; i < 3; i++) {
		cr_assert_eq(mps_recv_fd(a, &fd, LIMIT), -EBADMSG);
		got(a, "before");
		cr_assert_eq(mps_recv(a, &p, &n, LIMIT), -EBADMSG);
		cr_assert_eq(mps_connection_poll(a, 0), 1);
		cr_assert_eq(mps_recv_fd(a, &fd, LIMIT), 0);
		cr_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
		cr_assert_eq(fd_write_all(ends[1], "!", 1), 0);
		cr_assert_eq(read(fd, &c, 1), 1);
		close(fd);
		got(a, "after");
	}
	cr_assert_eq(mps_recv_fd(a, &fd, 0), -ETIMEDOUT);
	mps_connection_close(b);
	cr_assert_eq(mps_recv_fd(a, &fd, 0), -ENODATA);
	mps_connection_close(a);
	close(ends[0]);
	close(ends[1]);
}

static int send_with_fds(int sock, const char *p, size_t size, int fd, size_t n)
{
	int fds[8];

	for (size_t i = 0; i < n; i++)
		fds[i] = fd;
	return fd_send(sock, &(struct iovec){ (void *)p, size }, 1, fds, n);
}

static size_t n_open(void)
{
	size_t n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

Test(connection, descriptors_that_nobody_wants_are_closed)
{
	struct mps_connection *a, *b;
	int sock, fd;
	size_t before;

	cr_assert_eq(mps_pipe(true, &a, &b), 0);
	sock = mps_connection_fileno(b);
	before = n_open();
	cr_assert_eq(send_with_fds(sock, "\0\0\0\2hi", 6, 0, 3), 0);
	cr_assert_eq(mps_recv_fd(a, &fd, 0), -EBADMSG);
	got(a, "hi");
	cr_assert_eq(n_open(), before);
	cr_assert_eq(send_with_fds(sock, "\2", 1, 0, 2), 0);
	cr_assert_lt(mps_recv_fd(a, &fd, 0), 0);
	cr_assert_eq(n_open(), before);
	cr_assert_eq(send_with_fds(sock, "\7", 1, 0, 1), 0);
	cr_assert_eq(mps_recv_fd(a, &fd, 0), -EBADMSG);
	cr_assert_eq(n_open(), before);
	cr_assert_eq(send_with_fds(sock, "\0\0\0\1", 4, 0, 8), 0);
	cr_assert_eq(mps_connection_poll(a, 0), 0);
	mps_connection_close(a);
	cr_assert_eq(n_open(), before - 1);
	mps_connection_close(b);
}

/* ---------------------------------------------------------------------------------------------------- mps_wait() */

Test(connection, wait_tells_all_that_are_ready)
{
	struct mps_connection *a, *b, *c, *d;
	struct mps_waitable list[3];
	int ends[2];

	cr_assert_eq(mps_pipe(false, &a, &b), 0);
	cr_assert_eq(mps_pipe(true, &c, &d), 0);
	cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
	list[0] = (struct mps_waitable){ .connection = a };
	list[1] = (struct mps_waitable){ .fd = ends[0] };
	list[2] = (struct mps_waitable){ .connection = c };
	cr_assert_eq(mps_wait(list, 3, 0), 0);
	cr_assert_eq(mps_wait(list, 3, 1000), 0);
	cr_assert_eq(mps_send(b, "1", 1, 0), 0);
	cr_assert_eq(mps_send(b, "2", 1, 0), 0);
	cr_assert_eq(mps_wait(list, 3, LIMIT), 1);
	cr_assert(list[0].ready && !list[1].ready && !list[2].ready);
	got(a, "1");
	cr_assert_eq(mps_wait(list, 3, MPS_FOREVER), 1, "one that was read ahead is ready");
	cr_assert_eq(fd_write_all(ends[1], "x", 1), 0);
	cr_assert_eq(mps_wait(list, 3, LIMIT), 2);
	cr_assert(list[0].ready && list[1].ready && !list[2].ready);
	mps_connection_close(d);
	cr_assert_eq(mps_wait(list, 3, LIMIT), 3);
	got(a, "2");
	cr_assert_eq(mps_wait(list, 3, LIMIT), 2);
	cr_assert(!list[0].ready && list[1].ready && list[2].ready);
	list[1].fd = -1;
	cr_assert_eq(mps_wait(list, 3, LIMIT), -EBADF);
	cr_assert_eq(mps_wait(list, 0, 0), 0);
	mps_connection_close(a);
	mps_connection_close(b);
	mps_connection_close(c);
	close(ends[0]);
	close(ends[1]);
}

Test(connection, wait_waits_for_the_rest_of_a_message)
{
	struct mps_connection *a, *b;
	struct mps_waitable w;
	pid_t pid;

	cr_assert_eq(mps_pipe(false, &a, &b), 0);
	w = (struct mps_waitable){ .connection = a };
	cr_assert_eq(fd_write_all(mps_connection_fileno(b), "\0\0\0\5he", 6), 0);
	cr_assert_eq(mps_wait(&w, 1, 1000), 0);
	pid = child();
	if (pid == 0)
		_exit(fd_write_all(mps_connection_fileno(b), "llo", 3) != 0);
	cr_assert_eq(mps_wait(&w, 1, LIMIT), 1);
	got(a, "hello");
	cr_assert_eq(status_of(pid), 0);
	mps_connection_close(a);
	mps_connection_close(b);
}

Test(connection, wait_takes_many)
{
	enum { N = 100 };
	struct mps_connection *a[N], *b[N];
	struct mps_waitable list[N];

	for (int i = 0; i < N; i++) {
		cr_assert_eq(mps_pipe(false, &a[i], &b[i]), 0);
		list[i] = (struct mps_waitable){ .connection = a[i] };
	}
	for (int i = 0; i < N; i++) {
		cr_assert_eq(mps_send(b[i], "x", 1, 0), 0);
		cr_assert_eq(mps_wait(list, N, LIMIT), i + 1);
	}
	for (int i = 0; i < N; i++) {
		mps_connection_close(a[i]);
		mps_connection_close(b[i]);
	}
}

/* A copy of the sending end in a sibling does not keep the receiver from seeing the end: it is close-on-exec. */
Test(connection, the_end_is_seen_when_the_sender_has_gone)
{
	struct mps_connection *a, *b;
	const void *p;
	size_t n;
	pid_t pid;

	cr_assert_eq(mps_pipe(false, &a, &b), 0);
	pid = child();
	if (pid == 0) {
		execl("/bin/sleep", "sleep", "100", NULL);
		_exit(1);
	}
	mps_connection_close(b);
	cr_assert_eq(mps_recv(a, &p, &n, LIMIT), -ENODATA);
	kill(pid, SIGKILL);
	cr_assert_eq(status_of(pid), -SIGKILL);
	mps_connection_close(opened(connection_take_fd(a)));
}
