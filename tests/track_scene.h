/*
 * A keeper with a tracker (keeper_scene.h), and instances that are a program which makes objects and tells of them by hand
 * (tests/e2e/ipc.c).
 */
#ifndef TESTS_TRACK_SCENE_H
#define TESTS_TRACK_SCENE_H

#include "keeper_scene.h"

#include <sys/mman.h>
#include <sys/stat.h>

#include "track/track.h"

/* Of each test: a folder for the keeper, and the beginning of names that nobody else has. */
struct place {
	struct scene s;
	struct peer_options o;
	char dir[64], tracker[96], own[64];
};

static inline void open_place(struct place *p, const char *no)
{
	alarm(120);
	snprintf(p->dir, sizeof(p->dir), "/tmp/mps-track.XXXXXX");
	cr_assert(mkdtemp(p->dir) != NULL);
	snprintf(p->tracker, sizeof(p->tracker), "MPSUP_TRACKER=%s/ipc.sock", p->dir);
	snprintf(p->own, sizeof(p->own), "/mps-%d", (int)getpid());
	p->o = (struct peer_options){ .dir = p->dir, .no = no, .on_crash = KEEPER_CRASH_RESTART };
	open_scene_with(&p->s, &p->o);
}

static inline bool exists_in(const char *folder, const char *name)
{
	char path[512];

	snprintf(path, sizeof(path), "%s%s", folder, name);
	return access(path, F_OK) == 0;
}

static inline bool exists(const char *name)
{
	return exists_in("/dev/shm", name);
}

static inline void close_place(struct place *p)
{
	finish(&p->s);
	cr_expect_not(exists_in(p->dir, "/ipc.sock"));
	cr_expect_not(exists_in(p->dir, "/ipc.journal"));
	cr_expect_eq(rmdir(p->dir), 0, "something is left in %s", p->dir);
}

#define WORDS_MAX 12

/* Starts the program with these words, in each of which a % is the beginning of names. It prints "ok" when it is through. Its pid. */
static inline pid_t start_ipc(struct place *p, uint32_t i, uint32_t gen, const char *const *words)
{
	static char path[4096];
	char texts[WORDS_MAX][256], *argv[WORDS_MAX + 4];
	char *envp[] = { p->tracker, NULL };
	const char *b = getenv("B");
	size_t n = 0;

	snprintf(path, sizeof(path), "%s/e2e/ipc", b != NULL ? b : "build/gcc");
	argv[n++] = path;
	for (size_t w = 0; words[w] != NULL && w < WORDS_MAX; w++) {
		const char *at = strchr(words[w], '%');

		if (at == NULL)
			snprintf(texts[w], sizeof(texts[w]), "%s", words[w]);
		else
			snprintf(texts[w], sizeof(texts[w]), "%.*s%s%s", (int)(at - words[w]),
				 words[w], p->own, at + 1);
		argv[n++] = texts[w];
	}
	argv[n++] = (char *)"print:ok";
	argv[n++] = (char *)"wait";
	argv[n] = NULL;
	start(&p->s, i, gen, KEEPER_LEFT_END, 0, argv, envp);
	return expect(&p->s, KEEPER_STARTED).pid;
}

#define IPC(p, i, ...)                                                                             \
	do {                                                                                       \
		start_ipc(p, i, 1, (const char *const[]){ __VA_ARGS__, NULL });                    \
		expect_output(&(p)->s, "ok\n");                                                    \
	} while (0)

static inline void end(struct place *p, uint32_t i)
{
	peer_signal(&p->s.p, i, 1, SIGKILL, KEEPER_SCOPE_TREE);
}

/* The object of that type and name (own and `suffix`) is told of as unlinked. */
static inline void expect_unlinked(struct place *p, uint32_t i, enum track_type type,
				   const char *suffix)
{
	struct keeper_message m = expect(&p->s, KEEPER_UNLINKED);
	char name[128];

	snprintf(name, sizeof(name), "%s%s", p->own, suffix);
	cr_expect_eq(m.instance, i);
	cr_expect_eq(m.object, (uint32_t)type);
	cr_expect_str_eq(m.text, name);
	cr_expect_str_eq(m.program, "web");
	cr_expect(m.pid > 1);
}

static inline bool has_ended(struct place *p, uint32_t i)
{
	struct keeper_message m = expect(&p->s, KEEPER_EXITED);

	return m.instance == i && !m.tree_left;
}

static inline const char *name_of(const struct place *p, const char *suffix)
{
	static char name[128];

	snprintf(name, sizeof(name), "%s%s", p->own, suffix);
	return name;
}

static inline void make_named(const char *name)
{
	int fd = shm_open(name, O_CREAT | O_EXCL | O_RDWR, 0600);

	cr_assert(fd >= 0, "%s", name);
	close(fd);
}

static inline void make_own(const struct place *p, const char *suffix)
{
	make_named(name_of(p, suffix));
}

/* More than the clock by which files are born may be late: others run meanwhile. */
static inline void let_time_pass(struct place *p)
{
	int64_t from = mps_wall().ns;

	for (uint32_t gen = 1; mps_wall().ns - from <= MPS_COARSE_LAG_NS; gen++) {
		char *argv[] = { (char *)"/bin/true", NULL };
		char *envp[] = { NULL };

		start(&p->s, 9, gen, KEEPER_LEFT_END, 0, argv, envp);
		expect(&p->s, KEEPER_STARTED);
		expect(&p->s, KEEPER_EXITED);
	}
}

/* The instance ends, and leaves what is called as all of ours are to whoever has it. */
static inline void end_and_keep(struct place *p, uint32_t i)
{
	end(p, i);
	cr_expect(has_ended(p, i));
	cr_expect(exists(p->own));
}

/* The instance ends, and that is unlinked. */
static inline void end_and_unlink(struct place *p, uint32_t i, enum track_type type,
				  const char *suffix)
{
	end(p, i);
	expect_unlinked(p, i, type, suffix);
	cr_expect(has_ended(p, i));
	cr_expect_not(exists(name_of(p, suffix)));
}

/* Kernel features that are missing, in one run of a test each. */
static const char *const without[] = { NULL, "inotify", "lease", "pidfd,children" };

#endif
