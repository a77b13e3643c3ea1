/*
 * orphans N: leaves N processes behind, each of which ends when its parent is gone and somebody else has to reap it.
 */
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* A child whose own child ends after it: the pipe is at its end when the only writer is gone. */
static void leave_one(void)
{
	int ends[2];
	char c;

	if (pipe(ends) < 0)
		_exit(1);
	if (fork() == 0) {
		close(ends[1]);
		if (read(ends[0], &c, 1) < 0)
			_exit(1);
		_exit(0);
	}
	_exit(0);
}

int main(int argc, char **argv)
{
	for (long n = argc > 1 ? atol(argv[1]) : 1; n > 0; n--) {
		pid_t pid = fork();

		if (pid == 0)
			leave_one();
		if (pid < 0 || waitpid(pid, NULL, 0) != pid)
			return 1;
	}
	return 0;
}
