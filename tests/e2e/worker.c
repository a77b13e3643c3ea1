/*
 * The worker that misbehaves on request. Its arguments are a script that is carried out from left to right; after the
 * last one it pauses for ever. `{ ... }` behind --fork, --daemonize and --once holds what the child does (or what is
 * done once); the rest is the parent's. Static, so that it starts everywhere; it never spins. Example:
 *   worker --fork 2 { --setsid --ignore TERM } --daemonize { --clear-env } --on-term 500
 */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static volatile sig_atomic_t term_seen;
static int on_term_ms = -1;
static const char *note_paths[NSIG];

static void run_script(char **argv);

static void die(const char *what)
{
	dprintf(2, "worker: %s: %s\n", what, strerror(errno));
	_exit(120);
}

static int number(const char *text)
{
	char *end;
	long n = strtol(text, &end, 10);

	if (*end != '\0' || end == text || n < 0) {
		dprintf(2, "worker: '%s' is not a number\n", text);
		_exit(121);
	}
	return (int)n;
}

static int signal_number(const char *name)
{
	for (int i = 1; i < NSIG; i++)
		if (sigabbrev_np(i) != NULL && strcmp(sigabbrev_np(i), name) == 0)
			return i;
	return number(name);
}

static void sleep_ms(int ms)
{
	struct timespec t = { ms / 1000, (ms % 1000) * 1000000L };

	while (nanosleep(&t, &t) != 0)
		;
}

static void on_term(int sig)
{
	(void)sig;
	term_seen = 1;
}

/* Waits for a signal that ends us. */
static void rest(void)
{
	sigset_t term, before;

	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	sigprocmask(SIG_BLOCK, &term, &before);
	while (!term_seen)
		sigsuspend(&before);
	sleep_ms(on_term_ms);
	_exit(0);
}

/* Appends one short line: a single write, so that processes that share the file don't mix. */
static void append(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		die(path);
	close(fd);
}

/* ------------------------------------------------------------------------------------------------ blocks */

/* The index behind the block that opens at argv[0] ("{"), or 0 when there is none. Cuts argv at its "}". */
static size_t cut_block(char **argv)
{
	int depth = 0;

	if (argv[0] == NULL || strcmp(argv[0], "{") != 0)
		return 0;
	for (size_t i = 0; argv[i] != NULL; i++) {
		depth += (strcmp(argv[i], "{") == 0) - (strcmp(argv[i], "}") == 0);
		if (depth == 0) {
			argv[i] = NULL;
			return i + 1;
		}
	}
	dprintf(2, "worker: '{' without '}'\n");
	_exit(121);
}

static void child(char **block)
{
	static char *nothing[] = { NULL };

	run_script(block != NULL ? block + 1 : nothing);
}

static size_t do_fork(char **argv)
{
	size_t used = cut_block(argv + 1);

	for (int i = number(argv[0]); i > 0; i--) {
		pid_t pid = fork();

		if (pid < 0)
			die("fork");
		if (pid == 0)
			child(used != 0 ? argv + 1 : NULL);
	}
	return 1 + used;
}

/* A child in a new session whose parent is gone, as daemon(3) makes it. */
static size_t do_daemonize(char **argv)
{
	size_t used = cut_block(argv);
	pid_t pid = fork();

	if (pid < 0)
		die("fork");
	if (pid == 0) {
		setsid();
		pid = fork();
		if (pid != 0)
			_exit(pid < 0);
		child(used != 0 ? argv : NULL);
	}
	waitpid(pid, NULL, 0);
	return used;
}

static size_t do_once(char **argv)
{
	size_t used = cut_block(argv + 1);
	int fd = open(argv[0], O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);

	if (fd < 0 && errno != EEXIST)
		die(argv[0]);
	if (fd >= 0 && used != 0) {
		close(fd);
		run_script(argv + 2);
	}
	return 1 + used;
}

static size_t do_tree(char **argv)
{
	for (int depth = number(argv[0]); depth > 0; depth--) {
		pid_t pid = fork();

		if (pid < 0)
			die("fork");
		if (pid > 0 && depth < number(argv[0]))
			rest();
		if (pid > 0)
			return 1;
	}
	rest();
	return 1;
}

/* ------------------------------------------------------------------------------------------------ dump */

static void dump_status(FILE *f)
{
	static const char *const keys[] = { "Uid:",    "Gid:",	  "Groups:", "Umask:",
					    "SigBlk:", "SigIgn:", "SigCgt:", "NoNewPrivs:" };
	char line[512];
	FILE *status = fopen("/proc/self/status", "re");

	while (status != NULL && fgets(line, sizeof(line), status) != NULL)
		for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
			if (strncmp(line, keys[i], strlen(keys[i])) == 0)
				fputs(line, f);
	if (status != NULL)
		fclose(status);
}

static void dump_fds(FILE *f, int ours)
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *e;

	while (dir != NULL && (e = readdir(dir)) != NULL) {
		char path[64], target[512];
		int fd = atoi(e->d_name);
		ssize_t n;

		if (e->d_name[0] == '.' || fd == dirfd(dir) || fd == ours)
			continue;
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		n = readlink(path, target, sizeof(target) - 1);
		target[n > 0 ? n : 0] = '\0';
		fprintf(f, "fd %d %s\n", fd, target);
	}
	if (dir != NULL)
		closedir(dir);
}

static void dump_process(FILE *f)
{
	char cwd[4096];
	struct rlimit nofile;
	int deathsig = 0;

	getrlimit(RLIMIT_NOFILE, &nofile);
	prctl(PR_GET_PDEATHSIG, &deathsig);
	fprintf(f, "pid %d\nppid %d\npgid %d\nsid %d\n", getpid(), getppid(), getpgrp(), getsid(0));
	fprintf(f, "cwd %s\n", getcwd(cwd, sizeof(cwd)) != NULL ? cwd : "?");
	fprintf(f, "nofile %lu\npdeathsig %d\n", (unsigned long)nofile.rlim_cur, deathsig);
}

/* Everything a start may get wrong; written aside and renamed, so that who waits for FILE sees all of it. */
static size_t do_dump(char **argv)
{
	char path[4096];
	FILE *f;

	snprintf(path, sizeof(path), "%s.new", argv[0]);
	f = fopen(path, "we");
	if (f == NULL)
		die(path);
	dump_process(f);
	dump_status(f);
	dump_fds(f, fileno(f));
	for (char **e = environ; *e != NULL; e++)
		fprintf(f, "env %s\n", *e);
	if (fclose(f) != 0 || rename(path, argv[0]) != 0)
		die(argv[0]);
	return 1;
}

/* ------------------------------------------------------------------------------------------------ the rest */

static size_t do_exit(char **argv)
{
	_exit(number(argv[0]));
}

/* Leaves the ordinary way, and writes into the file what libc does on that way. */
static const char *end_path;

static void at_end(void)
{
	append(end_path, "atexit\n");
}

__attribute__((destructor)) static void destruct(void)
{
	if (end_path != NULL)
		append(end_path, "destructor\n");
}

/* As an object that is called crash.so it does not survive being loaded, as hang.so that has no end. */
#if defined(__PIC__) && !defined(__PIE__)
__attribute__((constructor)) static void construct(void)
{
	Dl_info info;

	if (dladdr((void *)&end_path, &info) == 0)
		return;
	while (strstr(info.dli_fname, "/hang.so") != NULL)
		pause();
	if (strstr(info.dli_fname, "/crash.so") == NULL)
		return;
	signal(SIGSEGV, SIG_DFL); /* sanitizers have a handler */
	raise(SIGSEGV);
}
#endif

static size_t do_end(char **argv)
{
	FILE *f = fopen(argv[0], "ae");

	if (f == NULL || fputs("stdio\n", f) < 0)
		die(argv[0]);
	end_path = argv[0];
	atexit(at_end);
	exit(number(argv[1]));
}

static size_t do_after(char **argv)
{
	sleep_ms(number(argv[0]));
	return 1;
}

static size_t do_signal(char **argv)
{
	int sig = signal_number(argv[0]);
	sigset_t set;

	signal(sig, SIG_DFL);
	sigemptyset(&set);
	sigaddset(&set, sig);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	kill(getpid(), sig);
	return 1;
}

static size_t do_ignore(char **argv)
{
	signal(signal_number(argv[0]), SIG_IGN);
	return 1;
}

static size_t do_setsid(char **argv)
{
	(void)argv;
	setsid(); /* fails where we lead a session already: that is what was asked for */
	return 0;
}

/* /proc/PID/environ is what exec was given, so a new image is needed to be rid of it. */
static size_t do_clear_env(char **argv)
{
	static char *empty[] = { NULL };

	if (environ[0] == NULL)
		return 0;
	argv[-1] = (char *)"worker";
	execve("/proc/self/exe", argv - 1, empty);
	die("exec");
	return 0;
}

static size_t do_write(char **argv)
{
	int n = number(argv[0]);

	for (int i = 1; i <= n; i++)
		dprintf(1, "line %d\n", i);
	return 1;
}

static size_t do_error(char **argv)
{
	int n = number(argv[0]);

	for (int i = 1; i <= n; i++)
		dprintf(2, "error %d\n", i);
	return 1;
}

static size_t do_say(char **argv)
{
	dprintf(1, "%s\n", argv[0]);
	return 1;
}

/* By stdio, whose standard output may hold it back. */
static size_t do_answer(char **argv)
{
	char line[256];

	while (fgets(line, sizeof(line), stdin) != NULL)
		printf("%s%s", argv[0], line);
	exit(0);
}

static size_t do_leave(char **argv)
{
	int fd = open(argv[0], O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd < 0)
		die(argv[0]);
	return 1;
}

static size_t do_partial(char **argv)
{
	(void)argv;
	dprintf(1, "partial");
	return 0;
}

static size_t do_stop(char **argv)
{
	(void)argv;
	raise(SIGSTOP);
	return 0;
}

static size_t do_on_term(char **argv)
{
	struct sigaction sa = { .sa_handler = on_term };

	on_term_ms = number(argv[0]);
	sigaction(SIGTERM, &sa, NULL);
	return 1;
}

static void on_note(int sig)
{
	char line[32];
	int saved = errno;

	snprintf(line, sizeof(line), "%s\n", sigabbrev_np(sig));
	append(note_paths[sig], line);
	errno = saved;
}

static size_t do_note(char **argv)
{
	struct sigaction sa = { .sa_handler = on_note, .sa_flags = SA_RESTART };

	int sig = signal_number(argv[0]);

	note_paths[sig] = argv[1];
	sigaction(sig, &sa, NULL);
	return 2;
}

static size_t do_pidfile(char **argv)
{
	char line[32];

	snprintf(line, sizeof(line), "%d\n", getpid());
	append(argv[0], line);
	return 1;
}

/* ------------------------------------------------------------------------------------------- the supervisor */

static void notify(const char *text, size_t n)
{
	const char *name = getenv("NOTIFY_SOCKET");
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (name == NULL || name[0] != '@' || strlen(name) >= sizeof(a.sun_path))
		die("NOTIFY_SOCKET");
	memcpy(a.sun_path + 1, name + 1, strlen(name) - 1);
	if (sendto(fd, text, n, 0, (struct sockaddr *)&a,
		   (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name))) < 0)
		dprintf(2, "worker: notify: %s\n", strerror(errno));
	close(fd);
}

static size_t do_notify(char **argv)
{
	notify(argv[0], strlen(argv[0]));
	return 1;
}

static size_t do_notify_bytes(char **argv)
{
	size_t n = (size_t)number(argv[0]);
	char *text = calloc(1, n + 1);

	notify(text, n);
	free(text);
	return 1;
}

static size_t do_flood(char **argv)
{
	for (int i = number(argv[0]); i > 0; i--)
		notify("STATUS=more", 11);
	return 1;
}

static size_t do_heartbeat(char **argv)
{
	for (;;) {
		notify("WATCHDOG=1", 10);
		sleep_ms(number(argv[0]));
	}
	return 1;
}

static int channel(void)
{
	const char *text = getenv("MPSUP_CONTROL_FD");

	if (text == NULL)
		die("MPSUP_CONTROL_FD");
	return number(text);
}

static size_t do_tell(char **argv)
{
	if (send(channel(), argv[0], strlen(argv[0]), MSG_NOSIGNAL) < 0)
		die("tell");
	return 1;
}

static size_t do_tell_bytes(char **argv)
{
	size_t n = (size_t)number(argv[0]);
	char *text = calloc(1, n + 1);

	if (send(channel(), text, n, MSG_NOSIGNAL) < 0)
		die("tell");
	free(text);
	return 1;
}

static size_t do_tell_flood(char **argv)
{
	for (int i = number(argv[0]); i > 0; i--)
		do_tell((char *[]){ (char *)"STATUS=more" });
	return 1;
}

static size_t do_hear(char **argv)
{
	char text[5000];
	ssize_t n;

	while ((n = recv(channel(), text, sizeof(text) - 2, 0)) > 0) {
		memcpy(text + n, "\n", 2);
		append(argv[0], text);
		if (strcmp(text, "STOP=1\n") == 0)
			_exit(0);
	}
	_exit(3);
}

static size_t do_read_stdin(char **argv)
{
	char buf[4096];

	(void)argv;
	while (read(0, buf, sizeof(buf)) > 0)
		;
	_exit(0);
}

static const struct option {
	const char *name;
	int args;
	size_t (*run)(char **argv); /* how many further arguments it took */
	const char *doc;
} options[] = {
	{ "--exit", 1, do_exit, "N: exit with status N" },
	{ "--end", 2, do_end, "FILE N: leave by exit(3); into FILE what libc does on that way" },
	{ "--after", 1, do_after, "MS: sleep" },
	{ "--signal", 1, do_signal, "SIG: kill itself" },
	{ "--ignore", 1, do_ignore, "SIG: ignore it" },
	{ "--on-term", 1, do_on_term, "MS: take that long to end after SIGTERM, then exit 0" },
	{ "--note", 2, do_note, "SIG FILE: append the signal's name to FILE when it comes" },
	{ "--fork", 1, do_fork, "N [{...}]: N children that do what is in the block" },
	{ "--tree", 1, do_tree, "DEPTH: a chain of descendants" },
	{ "--daemonize", 0, do_daemonize, "[{...}]: a double-forked child in its own session" },
	{ "--once", 1, do_once, "FILE [{...}]: the block, unless FILE is there already" },
	{ "--setsid", 0, do_setsid, "a session of its own" },
	{ "--clear-env", 0, do_clear_env, "exec itself with an empty environment" },
	{ "--write", 1, do_write, "N: numbered lines on standard output" },
	{ "--error", 1, do_error, "N: numbered lines on standard error" },
	{ "--say", 1, do_say, "TEXT: a line on standard output" },
	{ "--answer", 1, do_answer,
	  "TEXT: each line of standard input, with TEXT before it; exit 0 at its end" },
	{ "--leave", 1, do_leave, "FILE: make it anew" },
	{ "--partial", 0, do_partial, "a line without its end" },
	{ "--stop", 0, do_stop, "SIGSTOP itself" },
	{ "--dump", 1, do_dump, "FILE: what it was started with" },
	{ "--pidfile", 1, do_pidfile, "FILE: append its pid" },
	{ "--notify", 1, do_notify, "TEXT: say it on NOTIFY_SOCKET" },
	{ "--notify-bytes", 1, do_notify_bytes, "N: so many NULs" },
	{ "--flood", 1, do_flood, "N: so many messages" },
	{ "--heartbeat", 1, do_heartbeat, "MS: WATCHDOG=1 again and again, with pauses" },
	{ "--tell", 1, do_tell, "TEXT: say it on MPSUP_CONTROL_FD" },
	{ "--tell-bytes", 1, do_tell_bytes, "N: so many NULs" },
	{ "--tell-flood", 1, do_tell_flood, "N: so many messages" },
	{ "--hear", 1, do_hear, "FILE: append what is said to it; STOP=1 is the end" },
	{ "--read-stdin", 0, do_read_stdin, "exit 0 at the end of standard input" },
};

static const struct option *find_option(const char *name)
{
	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
		if (strcmp(options[i].name, name) == 0)
			return &options[i];
	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
		dprintf(2, "  %s %s\n", options[i].name, options[i].doc);
	dprintf(2, "worker: no option '%s'\n", name);
	_exit(121);
}

static void run_script(char **argv)
{
	while (*argv != NULL) {
		const struct option *o = find_option(*argv++);

		for (int i = 0; i < o->args; i++)
			if (argv[i] == NULL) {
				dprintf(2, "worker: %s %s\n", o->name, o->doc);
				_exit(121);
			}
		argv += o->run(argv);
	}
	rest();
}

int main(int argc, char **argv)
{
	(void)argc;
	run_script(argv + 1);
}
