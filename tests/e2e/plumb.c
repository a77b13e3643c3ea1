/*
 * What stands at the ends of pipes in tests. plumb WORD ARGUMENT..., carried out from left to right; then the end, with
 * status 0. NAME is a pipe: its descriptor comes from MPSUP_PIPE_NAME.
 *   lines NAME FROM N     N numbered lines, the first with the number FROM
 *   packets NAME FROM N   the same as messages
 *   copy NAME FILE        all bytes up to the end of the file, appended to FILE
 *   take NAME FILE        the same with messages, a line each
 *   ask NAME FILE N       sends 1 .. N, one after the other, and appends each answer to FILE
 *   double NAME           answers each number with twice as much, up to the end of the file
 *   wait FILE             until FILE is there
 *   touch FILE            makes it
 *   rest                  until it is killed
 * An error ends it with status 1 and its errno's name on standard error; SIGPIPE is left as it is.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <unistd.h>

static _Noreturn void die(const char *what)
{
	dprintf(2, "plumb: %s: %s\n", what, strerrorname_np(errno));
	_exit(1);
}

static int fd_of(const char *name)
{
	char variable[64] = "MPSUP_PIPE_";
	const char *text;

	for (size_t i = strlen(variable); *name != '\0' && i < sizeof(variable) - 1; i++)
		variable[i] = (char)toupper(*name++);
	text = getenv(variable);
	if (text == NULL)
		die(variable);
	return atoi(text);
}

static int open_file(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);

	if (fd < 0)
		die(path);
	return fd;
}

static void put(int fd, const char *p, size_t n)
{
	while (n > 0) {
		ssize_t done = write(fd, p, n);

		if (done < 0)
			die("write");
		p += done;
		n -= (size_t)done;
	}
}

static void do_lines(char **argv)
{
	int fd = fd_of(argv[0]), from = atoi(argv[1]), n = atoi(argv[2]);

	for (int i = from; i < from + n; i++) {
		char line[16];

		put(fd, line, (size_t)snprintf(line, sizeof(line), "%d\n", i));
	}
}

static void do_packets(char **argv)
{
	int fd = fd_of(argv[0]), from = atoi(argv[1]), n = atoi(argv[2]);

	for (int i = from; i < from + n; i++) {
		char text[16];
		int size = snprintf(text, sizeof(text), "%d", i);

		if (write(fd, text, (size_t)size) != size)
			die("write");
	}
}

static void do_copy(char **argv)
{
	int fd = fd_of(argv[0]), file = open_file(argv[1]);
	static char buffer[65536];
	ssize_t n;

	while ((n = read(fd, buffer, sizeof(buffer))) > 0)
		put(file, buffer, (size_t)n);
	if (n < 0)
		die("read");
	close(file);
}

static void do_take(char **argv)
{
	int fd = fd_of(argv[0]), file = open_file(argv[1]);
	char text[128];
	ssize_t n;

	while ((n = read(fd, text, sizeof(text) - 1)) > 0) {
		text[n] = '\n';
		put(file, text, (size_t)n + 1);
	}
	if (n < 0)
		die("read");
	close(file);
}

static void do_ask(char **argv)
{
	int fd = fd_of(argv[0]), file = open_file(argv[1]), last = atoi(argv[2]);

	for (int i = 1; i <= last; i++) {
		int answer;

		if (write(fd, &i, sizeof(i)) != sizeof(i))
			die("write");
		if (read(fd, &answer, sizeof(answer)) != sizeof(answer))
			die("read");
		dprintf(file, "%d\n", answer);
	}
	close(file);
}

static void do_double(char **argv)
{
	int fd = fd_of(argv[0]), number;

	while (read(fd, &number, sizeof(number)) == sizeof(number)) {
		number *= 2;
		if (write(fd, &number, sizeof(number)) != sizeof(number))
			die("write");
	}
}

static void do_wait(char **argv)
{
	char folder[4096], event[4096];
	int fd = inotify_init1(IN_CLOEXEC);

	snprintf(folder, sizeof(folder), "%s", argv[0]);
	*strrchr(folder, '/') = '\0';
	if (fd < 0 || inotify_add_watch(fd, folder, IN_CREATE | IN_MOVED_TO) < 0)
		die(folder);
	while (access(argv[0], F_OK) < 0)
		if (read(fd, event, sizeof(event)) < 0)
			die("inotify");
	close(fd);
}

static void do_touch(char **argv)
{
	close(open_file(argv[0]));
}

static void do_rest(char **argv)
{
	(void)argv;
	pause();
}

static const struct {
	const char *name;
	int args;
	void (*run)(char **argv);
} words[] = {
	{ "lines", 3, do_lines }, { "packets", 3, do_packets }, { "copy", 2, do_copy },
	{ "take", 2, do_take },	  { "ask", 3, do_ask },		{ "double", 1, do_double },
	{ "wait", 1, do_wait },	  { "touch", 1, do_touch },	{ "rest", 0, do_rest },
};

int main(int argc, char **argv)
{
	char **end = argv + argc;

	for (argv++; argv < end;) {
		size_t i = 0, n = sizeof(words) / sizeof(words[0]);

		while (i < n && strcmp(words[i].name, argv[0]) != 0)
			i++;
		if (i == n || end - argv <= words[i].args) {
			errno = EINVAL;
			die(argv[0]);
		}
		words[i].run(argv + 1);
		argv += 1 + words[i].args;
	}
	return 0;
}
