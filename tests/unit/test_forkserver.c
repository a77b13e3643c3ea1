/*
 * A forkserver as its starter sees it: what it is asked for becomes a child of the starter, what is no request ends it.
 */
#include "proc/forkserver.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../keeper_peer.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/fd.h"
#include "base/limits.h"
#include "proc/close.h"
#include "proc/spawn.h"

struct scene {
	pid_t pid;
	int sock;
};

static void open_scene(struct scene *s, char **argv)
{
	int ends[2];

	/* In place of .timeout: of two such tests at a time Criterion leaks one's. */
	alarm(60);
	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
	s->pid = fork();
	if (s->pid == 0) {
		if (ends[1] == FORKSERVER_FD)
			fd_set_cloexec(ends[1], false);
		else
			dup2(ends[1], FORKSERVER_FD);
		cloexec_from(FORKSERVER_FD + 1);
		execl(peer_host(), "mpsup-host", "forkserver", argv[0], argv[1], NULL);
		_exit(98);
	}
	close(ends[1]);
	s->sock = ends[0];
}

static void hear(const struct scene *s, struct forkserver_word *word)
{
	cr_assert_eq(recv(s->sock, word, sizeof(*word), 0), sizeof(*word));
}

/* Its exit status; a signal counts 128 and more. */
static int end(struct scene *s)
{
	int status = 0;

	close(s->sock);
	cr_assert_eq(waitpid(s->pid, &status, 0), s->pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static char *name[] = { (char *)"one", NULL };

/* Asks for s; the read end of its pipe. */
static int ask_with(const struct scene *scene, const struct mps_spawn *s, bool is_long, int along)
{
	struct forkserver_request head = { .is_long = is_long };
	AUTO_BUF b = BUF_INIT;
	AUTO_BUF spawn = BUF_INIT;
	struct iovec iov;
	int ends[2], fds[3], memfd = -1;
	size_t n = 0;

	cr_assert_eq(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
	mps_spawn_encode(s, &spawn);
	forkserver_encode(&head, &b);
	if (!is_long)
		buf_add(&b, spawn.p, spawn.len);
	else
		memfd = mps_seal(spawn.p, spawn.len);
	iov = (struct iovec){ b.p, b.len };
	fds[n++] = ends[1];
	if (along >= 0)
		fds[n++] = along;
	if (is_long)
		fds[n++] = memfd;
	cr_assert_eq(fd_send(scene->sock, &iov, 1, fds, n), 0);
	close(ends[1]);
	fd_close(&memfd);
	return ends[0];
}

static int ask(const struct scene *scene, const struct mps_spawn *s, bool is_long)
{
	return ask_with(scene, s, is_long, -1);
}

/* What the pipe says next, waiting for it. */
static int result(int fd, struct mps_failure *ret)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	cr_assert_gt(poll(&p, 1, 10000), 0);
	return mps_spawn_result(fd, ret);
}

static char *exit7[] = { NULL, NULL, NULL, NULL, NULL, (char *)"sh", (char *)"-c", (char *)"exit 7",
			 NULL };
static char *no_env[] = { NULL };

static struct mps_spawn shell(void)
{
	return (struct mps_spawn){
		.path = "/bin/sh",
		.argv = exit7 + MPS_ENTRY_ROOM,
		.envp = no_env,
		.umask = -1,
		.method = MPS_METHOD_FORKSERVER,
		.server = "one",
	};
}

Test(forkserver, what_it_forks_is_our_child)
{
	struct mps_spawn s = shell();
	struct forkserver_word word;
	struct mps_failure f;
	struct scene scene;

	open_scene(&scene, name);
	hear(&scene, &word);
	cr_expect_eq(word.failed, 0);
	for (int i = 0; i < 2; i++) {
		int fd = ask(&scene, &s, i == 1), status = 0;

		cr_assert_eq(result(fd, &f), 2);
		cr_assert_eq(result(fd, &(struct mps_failure){ 0 }), 1);
		cr_assert_eq(waitpid(f.error, &status, 0), f.error);
		cr_expect(WIFEXITED(status) && WEXITSTATUS(status) == 7);
		close(fd);
	}
	cr_expect_eq(end(&scene), 0);
}

Test(forkserver, a_child_says_why_it_cannot_go_on)
{
	struct mps_spawn s = shell();
	struct forkserver_word word;
	struct mps_failure f;
	struct scene scene;
	int fd;

	s.path = "/no/such/object.so";
	s.symbol = "main";
	open_scene(&scene, name);
	hear(&scene, &word);
	fd = ask(&scene, &s, false);
	cr_assert_eq(result(fd, &f), 2);
	cr_assert_eq(waitpid(f.error, NULL, 0), f.error);
	cr_assert_eq(result(fd, &f), -1);
	cr_expect_eq(f.step, MPS_STEP_ENTRY);
	cr_expect_str_eq(f.text, "cannot open shared object file: No such file or directory");
	close(fd);
	cr_expect_eq(end(&scene), 0);
}

/* Who has no room for a pipe can make no copy, and says so to whoever asks; with room again the next start is made. */
Test(forkserver, without_a_spare_it_says_why)
{
	/* few: standard streams, socket, the pipe of a spare that may be there already */
	struct rlimit few, old;
	struct mps_spawn s = shell();
	struct forkserver_word word;
	struct mps_failure f = { 0 };
	struct scene scene;
	int r = 2, fd;

	open_scene(&scene, name);
	hear(&scene, &word);
	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &old), 0);
	few = (struct rlimit){ FORKSERVER_FD + 2, old.rlim_max };
	cr_assert_eq(prlimit(scene.pid, RLIMIT_NOFILE, &few, NULL), 0);
	for (int i = 0; i < 3 && r > 0; i++) {
		fd = ask(&scene, &s, false);
		r = result(fd, &f);
		if (r == 2)
			cr_assert_eq(waitpid(f.error, NULL, 0), f.error);
		close(fd);
	}
	cr_expect_eq(r, -1);
	cr_expect_eq(f.step, MPS_STEP_FORK);
	cr_expect_eq(f.error, EMFILE);
	cr_assert_eq(prlimit(scene.pid, RLIMIT_NOFILE, &old, NULL), 0);
	fd = ask(&scene, &s, false);
	cr_assert_eq(result(fd, &f), 2);
	cr_assert_eq(waitpid(f.error, NULL, 0), f.error);
	close(fd);
	cr_expect_eq(end(&scene), 0);
}

Test(forkserver, what_cannot_be_loaded_is_told_and_ends_it)
{
	char *argv[] = { (char *)"one", (char *)"/no/such/object.so", NULL };
	struct forkserver_word word;
	struct scene scene;

	open_scene(&scene, argv);
	hear(&scene, &word);
	cr_expect_eq(word.failed, 1);
	cr_expect_str_eq(word.text,
			 "preload /no/such/object.so: cannot open shared object file: No "
			 "such file or directory");
	cr_expect_eq(end(&scene), 1);
}

/* Each of these ends the server and nothing else; a pipe that came along just ends. */
Test(forkserver, garbage_ends_it)
{
	for (int row = 0; row < 6; row++) {
		struct mps_spawn s = shell();
		struct forkserver_word word;
		struct mps_failure f;
		struct scene scene;
		struct mps_fd role = { 0, MPS_FD_NULL, MPS_FD_ROLE }, missing = { 0, 0, 0 };
		struct mps_fd reopen = { 0, 0, MPS_FD_REOPEN };
		char bytes[300];
		int fd = -1;

		open_scene(&scene, name);
		hear(&scene, &word);
		memset(bytes, 0xee, sizeof(bytes));
		if (row == 0)
			cr_assert_eq(send(scene.sock, bytes, sizeof(bytes), 0), sizeof(bytes));
		if (row == 1)
			cr_assert_eq(send(scene.sock, "", 1, 0), 1);
		if (row == 2) { /* no pipe */
			memset(bytes, 0, sizeof(bytes));
			cr_assert_eq(send(scene.sock, bytes, sizeof(bytes), 0), sizeof(bytes));
		}
		s.n_fds = 1;
		if (row == 3) { /* a descriptor that has not come along */
			s.fds = &missing;
			fd = ask(&scene, &s, false);
		}
		if (row == 4) { /* the starter's own are no matter of this one's */
			s.fds = &role;
			fd = ask(&scene, &s, true);
		}
		if (row == 5) { /* a number that is another's when the child looks */
			s.fds = &reopen;
			fd = ask_with(&scene, &s, false, STDIN_FILENO);
		}
		if (fd >= 0)
			cr_expect_eq(result(fd, &f), 1, "row %d", row);
		cr_expect_eq(recv(scene.sock, bytes, sizeof(bytes), 0), 0, "row %d", row);
		cr_expect_eq(end(&scene), 2, "row %d", row);
		fd_close(&fd);
	}
}

Test(forkserver, a_request_comes_back_and_a_cut_one_does_not)
{
	const struct forkserver_request sent = { .tag = UINT64_C(1) << 60, .mark = 7 };
	struct forkserver_request r;
	AUTO_BUF b = BUF_INIT;

	forkserver_encode(&sent, &b);
	cr_expect_eq(forkserver_decode(b.p, b.len, &r), -EBADMSG); /* no spawn */
	for (size_t n = 0; n < b.len; n++)
		cr_expect_eq(forkserver_decode(b.p, n, &r), -EBADMSG);
	buf_adds(&b, "spawn");
	cr_assert_eq(forkserver_decode(b.p, b.len, &r), 0);
	cr_expect(r.tag == sent.tag && !r.is_long && r.rest_size == 5);
}
