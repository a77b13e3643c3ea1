/*
 * What a tracker of programs without a supervisor makes of words (tracker_scene.h), and that it hears them while it unlinks.
 */
#include "../tracker_scene.h"

TestSuite(ipc_tracker_words, .init = set_up);

static int connect_to_tracker(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	snprintf(a.sun_path, sizeof(a.sun_path), "%s", tracker_socket());
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		_exit(9);
	return fd;
}

static void probe(int fd)
{
	char answer[32];

	if (send(fd, "PROBE:0:noop\n", 13, MSG_NOSIGNAL) < 0 ||
	    recv(fd, answer, sizeof(answer), 0) <= 0)
		_exit(9);
}

/* Another process of the program, which shares its tracker, attempts to make that, perhaps takes it back, and is dead. */
static void attempt_in_child(const char *name, bool takes_back)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		AUTO_FREE char *text = NULL;
		int fd = connect_to_tracker();

		if (asprintf(&text, "ATTEMPT:%s:shared_memory\n%s%s%s", name,
			     takes_back ? "RETRACT:" : "", takes_back ? name : "",
			     takes_back ? ":shared_memory\n" : "") < 0 ||
		    send(fd, text, strlen(text), MSG_NOSIGNAL) < 0)
			_exit(9);
		probe(fd);
		_exit(0);
	}
	if (waitpid(pid, &status, 0) != pid || status != 0)
		_exit(9);
}

static void attempt_again(int n, const char *mark)
{
	char room[128];
	int fd;

	switch (n) {
	case 0: /* in vain, taken back or not */
		make(mark, "a");
		attempt_in_child(own(room, mark, "a"), true);
		attempt_in_child(own(room, mark, "a"), false);
		break;
	case 1: /* nobody of the program has made it */
		fd = shm_open(own(room, mark, "b"), O_CREAT | O_EXCL | O_RDWR, 0600);
		close(fd);
		attempt_in_child(room, true);
		break;
	}
}

Test(ipc_tracker_words, an_attempt_that_is_taken_back_changes_nothing)
{
	char mark[64], room[128];
	struct program p;

	begin(&p, attempt_again, mark_of(mark, "attempt"));
	step(&p);
	step(&p);
	cr_expect(is_there(mark, "a") && is_there(mark, "b"));
	reap(&p, SIGKILL);
	EVENTUALLY(!is_there(mark, "a"));
	EVENTUALLY(has_ended(&p));
	cr_expect(is_there(mark, "b"));
	shm_unlink(own(room, mark, "b"));
}

enum { RACES = 30, RACERS = 4 };

/* Several begin at once to make a segment of one name. Who has made it is killed; the others have only failed. */
static void race(int n, const char *mark)
{
	struct mps_barrier *start = mmap(NULL, sizeof(*start), PROT_READ | PROT_WRITE,
					 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	char room[128], what[16];
	int status;

	if (n == 0)
		make(mark, "tracker");
	snprintf(what, sizeof(what), "%d", n);
	if (start == MAP_FAILED || mps_barrier_init(start, RACERS) != 0)
		_exit(9);
	for (int i = 0; i < RACERS; i++)
		if (fork() == 0) {
			struct mps_shm *shm;
			int r = mps_barrier_wait(start, 20 * MPS_SECOND);

			r = r < 0 ? r : mps_shm_create(own(room, mark, what), 4096, &shm);
			if (r == 0)
				raise(SIGKILL);
			_exit(r != -EEXIST);
		}
	/* When the first is gone so is the name, for the next. */
	for (int i = 0; i < RACERS; i++)
		if (wait(&status) < 0 || (status != 0 && WTERMSIG(status) != SIGKILL))
			_exit(9);
	munmap(start, sizeof(*start));
}

Test(ipc_tracker_words, who_comes_too_late_does_not_take_it_from_the_first)
{
	struct program p;
	char mark[64];

	begin(&p, race, mark_of(mark, "race"));
	for (int i = 0; i < RACES; i++)
		step(&p);
	for (int i = 0; i < RACES; i++) {
		char what[16];

		snprintf(what, sizeof(what), "%d", i);
		EVENTUALLY(!is_there(mark, what));
	}
	reap(&p, SIGKILL);
	EVENTUALLY(has_ended(&p));
}

enum { FILES = 20000, TURNS = 5 };

static void fill(const char *folder)
{
	int at;

	if (mkdir(folder, 0700) < 0 || (at = open(folder, O_DIRECTORY | O_CLOEXEC)) < 0 ||
	    mps_track_register("folder", folder) != 0)
		_exit(9);
	for (int i = 0; i < FILES; i++) {
		char file[16];

		snprintf(file, sizeof(file), "%d", i);
		close(openat(at, file, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
	}
}

/* A child leaves a folder with many files behind. We are answered while it goes. */
static void leave_folder(int n, const char *mark)
{
	char room[128], folder[256];
	int fd, turns = 0;
	pid_t pid;

	(void)n;
	make(mark, "tracker");
	snprintf(folder, sizeof(folder), "/dev/shm%s", own(room, mark, "folder"));
	pid = fork();
	if (pid == 0) {
		fill(folder);
		raise(SIGKILL);
	}
	waitpid(pid, NULL, 0);
	for (fd = connect_to_tracker(); access(folder, F_OK) == 0; turns++)
		probe(fd);
	if (turns > TURNS)
		make(mark, "answered");
}

Test(ipc_tracker_words, many_files_hold_nobody_up)
{
	struct program p;
	char mark[64];

	begin(&p, leave_folder, mark_of(mark, "folder"));
	step(&p);
	cr_expect(is_there(mark, "answered"));
	cr_expect_not(is_there(mark, "folder"));
	reap(&p, SIGKILL);
	EVENTUALLY(has_ended(&p));
}
