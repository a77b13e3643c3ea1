/*
 * The core of the logs is killed at random points, thousands of times; whoever comes next goes on with the same memory
 * and pipes. In the end each line is there once, whole and in order, across all files of a rotation.
 */
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "base/mtime.h"
#include "stress.h"
#include "sup/files.h"
#include "sup/logs.h"
#include "sup/sink.h"
#include "sup/tap.h"

enum { TAPS_MAX = 2, BACKUPS = 100000, LINE = 200 };

static const struct scene {
	const char *name;
	int n_taps;
	bool one_file;
	const char *prefix;
	bool stamp;
	int64_t maxbytes;
	int kills;
	bool compress;
	bool stream; /* to a pipe, which somebody else copies to the file */
} scenes[] = {
	{ "raw, never rotated", 1, false, NULL, false, 0, 600, false, false },
	{ "raw, rotated", 1, false, NULL, false, 300000, 1000, false, false },
	{ "raw, tiny files", 1, false, NULL, false, 4000, 400, false, false },
	{ "two on one file with a prefix", 2, true, "x | ", false, 300000, 1000, false, false },
	{ "two on two files with the time", 2, false, NULL, true, 100000, 600, false, false },
	{ "two on one file, tiny files", 2, true, NULL, false, 4000, 400, false, false },
	{ "raw, to a pipe", 1, false, NULL, false, 0, 800, false, true },
	{ "two on one pipe with a prefix", 2, true, "x | ", false, 0, 800, false, true },
};

static char folder[] = "/tmp/mpsup-logs.XXXXXX";

struct state {
	const struct scene *scene;
	int memfd, mid[2];
	int pipes[TAPS_MAX][2];
	pid_t writers[TAPS_MAX];
	int out[2]; /* of a stream */
	pid_t reader;
};

/* ------------------------------------------------------------------------------------------------ the core */

static void path_of(const struct scene *c, int tap, char *path, size_t size)
{
	snprintf(path, size, "%s/log%d", folder, c->one_file ? 0 : tap);
}

/* A supervisor: reads until it is killed, or (last) until all pipes are empty and their writers gone. */
static void run(const struct state *s, bool last)
{
	const struct scene *c = s->scene;
	struct pollfd polls[TAPS_MAX];
	struct sink sinks[TAPS_MAX] = { 0 };
	struct tap taps[TAPS_MAX] = { 0 };
	struct logs logs;
	int n_sinks = c->one_file ? 1 : c->n_taps;

	if (logs_init(&logs, dup(s->memfd), (int[]){ dup(s->mid[0]), dup(s->mid[1]) }) < 0)
		fail("logs_init: %s (%s)", strerror(errno), folder);
	for (int i = 0; i < n_sinks; i++) {
		char path[128];
		struct sink_spec spec = { .mode = 0644,
					  .maxbytes = c->maxbytes,
					  .backups = BACKUPS };

		path_of(c, i, path, sizeof(path));
		spec.path = c->stream ? NULL : path;
		spec.fd = c->stream ? dup(s->out[1]) : files_open_log(path, spec.mode);
		if (spec.fd < 0 || sink_init(&sinks[i], &logs, &spec) < 0)
			fail("sink_init: %s (%s)", strerror(errno), folder);
	}
	logs_slots_adopted(&logs);
	for (int i = 0; i < c->n_taps; i++) {
		taps[i].fd = s->pipes[i][0];
		taps[i].sink = &sinks[c->one_file ? 0 : i];
		taps[i].prefix = c->prefix;
		taps[i].stamp = c->stamp;
		taps[i].shared = c->one_file && c->n_taps > 1;
		tap_init(&taps[i], &logs, (uint32_t)i + 2);
		polls[i] = (struct pollfd){ .fd = s->pipes[i][0], .events = POLLIN };
	}
	for (unsigned turn = 0;; turn++) {
		int r = poll(polls, (nfds_t)c->n_taps, last ? 0 : -1), held = 0;

		for (int i = 0; i < c->n_taps; i++) {
			enum tap_result got;

			while ((got = tap_pump(&taps[i])) == TAP_MORE)
				;
			held += got == TAP_HELD;
		}
		if (turn % 16 == 15)
			logs_trim(&logs);
		if (last && r == 0 && held == 0)
			break;
		if (held > 0)
			poll(&(struct pollfd){ .fd = s->out[1], .events = POLLOUT }, 1, -1);
	}
	for (int i = 0; i < n_sinks; i++)
		if (sink_flush(&sinks[i]) != 0)
			fail("sink_flush: %s (%s)", strerror(errno), folder);
	for (int i = 0; i < n_sinks; i++)
		sink_fini(&sinks[i], true);
}

/* ------------------------------------------------------------------------------------------------ programs */

/* Numbered lines of random length, in writes that end anywhere, until TERM; then the last line is complete. */
static volatile sig_atomic_t enough;

static void on_term(int sig)
{
	(void)sig;
	enough = 1;
}

static void put(int fd, const char *p, size_t n)
{
	while (n > 0) {
		ssize_t done = write(fd, p, n);

		if (done > 0) {
			p += done;
			n -= (size_t)done;
		} else if (done < 0 && errno != EINTR) {
			_exit(1);
		}
	}
}

static void write_lines(int fd, int writer)
{
	static char out[70000];
	unsigned long number = 0;
	size_t n = 0;

	chance += (unsigned)writer;
	signal(SIGTERM, on_term);
	while (!enough || n > 0) {
		size_t want = enough ? 0 : dice(3) == 0 ? dice(60000) : dice(500);

		while (n <= want && !enough) {
			size_t pad = dice(150);

			n += (size_t)sprintf(out + n, "%c%lu ", 'a' + writer, number++);
			memset(out + n, '.', pad);
			n += pad;
			out[n++] = '\n';
		}
		if (want == 0 || want > n)
			want = n;
		put(fd, out, want);
		if (dice(4) == 0)
			pause_us(100); /* else it would be gigabytes */
		memmove(out, out + want, n - want);
		n -= want;
	}
	_exit(0);
}

/* Slower than what it reads from, so that the pipe is full at times. */
static void copy(int from, const char *path)
{
	static char text[16 << 10];
	int to = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	ssize_t n;

	while ((n = read(from, text, sizeof(text))) > 0) {
		put(to, text, (size_t)n);
		if (n % 3 == 0)
			pause_us(20);
	}
	_exit(0);
}

static void start_reader(struct state *s)
{
	char path[128];

	path_of(s->scene, 0, path, sizeof(path));
	if (pipe2(s->out, O_CLOEXEC) < 0)
		fail("pipe: %s (%s)", strerror(errno), folder);
	fd_set_nonblock(s->out[1], true);
	s->reader = fork();
	if (s->reader == 0) {
		close(s->out[1]);
		copy(s->out[0], path);
	}
	close(s->out[0]);
}

static void end_reader(struct state *s)
{
	close(s->out[1]);
	waitpid(s->reader, NULL, 0);
}

/* --------------------------------------------------------------------------------------------------- check */

static char *at;
static unsigned long next_number[TAPS_MAX];
static unsigned long long n_lines;
static size_t n_files;

/* PREFIX [TIME] LETTER NUMBER dots */
static void check_line(const struct scene *c, char *line)
{
	char *end, *text = line;
	int writer;

	if (c->prefix != NULL) {
		if (strncmp(text, c->prefix, strlen(c->prefix)) != 0)
			goto bad;
		text += strlen(c->prefix);
	}
	if (c->stamp) {
		if (strlen(text) < 24 || text[10] != ' ' || text[23] != ' ' || text[19] != '.')
			goto bad;
		text += 24;
	}
	writer = text[0] - 'a';
	if (writer < 0 || writer >= c->n_taps)
		goto bad;
	if (strtoul(text + 1, &end, 10) != next_number[writer] || *end != ' ')
		goto bad;
	if (strspn(end + 1, ".") != strlen(end + 1))
		goto bad;
	next_number[writer]++;
	n_lines++;
	return;
bad:
	fprintf(stderr, "%s: after line %lu of a, %lu of b: '%.80s' in %s\n", c->name,
		next_number[0], next_number[1], line, at);
	exit(1);
}

static void check_file(const struct scene *c, char *path)
{
	AUTO_FREE char *text = NULL;
	size_t n = 0;
	int r;

	at = path;
	r = fd_read_file(path, (size_t)1 << 30, &text, &n);
	errno = -r;
	if (r < 0)
		fail("%s: %s", path, strerror(errno));
	n_files++;
	if (n > 0 && text[n - 1] != '\n') {
		fprintf(stderr, "%s: %s ends within a line\n", c->name, path);
		exit(1);
	}
	/* What came as the beginning of a line is ended where it is. */
	if (c->maxbytes > 0 && (int64_t)n > c->maxbytes + LINE) {
		fprintf(stderr, "%s: %s has %zu bytes\n", c->name, path, n);
		exit(1);
	}
	for (char *line = text, *end; line < text + n; line = end + 1) {
		end = memchr(line, '\n', (size_t)(text + n - line));
		*end = '\0';
		check_line(c, line);
	}
	unlink(path);
}

static void check(const struct scene *c)
{
	n_lines = n_files = 0;
	memset(next_number, 0, sizeof(next_number));
	for (int tap = 0; tap < (c->one_file ? 1 : c->n_taps); tap++) {
		char path[128], backup[160];
		int n = 0;

		path_of(c, tap, path, sizeof(path));
		do
			snprintf(backup, sizeof(backup), "%s.%d", path, ++n);
		while (access(backup, F_OK) == 0);
		while (--n > 0) {
			snprintf(backup, sizeof(backup), "%s.%d", path, n);
			check_file(c, backup);
		}
		check_file(c, path);
	}
}

/* ---------------------------------------------------------------------------------------------------- main */

/* Up to a few milliseconds of life; what a kill meets is up to chance. */
static void live_and_die(const struct state *s)
{
	int status;
	pid_t pid = fork();

	if (pid < 0)
		fail("fork: %s (%s)", strerror(errno), folder);
	if (pid == 0) {
		run(s, false);
		_exit(0);
	}
	pause_us(dice(4000));
	kill(pid, SIGKILL);
	if (waitpid(pid, &status, 0) < 0 || !WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL) {
		fprintf(stderr, "%s: it ended by itself: %d\n", s->scene->name, status);
		exit(1);
	}
}

static void play(const struct scene *c)
{
	struct state s = { .scene = c, .out = { -1, -1 } };
	struct logs logs;

	if (logs_init(&logs, -1, NULL) < 0)
		fail("logs_init: %s (%s)", strerror(errno), folder);
	s.memfd = dup(logs.memfd);
	s.mid[0] = dup(logs.mid[0]);
	s.mid[1] = dup(logs.mid[1]);
	logs_fini(&logs);
	if (c->stream)
		start_reader(&s);
	for (int i = 0; i < c->n_taps; i++) {
		if (pipe(s.pipes[i]) < 0)
			fail("pipe: %s (%s)", strerror(errno), folder);
		fd_set_nonblock(s.pipes[i][0], true);
		s.writers[i] = fork();
		if (s.writers[i] == 0 && c->stream)
			close(s.out[1]);
		if (s.writers[i] == 0)
			write_lines(s.pipes[i][1], i);
	}
	for (int i = 0; i < c->kills; i++)
		live_and_die(&s);
	for (int i = 0; i < c->n_taps; i++)
		kill(s.writers[i], SIGTERM);
	/* They may wait for room in their pipes. */
	for (int left = c->n_taps; left > 0;) {
		live_and_die(&s);
		while (left > 0 && waitpid(-1, NULL, WNOHANG) > 0)
			left--;
	}
	run(&s, true);
	if (c->stream)
		end_reader(&s);
	check(c);
	printf("%-34s %llu lines in %zu files, %d kills\n", c->name, n_lines, n_files, c->kills);
	for (int i = 0; i < c->n_taps; i++) {
		close(s.pipes[i][0]);
		close(s.pipes[i][1]);
	}
	close(s.memfd);
	close(s.mid[0]);
	close(s.mid[1]);
}

int main(int argc, char **argv)
{
	signal(SIGPIPE, SIG_IGN);
	take_seed();
	if (mkdtemp(folder) == NULL)
		fail("mkdtemp: %s (%s)", strerror(errno), folder);
	for (size_t i = 0; i < ARRAY_SIZE(scenes); i++)
		if (argc < 2 || strtoul(argv[1], NULL, 10) == i)
			play(&scenes[i]);
	rmdir(folder);
	return 0;
}
