/*
 * The shim in programs that know nothing of it: what they tell a tracker, which is this test, and that they do what they
 * do without it. tests/preload/actor.c is the program.
 */
#include <criterion/criterion.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/fd.h"
#include "proc/elf.h"

enum { CLIENTS_MAX = 64 };

enum manner {
	READS,
	DEAF, /* takes connections, and reads nothing until the program has ended */
	LEAVES, /* is gone after the first word, comes back, and ends the program when it hears of it */
};

/* One run of a program, and what it was. */
struct play {
	const char *program,
		*scene; /* program: a path, or a name beside the actor; NULL: the actor */
	const char *preload, *tracker; /* what the variables are; NULL: the shim, this test */
	enum manner manner;
	unsigned max_fds; /* 0: as they are */
	pid_t pid;
	int status, in;
	struct buf words; /* pid's distance to the program's, a blank and the word, for each */
	char *told, *said, *complaints;
	unsigned n_connections;
	int clients[CLIENTS_MAX];
	enum { HERE, GONE, BACK } step; /* of a tracker that leaves */
	unsigned turns;
};

static char folder[32], address[64], name[32], shim[4200], dir[4096];

static void set_up(void)
{
	const char *b = getenv("B");

	cr_assert_not_null(realpath(b != NULL ? b : "build/gcc", dir));
	snprintf(shim, sizeof(shim), "%s/" ELF_SHIM, dir);
	strcpy(folder, "/tmp/mpsup-test.XXXXXX");
	cr_assert_not_null(mkdtemp(folder));
	cr_assert_eq(chmod(folder, 0755), 0);
	snprintf(address, sizeof(address), "%s/tracker", folder);
	snprintf(name, sizeof(name), "mpsup-test-%d", getpid());
}

static void tear_down(void)
{
	unlink(address);
	cr_expect_eq(rmdir(folder), 0);
}

TestSuite(preload, .init = set_up, .fini = tear_down, .timeout = 60);

/* --------------------------------------------------------------------------------------------------- tracker */

static int listen_here(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), one = 1;

	strcpy(a.sun_path, address);
	unlink(address);
	cr_assert_eq(setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &one, sizeof(one)), 0);
	cr_assert_eq(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0, "%s: %s", address,
		     strerror(errno));
	cr_assert_eq(chmod(address, 0666), 0);
	cr_assert_eq(listen(fd, 64), 0);
	return fd;
}

/* One datagram: its words, with who sent them. False: none now. */
static bool hear(struct play *p, int *client)
{
	char text[4096], control[CMSG_SPACE(sizeof(struct ucred))];
	struct iovec iov = { text, sizeof(text) - 1 };
	struct msghdr m = { .msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = control,
			    .msg_controllen = sizeof(control) };
	ssize_t n = recvmsg(*client, &m, MSG_DONTWAIT);
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	struct ucred sender;

	if (n < 0 && errno == EAGAIN)
		return false;
	if (n <= 0) {
		fd_close(client);
		return false;
	}
	cr_assert(c != NULL && c->cmsg_type == SCM_CREDENTIALS);
	memcpy(&sender, CMSG_DATA(c), sizeof(sender));
	text[n] = '\0';
	cr_assert_eq(text[n - 1], '\n', "a line is cut: %s", text);
	buf_addf(&p->words, "%d %s", sender.pid - p->pid, text);
	return true;
}

static void hear_all(struct play *p, int listener)
{
	int fd;

	for (unsigned i = 0; i < p->n_connections; i++)
		while (p->clients[i] >= 0 && hear(p, &p->clients[i]))
			;
	while (listener >= 0 && (fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
		int one = 1;

		cr_assert(p->n_connections < CLIENTS_MAX);
		cr_assert_eq(setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &one, sizeof(one)), 0);
		p->clients[p->n_connections++] = fd;
	}
}

/* How many times the program has done what it does, since this was asked last. */
static unsigned count_turns(const struct play *p)
{
	char turns[4096];
	ssize_t n = recv(p->in, turns, sizeof(turns), MSG_DONTWAIT);

	return n > 0 ? (unsigned)n : 0;
}

static void leave(struct play *p, int *listener)
{
	switch (p->step) {
	case HERE:
		if (p->words.len == 0)
			return;
		fd_close(listener);
		unlink(address);
		for (unsigned i = 0; i < p->n_connections; i++)
			fd_close(&p->clients[i]);
		buf_reset(&p->words);
		count_turns(p);
		p->step = GONE;
		break;
	case GONE:
		p->turns += count_turns(p);
		if (p->turns < 3) /* one of them is all without us */
			return;
		*listener = listen_here();
		p->step = BACK;
		break;
	case BACK:
		count_turns(p);
		if (p->words.len > 0)
			fd_close(&p->in); /* so it ends */
		break;
	}
}

/* Until the program is gone; it is not waited for. */
static void track(struct play *p, int *listener)
{
	AUTO_CLOSE int ended = (int)syscall(SYS_pidfd_open, p->pid, 0);
	struct pollfd polled[CLIENTS_MAX + 3];

	cr_assert(ended >= 0);
	do {
		nfds_t n = 0;

		polled[n++] = (struct pollfd){ .fd = ended, .events = POLLIN };
		if (p->manner != DEAF)
			polled[n++] = (struct pollfd){ .fd = *listener, .events = POLLIN };
		for (unsigned i = 0; i < p->n_connections; i++)
			polled[n++] = (struct pollfd){ .fd = p->clients[i], .events = POLLIN };
		if (p->manner == LEAVES)
			polled[n++] = (struct pollfd){ .fd = p->in, .events = POLLIN };
		cr_assert(poll(polled, n, -1) > 0);
		if (p->manner != DEAF)
			hear_all(p, *listener);
		if (p->manner == LEAVES)
			leave(p, listener);
	} while (polled[0].revents == 0);
	/* What was sent before that is all there; one that has just been taken may hold some. */
	hear_all(p, *listener);
	hear_all(p, *listener);
}

/* --------------------------------------------------------------------------------------------------- program */

static _Noreturn void be_program(const struct play *p, const char *said, const char *complaints)
{
	char tracker[128], preload[9000], scene[4200];
	char *argv[] = { (char *)p->program, scene, name, NULL };
	char *envp[] = { tracker, preload, NULL, NULL };

	snprintf(scene, sizeof(scene), "%s", p->scene);
	snprintf(tracker, sizeof(tracker), "MPSUP_TRACKER=%s",
		 p->tracker != NULL ? p->tracker : address);
	snprintf(preload, sizeof(preload), "LD_PRELOAD=%s", p->preload != NULL ? p->preload : shim);
	if (freopen(said, "w", stdout) == NULL || freopen(complaints, "w", stderr) == NULL)
		_exit(126);
	if (p->manner == LEAVES && p->in >= 0)
		dup2(p->in, 0);
	signal(SIGPIPE, SIG_DFL);
	closefrom(3);
	if (p->max_fds > 0) {
		struct rlimit r = { p->max_fds, p->max_fds };

		setrlimit(RLIMIT_NOFILE, &r);
	}
	execve(p->program, argv, envp);
	_exit(127);
}

static char *take_file(const char *path)
{
	char *text = NULL;
	size_t n;

	cr_assert_eq(fd_read_file(path, 1 << 20, &text, &n), 0);
	unlink(path);
	return text;
}

static void start(struct play *p, const char *said, const char *complaints)
{
	int ends[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	p->in = ends[0];
	p->pid = fork();
	cr_assert(p->pid >= 0);
	if (p->pid == 0)
		be_program(p, said, complaints);
	close(ends[0]);
	p->in = ends[1];
}

static void play(struct play *p)
{
	char said[64], complaints[64], program[4200];
	int listener = listen_here();

	snprintf(said, sizeof(said), "%s/said", folder);
	snprintf(complaints, sizeof(complaints), "%s/complaints", folder);
	if (p->program == NULL || p->program[0] != '/') {
		snprintf(program, sizeof(program), "%s/preload/%s", dir,
			 p->program != NULL ? p->program : "actor");
		p->program = program;
	}
	start(p, said, complaints);
	track(p, &listener);
	cr_assert_eq(waitpid(p->pid, &p->status, 0), p->pid);
	fd_close(&p->in);
	fd_close(&listener);
	for (unsigned i = 0; i < p->n_connections; i++)
		fd_close(&p->clients[i]);
	p->told = buf_take(&p->words);
	p->said = take_file(said);
	p->complaints = take_file(complaints);
	p->program = NULL;
	cr_expect_eq(p->status, 0, "%s: status %#x: %s", p->scene, p->status, p->complaints);
	cr_expect_str_empty(p->complaints);
}

static void end(struct play *p)
{
	free(p->told);
	free(p->said);
	free(p->complaints);
}

/* In a pattern '$' is the name of all, '#' a number, '!' the digits of a key, and '?' what libc makes up. */
static bool fits(const char *words, const char *pattern)
{
	for (; *pattern != '\0'; pattern++) {
		if (*pattern == '$') {
			if (strncmp(words, name, strlen(name)) != 0)
				return false;
			words += strlen(name);
		} else if (*pattern == '#') {
			if (!isdigit((unsigned char)*words))
				return false;
			words += strspn(words, "0123456789");
		} else if (*pattern == '!') {
			if (strspn(words, "0123456789abcdef") < 8)
				return false;
			words += 8;
		} else if (*pattern == '?') {
			for (int i = 0; i < 6; i++)
				if (!isalnum((unsigned char)*words++))
					return false;
		} else if (*words++ != *pattern) {
			return false;
		}
	}
	return *words == '\0';
}

/* The words of one program, without pids: those must all be its own. */
#define R(what) "0 REGISTER:" what "\n"
#define U(what) "0 UNREGISTER:" what "\n"
#define X(what) "0 REMOVED:" what "\n"
#define FAILED(what) "0 RETRACT:" what "\n"
#define A(what) "0 ATTEMPT:" what "\n"
#define AGAIN(what) A(what) "0 RETRACT:" what "\n" /* it is there already */
#define SHM(what) what ":shared_memory"
/* Of a key's object it is told which it is. */
#define M(type) "0 REGISTER:#:" type "\nUNREGISTER:k!:" type "\n"

static const struct row {
	const char *scene, *words;
} rows[] = {
	{ "shm", R(SHM("/$.a")) AGAIN(SHM("/$.a")) AGAIN(SHM("/$.a")) X(SHM("/$.a"))
			 R(SHM("/$.c%20d%25%3A%FF")) X(SHM("/$.c%20d%25%3A%FF")) },
	{ "sem", A("/$.s:semaphore") AGAIN("/$.s:semaphore") X("/$.s:semaphore") A("/$.t:semaphore")
			 X("/$.t:semaphore") AGAIN("/$.u:semaphore") },
	{ "mq", A("/$.q:mqueue") AGAIN("/$.q:mqueue") X("/$.q:mqueue") },
	{ "sysv",
	  R("k!:sysv_shm") M("sysv_shm") R("k!:sysv_shm") M("sysv_shm") R("k!:sysv_shm")
		  U("k!:sysv_shm") U("#:sysv_shm") U("#:sysv_shm") R("k!:sysv_sem") M("sysv_sem")
			  U("#:sysv_sem") R("k!:sysv_msg") M("sysv_msg") U("#:sysv_msg") },
	{ "files",
	  R(SHM("/$.a")) AGAIN(SHM("/$.a")) A(SHM("/$.b")) A(SHM("/$.c")) A(SHM("/$.d")) R(
		  SHM("/$.e")) AGAIN("/dev/shm/$.none/x:file") R(SHM("/$.f")) X(SHM("/$.a"))
		  R(SHM("/$.f")) X(SHM("/$.b")) R(SHM("/$.g")) FAILED(SHM("/$.g")) A(SHM("/$.h"))
			  AGAIN(SHM("/$.i")) A(SHM("/$.j")) X(SHM("/$.f")) X(SHM("/$.c"))
				  X(SHM("/$.d")) X(SHM("/$.e")) X(SHM("/$.h")) X(SHM("/$.j")) },
	{ "known",
	  R(SHM("/$.a")) AGAIN(SHM("/$.a")) R(SHM("/$.b")) AGAIN(SHM("/$.folder")) R(SHM("/$.c"))
		  A(SHM("/$.link")) AGAIN(SHM("/$.link")) R(SHM("/$.d")) AGAIN(SHM("/$.link"))
			  R("/$.q:mqueue") AGAIN("/$.q:mqueue") X("/$.q:mqueue") X(SHM("/$.link"))
				  X(SHM("/$.target")) X(SHM("/$.a")) X(SHM("/$.b")) X(SHM("/$.c"))
					  X(SHM("/$.d")) },
	{ "quiet", "" },
	{ "close", R(SHM("/$.first")) X(SHM("/$.first")) A(SHM("/$.second")) X(SHM("/$.second"))
			   A(SHM("/$.third")) X(SHM("/$.third")) },
	{ "cancelled", "" },
	{ "one", R(SHM("/$.one")) X(SHM("/$.one")) },
	{ "exclusive", A(SHM("/$.one")) X(SHM("/$.one")) },
	{ "temporary", A(SHM("/$.?")) X(SHM("/$.?")) A(SHM("/$.?")) X(SHM("/$.?")) A(SHM("/$.?.c"))
			       X(SHM("/$.?.c")) A(SHM("/$.?.cc")) X(SHM("/$.?.cc"))
				       AGAIN("/dev/shm/$.none/?:file") },
};

static void try_row(const struct row *row, const char *program)
{
	struct play with = { .program = program, .scene = row->scene };
	struct play without = { .program = program, .scene = row->scene, .preload = "" };

	play(&with);
	play(&without);
	cr_expect(fits(with.told, row->words), "%s told\n%sbut should\n%s", row->scene, with.told,
		  row->words);
	cr_expect_str_eq(with.said, without.said, "%s: with the shim\n%swithout\n%s", row->scene,
			 with.said, without.said);
	cr_expect_str_not_empty(with.said);
	end(&with);
	end(&without);
}

Test(preload, a_program_tells_what_it_makes_and_sees_no_difference)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		try_row(&rows[i], NULL);
}

Test(preload, one_with_address_sanitizer_too)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		try_row(&rows[i], "actor-asan");
	try_row(&(struct row){ "one", R(SHM("/$.one")) X(SHM("/$.one")) }, "actor-asan-within");
}

Test(preload, a_static_one_tells_nothing)
{
	try_row(&(struct row){ "one", "" }, "actor-static");
}

Test(preload, forks_tell_under_their_own_pids)
{
	struct play p = { .scene = "fork" };
	long pids[8] = { 0 };
	unsigned n = 0;

	play(&p);
	for (char *at = p.told; *at != '\0' && n < 8; at = strchr(at, '\n') + 1)
		pids[n++] = strtol(at, NULL, 10);
	cr_assert_eq(n, 8, "%s", p.told);
	cr_expect(pids[0] == 0 && pids[1] == 0 && pids[6] == 0 && pids[7] == 0);
	cr_expect(pids[2] != 0 && pids[2] == pids[3]);
	cr_expect(pids[4] != 0 && pids[4] != pids[2] && pids[4] == pids[5]);
	cr_expect_eq(p.n_connections, 1, "all share one");
	end(&p);
}

static unsigned count(const char *text, const char *word)
{
	unsigned n = 0;

	while ((text = strstr(text, word)) != NULL) {
		text += strlen(word);
		n++;
	}
	return n;
}

static unsigned count_made(const char *told)
{
	return count(told, "REGISTER:") + count(told, "ATTEMPT:") - count(told, "RETRACT:");
}

Test(preload, threads_tell_all)
{
	struct play p = { .scene = "threads" };

	play(&p);
	cr_expect_eq(count_made(p.told), 8 * 200);
	cr_expect_eq(count(p.told, " REMOVED:"), 8 * 200);
	end(&p);
}

Test(preload, a_signal_handler_tells)
{
	struct play p = { .scene = "signal" };

	play(&p);
	cr_expect(count_made(p.told) >= 300);
	cr_expect_eq(count_made(p.told), count(p.told, " REMOVED:"));
	end(&p);
}

Test(preload, few_descriptors_are_enough)
{
	struct play p = { .scene = "narrow", .max_fds = 50 };

	play(&p);
	cr_expect_eq(count(p.told, "REGISTER:"), 1);
	end(&p);
	p = (struct play){ .scene = "narrow", .max_fds = 12 };
	play(&p);
	cr_expect_str_empty(p.told, "there was no room: %s", p.told);
	end(&p);
}

Test(preload, a_tracker_that_does_not_read_holds_nobody_up)
{
	struct play p = { .scene = "many", .manner = DEAF };

	play(&p);
	cr_expect(count_made(p.told) > 10, "what fitted was sent");
	cr_expect(count_made(p.told) < 2000);
	end(&p);
}

Test(preload, a_tracker_that_is_back_is_found)
{
	struct play p = { .scene = "busy", .manner = LEAVES };

	play(&p);
	cr_expect_str_not_empty(p.told);
	cr_expect_eq(p.step, BACK);
	end(&p);
}

Test(preload, no_tracker_no_difference)
{
	struct play without = { .scene = "files", .preload = "" };
	struct play unset = { .scene = "files", .tracker = "" };
	struct play nowhere = { .scene = "files", .tracker = "/nonexistent/tracker" };

	play(&without);
	play(&unset);
	play(&nowhere);
	cr_expect_str_eq(unset.said, without.said);
	cr_expect_str_eq(nowhere.said, without.said);
	cr_expect_str_empty(unset.told);
	end(&without);
	end(&unset);
	end(&nowhere);
}

Test(preload, others_that_are_preloaded_stay_in_force)
{
	char both[9000];
	struct play p = { .scene = "one", .preload = both };

	snprintf(both, sizeof(both), "%s:%s/preload/other.so", shim, dir);
	play(&p);
	cr_expect_not_null(strstr(p.said, "unlink(at(\"%s\", rest)): -1 EPERM"), "%s", p.said);
	cr_expect(fits(p.told, R(SHM("/$.one"))), "%s", p.told);
	snprintf(both, sizeof(both), "/dev/shm/%s.one", name);
	cr_expect_eq(unlink(both), 0);
	end(&p);
}

/* The dynamic loader ignores what lies in a folder, and says nothing. */
Test(preload, a_set_user_id_program_is_left_alone)
{
	const struct passwd *nobody = getpwnam("nobody");
	char from[4200], copy[64], command[5000];
	struct play p = { .scene = "one", .program = copy };

	if (geteuid() != 0 || nobody == NULL)
		cr_skip_test("only root can make one that is another's");
	snprintf(from, sizeof(from), "%s/preload/actor", dir);
	snprintf(copy, sizeof(copy), "%s/copy", folder);
	snprintf(command, sizeof(command), "cp '%s' %s", from, copy);
	cr_assert_eq(system(command), 0);
	cr_assert_eq(chown(copy, nobody->pw_uid, nobody->pw_gid), 0);
	cr_assert_eq(chmod(copy, 04755), 0);
	play(&p);
	cr_expect_str_empty(p.told);
	unlink(copy);
	end(&p);
}

/* What a command says, without its newline. False: it has failed. */
static bool read_line(const char *command, char *line, size_t size)
{
	FILE *f = popen(command, "r");
	bool good = f != NULL && fgets(line, (int)size, f) != NULL;

	good = f != NULL && pclose(f) == 0 && good;
	if (good)
		line[strcspn(line, "\n")] = '\0';
	return good;
}

Test(preload, python_s_objects_are_told_of)
{
	char python[4096], script[4096];
	struct play p = { .program = python, .scene = script };

	if (!read_line("python3 -c 'import sys; print(sys.executable)'", python, sizeof(python)))
		cr_skip_test("no Python");
	cr_assert_not_null(realpath("tests/preload/objects.py", script));
	play(&p);
	cr_expect_eq(count(p.told, "0 ATTEMPT:/psm_"), 1, "%s", p.told);
	cr_expect_eq(count(p.told, "0 REMOVED:/psm_"), 1, "%s", p.told);
	cr_expect_eq(count(p.told, "0 ATTEMPT:/mp-"), 4, "%s", p.told);
	cr_expect_eq(count(p.told, "0 REMOVED:/mp-"), 4, "%s", p.told);
	cr_expect_eq(count(p.told, "\n"), 10, "%s", p.told);
	end(&p);
}

/* ----------------------------------------------------------------------------------------------------- order */

/* Runs on to the next system call's begin or end; false: it is over. */
static bool step(pid_t pid, struct user_regs_struct *ret)
{
	int status;

	cr_assert_eq(ptrace(PTRACE_SYSCALL, pid, NULL, NULL), 0);
	cr_assert_eq(waitpid(pid, &status, 0), pid);
	return WIFSTOPPED(status) && ptrace(PTRACE_GETREGS, pid, NULL, ret) == 0;
}

/* The program stands still at each of its system calls: after each word nothing may be there of that name. */
static void look_for_order(const char *scene)
{
#ifdef __x86_64__
	char path[64], program[4200], preload[4300], tracker[128];
	int listener = listen_here(), status;
	struct play p = { .scene = scene };
	struct user_regs_struct regs;
	unsigned n_words = 0;
	struct stat st;

	snprintf(path, sizeof(path), "/dev/shm/%s.one", name);
	snprintf(program, sizeof(program), "%s/preload/actor", dir);
	snprintf(preload, sizeof(preload), "LD_PRELOAD=%s", shim);
	snprintf(tracker, sizeof(tracker), "MPSUP_TRACKER=%s", address);
	p.pid = fork();
	if (p.pid == 0) {
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		dup2(open("/dev/null", O_WRONLY | O_CLOEXEC), 1);
		execle(program, "actor", scene, name, NULL, (char *[]){ preload, tracker, NULL });
		_exit(127);
	}
	cr_assert_eq(waitpid(p.pid, &status, 0), p.pid);
	while (step(p.pid, &regs)) {
		if (regs.orig_rax != SYS_sendto || (long long)regs.rax < 0)
			continue;
		hear_all(&p, listener);
		hear_all(&p, listener);
		n_words++;
		cr_expect(stat(path, &st) < 0 && errno == ENOENT, "%.*s", (int)p.words.len,
			  p.words.p);
		cr_expect_eq(count(p.words.p, "\n"), n_words);
	}
	cr_expect_eq(n_words, 2);
	buf_fini(&p.words);
	close(listener);
	for (unsigned i = 0; i < p.n_connections; i++)
		fd_close(&p.clients[i]);
#else
	(void)scene;
	cr_skip_test("registers are read as x86-64 has them");
#endif
}

Test(preload, the_name_is_told_before_the_object_is_there)
{
	look_for_order("one");
	look_for_order("exclusive");
}
