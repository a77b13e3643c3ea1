/*
 * What the shim costs a program that knows nothing of it: the same calls with and without it, in processes that have
 * their turns one after the other. A call that makes or removes an object costs a message to the tracker besides, which
 * here reads and forgets: what that costs is to be seen where the program without the shim sends it by hand.
 * preload [-r TURNS] FOLDER-OF-MPSUP; preload -w WHAT N is a turn.
 */
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "turns.h"

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
	begin = now_us(CLOCK_PROCESS_CPUTIME_ID); /* whatever else the machine does */
	for (int i = 0; i < w->n; i++)
		once();
	took = (now_us(CLOCK_PROCESS_CPUTIME_ID) - begin) / w->n;
	return write(1, &took, sizeof(took)) != sizeof(took);
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

int main(int argc, char **argv)
{
	int turns = 50;
	pid_t tracker;

	if (argc == 3 && strcmp(argv[1], "-w") == 0)
		return be_turn(&whats[atoi(argv[2])]);
	if (!take_turns_options(argc, argv, &turns))
		return 2;
	tracker = start_tracker();
	for (size_t i = 0; i < ARRAY_SIZE(whats); i++)
		compare(whats[i].name, (int)i, turns, whats[i].is_start);
	kill(tracker, SIGKILL);
	waitpid(tracker, NULL, 0);
	unlink(address);
	return 0;
}
