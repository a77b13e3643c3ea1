/*
 * What a receiving end has read ahead, descriptors between messages, and waiting for several at once.
 */
#include <endian.h>
#include <fcntl.h>

#include "../connection_scene.h"
#include "../count_fds.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/fd.h"
#include "ipc/connection.h"
#include "ipc/stream.h"

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
	pid = scene_fork();
	if (pid == 0)
		_exit(mps_send(b, long_one, 100000, LIMIT) != 0);
	cr_assert_eq(mps_recv_into(a, small, sizeof(small), &n, LIMIT), -ENOBUFS);
	cr_assert_eq(n, 100000);
	cr_assert_eq(mps_recv_into(a, room, 100000, &n, LIMIT), 0);
	cr_assert_eq(memcmp(room, long_one, n), 0);
	cr_assert_eq(scene_end(pid), 0);
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

Test(connection, a_descriptor_that_has_come_is_not_handed_on)
{
	struct mps_connection *a, *b;
	struct buf unread = BUF_INIT;
	int fd;

	cr_assert_eq(mps_pipe(true, &a, &b), 0);
	cr_assert_eq(mps_send_fd(b, STDIN_FILENO, 0), 0);
	cr_assert_eq(mps_connection_poll(a, LIMIT), 1);
	cr_assert_eq(mps_recv(a, &(const void *){ NULL }, &(size_t){ 0 }, 0), -EBADMSG);
	cr_expect_eq(connection_unread(a, &unread), -EBUSY);
	cr_assert_eq(mps_recv_fd(a, &fd, 0), 0);
	cr_expect_eq(connection_unread(a, &unread), 0);
	close(fd);
	mps_connection_close(a);
	mps_connection_close(b);
	buf_fini(&unread);
}

Test(connection, what_nobody_hands_on_is_refused)
{
	static const uint32_t lengths[] = { UINT32_MAX - 1 /* there is none */,
					    1 /* and much more */ };
	enum { N = 100000 };

	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
		uint8_t *p = calloc(1, N);
		struct mps_connection *c;
		int ends[2];

		cr_assert_not_null(p);
		memcpy(p, &(uint32_t){ htobe32(lengths[i]) }, sizeof(lengths[i]));
		cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
		cr_expect_eq(connection_reopen(ends[0], p, N, &c), -EINVAL, "row %zu", i);
		cr_expect_eq(close(ends[0]), 0, "it is ours still");
		close(ends[1]);
		free(p);
	}
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

Test(connection, descriptors_that_nobody_wants_are_closed)
{
	struct mps_connection *a, *b;
	int sock, fd;
	unsigned before;

	cr_assert_eq(mps_pipe(true, &a, &b), 0);
	sock = mps_connection_fileno(b);
	before = count_fds(getpid());
	cr_assert_eq(send_with_fds(sock, "\0\0\0\2hi", 6, 0, 3), 0);
	cr_assert_eq(mps_recv_fd(a, &fd, 0), -EBADMSG);
	got(a, "hi");
	cr_assert_eq(count_fds(getpid()), before);
	cr_assert_eq(send_with_fds(sock, "\2", 1, 0, 2), 0);
	cr_assert_lt(mps_recv_fd(a, &fd, 0), 0);
	cr_assert_eq(count_fds(getpid()), before);
	cr_assert_eq(send_with_fds(sock, "\7", 1, 0, 1), 0);
	cr_assert_eq(mps_recv_fd(a, &fd, 0), -EBADMSG);
	cr_assert_eq(count_fds(getpid()), before);
	cr_assert_eq(send_with_fds(sock, "\0\0\0\1", 4, 0, 8), 0);
	cr_assert_eq(mps_connection_poll(a, 0), 0);
	mps_connection_close(a);
	cr_assert_eq(count_fds(getpid()), before - 1);
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
	pid = scene_fork();
	if (pid == 0)
		_exit(fd_write_all(mps_connection_fileno(b), "llo", 3) != 0);
	cr_assert_eq(mps_wait(&w, 1, LIMIT), 1);
	got(a, "hello");
	cr_assert_eq(scene_end(pid), 0);
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
	pid = scene_fork();
	if (pid == 0) {
		execl("/bin/sleep", "sleep", "100", NULL);
		_exit(1);
	}
	mps_connection_close(b);
	cr_assert_eq(mps_recv(a, &p, &n, LIMIT), -ENODATA);
	kill(pid, SIGKILL);
	cr_assert_eq(scene_end(pid), -SIGKILL);
	mps_connection_close(a);
}

/* A process in the middle of a long message to a. */
static pid_t begin_message(struct mps_connection *a, struct mps_connection *b, const char *p)
{
	pid_t pid = scene_fork();

	if (pid == 0)
		_exit(mps_send(b, p, 4 << 20, MPS_FOREVER) != 0);
	cr_assert_eq(stream_wait(mps_connection_fileno(a), POLLIN, (struct mps_time){ INT64_MAX }),
		     0);
	return pid;
}

static void die_within(bool duplex, int (*wait)(struct mps_connection *a, char *p))
{
	char *p = pattern(4 << 20);
	struct mps_connection *a, *b;
	pid_t pid;

	cr_assert_eq(mps_pipe(duplex, &a, &b), 0);
	pid = begin_message(a, b, p);
	kill(pid, SIGKILL);
	cr_assert_eq(scene_end(pid), -SIGKILL);
	cr_assert_eq(wait(a, p), -EPROTO, "although this end is still open");
	cr_assert_eq(mps_connection_poll(a, 0), 1);
	mps_connection_close(b);
	mps_connection_close(a);
	free(p);
}

static int wait_receiving(struct mps_connection *a, char *p)
{
	const void *q;
	size_t n;

	(void)p;
	return mps_recv(a, &q, &n, MPS_FOREVER);
}

static int wait_receiving_into(struct mps_connection *a, char *p)
{
	size_t n;

	return mps_recv_into(a, p, 4 << 20, &n, MPS_FOREVER);
}

static int wait_waiting(struct mps_connection *a, char *p)
{
	struct mps_waitable w = { .connection = a };
	size_t n;

	cr_assert_eq(mps_wait(&w, 1, MPS_FOREVER), 1);
	return mps_recv_into(a, p, 4 << 20, &n, 0);
}

Test(connection, who_is_killed_within_a_message_is_missed_although_the_end_is_open)
{
	for (int duplex = 0; duplex < 2; duplex++) {
		die_within(duplex, wait_receiving);
		die_within(duplex, wait_receiving_into);
		die_within(duplex, wait_waiting);
	}
}

Test(connection, who_is_stopped_within_a_message_is_waited_for)
{
	char *p = pattern(4 << 20);
	struct mps_connection *a, *b;
	const void *q;
	size_t n;
	pid_t pid;
	int status;

	cr_assert_eq(mps_pipe(true, &a, &b), 0);
	pid = begin_message(a, b, p);
	kill(pid, SIGSTOP);
	cr_assert_eq(waitpid(pid, &status, WUNTRACED), pid);
	cr_assert_eq(mps_recv(a, &q, &n, 3 * CONNECTION_LOOK_NS), -ETIMEDOUT);
	kill(pid, SIGCONT);
	cr_assert_eq(mps_recv(a, &q, &n, MPS_FOREVER), 0);
	cr_assert_eq(n, 4 << 20);
	cr_assert_eq(memcmp(p, q, n), 0);
	cr_assert_eq(scene_end(pid), 0);
	mps_connection_close(a);
	mps_connection_close(b);
	free(p);
}
