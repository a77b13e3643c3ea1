/*
 * What the shim costs a program that knows nothing of it: the same calls with and without it, in processes that have
 * their turns one after the other. A call that makes or removes an object costs a message to the tracker besides, which
 * here reads and forgets: what that costs is to be seen where the program without the shim sends it by hand.
 * preload [-r TURNS] FOLDER-OF-MPSUP; preload -w WHAT N is a turn.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "bench.h"
#include "proc/elf.h"
#include "stat.h"

extern char **environ;

static char address[64], shim[4200];

static double now(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ----------------------------------------------------------------------------------------------------- turns */

static void open_elsewhere(void)
{
	close(open("/dev/null", O_RDONLY | O_CLOEXEC));
}

static char path[64];

static void make_and_remove(void)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0 || close(fd) < 0 || unlink(path) < 0)
		die(path);
}

static void make_and_remove_shm(void)
{
	int fd = shm_open(path + strlen("/dev/shm"), O_RDWR | O_CREAT, 0600);

	if (fd < 0 || close(fd) < 0 || shm_unlink(path + strlen("/dev/shm")) < 0)
		die(path);
}

static int sender = -1;

static void send_one(void)
{
	static const char word[] = "UNREGISTER:/mpsup-bench.123456:shared_memory\n";

	if (send(sender, word, sizeof(word) - 1, MSG_NOSIGNAL) < 0)
		die("send");
}

static void nothing(void)
{
}

/* What the shim has to do at the least. */
static void make_and_remove_by_hand(void)
{
	int fd;

	send_one();
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || close(fd) < 0 || unlink(path) < 0)
		die(path);
	send_one();
}

static const struct what {
	const char *name, *folder;
	void (*with)(void), (*without)(void); /* without the shim */
	int n;
	bool is_start; /* timed from before the process is made until it is gone */
} whats[] = {
	{ "open and close, elsewhere", "", open_elsewhere, open_elsewhere, 20000, false },
	{ "make and remove, in /tmp", "/tmp", make_and_remove, make_and_remove, 5000, false },
	{ "make and remove, in /dev/shm", "/dev/shm", make_and_remove, make_and_remove, 5000,
	  false },
	{ "  against sending by hand", "/dev/shm", make_and_remove, make_and_remove_by_hand, 5000,
	  false },
	{ "shm_open and shm_unlink", "/dev/shm", make_and_remove_shm, make_and_remove_shm, 5000,
	  false },
	{ "start and end of a process", "", nothing, nothing, 1, true },
	{ "one message", "", send_one, send_one, 20000, false },
};

static void connect_sender(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	strcpy(a.sun_path, getenv("MPSUP_TRACKER"));
	sender = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (sender < 0 || connect(sender, (struct sockaddr *)&a, sizeof(a)) < 0)
		die("connect");
}

/* Its answer: seconds for each. */
static int be_turn(const struct what *w)
{
	bool with = getenv("LD_PRELOAD") != NULL;
	void (*once)(void) = with ? w->with : w->without;
	double begin, took;

	snprintf(path, sizeof(path), "%s/mpsup-bench.%d", w->folder, getpid());
	if (once == send_one || once == make_and_remove_by_hand)
		connect_sender();
	for (int i = 0; i < w->n / 10; i++)
		once();
	begin = now(CLOCK_PROCESS_CPUTIME_ID); /* whatever else the machine does */
	for (int i = 0; i < w->n; i++)
		once();
	took = (now(CLOCK_PROCESS_CPUTIME_ID) - begin) / w->n;
	return write(1, &took, sizeof(took)) != sizeof(took);
}

static double take_turn(const struct what *w, int number, bool with)
{
	char tracker[80], preload[4300], which[12];
	char self[] = "preload", option[] = "-w";
	char *argv[] = { self, option, which, NULL };
	char *envp[] = { tracker, with ? preload : NULL, NULL };
	double begin, took;
	int ends[2], status;
	pid_t pid;

	snprintf(tracker, sizeof(tracker), "MPSUP_TRACKER=%s", address);
	snprintf(preload, sizeof(preload), "LD_PRELOAD=%s", shim);
	snprintf(which, sizeof(which), "%d", number);
	if (pipe2(ends, O_CLOEXEC) < 0)
		die("pipe");
	begin = now(CLOCK_MONOTONIC);
	pid = vfork();
	if (pid == 0) {
		dup2(ends[1], 1);
		execve("/proc/self/exe", argv, envp);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
		die(w->name);
	if (w->is_start)
		took = now(CLOCK_MONOTONIC) - begin;
	else if (read(ends[0], &took, sizeof(took)) != sizeof(took))
		die("read");
	close(ends[0]);
	close(ends[1]);
	return took;
}

/* --------------------------------------------------------------------------------------------------- tracker */

static pid_t start_tracker(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	static char text[16384];
	pid_t pid;

	snprintf(address, sizeof(address), "/tmp/mpsup-bench-preload.%d", getpid());
	strcpy(a.sun_path, address);
	if (bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 8) < 0)
		die(address);
	pid = fork();
	if (pid != 0) {
		close(fd);
		return pid;
	}
	for (;;) {
		int client = accept(fd, NULL, NULL); /* one at a time, as the turns are */

		while (client >= 0 && recv(client, text, sizeof(text), 0) > 0)
			;
		close(client);
	}
}

static void compare(int number, int turns)
{
	const struct what *w = &whats[number];
	struct samples with = { 0 }, without = { 0 };

	for (int i = 0; i < turns; i++) {
		double t[2];

		for (int k = 0; k < 2; k++)
			t[(i + k) % 2] = take_turn(w, number, (i + k) % 2);
		samples_add(&without, t[0] * 1e6);
		samples_add(&with, t[1] * 1e6);
	}
	samples_say(&without, w->name, LIMIT, "us");
	samples_say(&with, w->name, "mpsup", "us");
}

int main(int argc, char **argv)
{
	int turns = 50, option;
	pid_t tracker;

	if (argc == 3 && strcmp(argv[1], "-w") == 0)
		return be_turn(&whats[atoi(argv[2])]);
	while ((option = getopt(argc, argv, "r:")) != -1) {
		if (option != 'r')
			return 2;
		turns = atoi(optarg);
	}
	if (optind + 1 != argc || turns < 1)
		return 2;
	snprintf(shim, sizeof(shim), "%s/" ELF_SHIM, argv[optind]);
	if (access(shim, R_OK) < 0)
		die(shim);
	tracker = start_tracker();
	for (size_t i = 0; i < ARRAY_SIZE(whats); i++)
		compare((int)i, turns);
	kill(tracker, SIGKILL);
	waitpid(tracker, NULL, 0);
	unlink(address);
	return 0;
}
