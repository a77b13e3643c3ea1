/*
 * The memory of the logs as a supervisor has left it, with bytes of it written over. Its successor refuses it, or goes
 * on with it: every window lies within itself, and what waits in it can be written.
 */
#include <fcntl.h>
#include <stdint.h>

#include "poke.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "sup/logs.h"
#include "sup/sink.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { CAPTURES = 4 };

/* The same file for the whole process: names of slots are hashes of paths. */
static const char *log_path(void)
{
	static char path[64] = "/tmp/mpsup-fuzz.XXXXXX";
	static int fd = -1;

	if (fd < 0) {
		fd = mkstemp(path);
		MUST(fd >= 0);
		unlink(path);
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	}
	MUST(ftruncate(fd, 0) == 0);
	return path;
}

static void open_sink(struct sink *k, struct logs *l)
{
	const char *path = log_path();
	const struct sink_spec spec = { .path = path,
					.fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC) };

	MUST(spec.fd >= 0 && sink_init(k, l, &spec) == 0);
}

static void fill(struct logs *l, int pipe_fds[2])
{
	struct window w;
	struct sink k;

	MUST(logs_init(l, -1, NULL) == 0);
	MUST(pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK) == 0);
	MUST(write(pipe_fds[1], "one\ntwo\nthr", 11) == 11);
	for (uint32_t i = 0; i < CAPTURES; i++) {
		logs_capture_window(l, i, &w);
		MUST(logs_read(l, i, &w, pipe_fds[0], 2) == 2);
		logs_forget(l, &w);
	}
	open_sink(&k, l);
	MUST(sink_add(&k, "waits\n", 6));
	sink_fini(&k, true);
}

static void check(const struct window *w)
{
	MUST(window_head(w) <= window_tail(w) && window_tail(w) <= w->size);
}

static void go_on(struct logs *l, int pipe_fd)
{
	struct window w;
	struct sink k;

	open_sink(&k, l);
	check(&k.window);
	for (uint32_t i = 0; i < CAPTURES; i++) {
		logs_capture_window(l, i, &w);
		check(&w);
		logs_read(l, i, &w, pipe_fd, LOGS_READ_MAX);
		check(&w);
		if (sink_flush(&k) == 0)
			sink_write(&k, &w, i + 1);
		check(&w);
		logs_forget(l, &w);
	}
	logs_slots_adopted(l);
	logs_trim(l);
	sink_fini(&k, false);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	struct logs l, next;
	struct region regions[4] = { { 0, 128 }, { 4096, 64 } };
	int pipe_fds[2];
	unsigned left;

	fill(&l, pipe_fds);
	regions[2] = (struct region){ (char *)logs_slot(&l, 0) - (char *)l.head, 256 };
	{
		struct window w;

		logs_slot_window(&l, 0, &w);
		regions[3] = (struct region){ w.p - (char *)l.head, 64 };
	}
	poke(l.memfd, &in, regions, ARRAY_SIZE(regions));
	left = byte(&in);
	while (left-- > 0)
		MUST(write(l.mid[1], "x", 1) == 1);
	if (byte(&in) & 1) /* cut off */
		MUST(ftruncate(l.memfd, (off_t)byte(&in) << 16) == 0);
	if (logs_init(&next, dup(l.memfd), (int[]){ dup(l.mid[0]), dup(l.mid[1]) }) == 0) {
		go_on(&next, pipe_fds[0]);
		logs_fini(&next);
	}
	logs_fini(&l);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	return 0;
}
