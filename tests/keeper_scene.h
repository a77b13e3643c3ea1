/*
 * A keeper and what its workers write, for the unit tests of the keeper: keeper_peer.h with assertions around it.
 */
#ifndef TESTS_KEEPER_SCENE_H
#define TESTS_KEEPER_SCENE_H

#include <criterion/criterion.h>

#include "keeper_peer.h"

struct scene {
	struct peer p;
	int out[2];		     /* what workers write; its end of file: none is left */
	enum keeper_cleanup cleanup; /* of those that are started */
};

static inline void open_scene_with(struct scene *s, const struct peer_options *o)
{
	s->cleanup = KEEPER_CLEAN_EXIT;
	cr_assert(peer_open(&s->p, o), "no keeper at %s", peer_host());
	cr_assert_eq(pipe2(s->out, O_CLOEXEC), 0);
}

static inline void open_scene(struct scene *s)
{
	open_scene_with(s, NULL);
}

/* Starts argv as instance `i`. */
static inline void start(struct scene *s, uint32_t i, uint32_t gen, enum keeper_leftovers left,
			 int64_t grace_ms, char **argv, char **envp)
{
	struct peer_worker w = { .instance = i,
				 .gen = gen,
				 .leftovers = left,
				 .grace_ns = grace_ms * MPS_NS_PER_MS,
				 .argv = argv,
				 .envp = envp,
				 .out = s->out[1],
				 .cleanup = s->cleanup };

	cr_assert_eq(peer_start(&s->p, &w), 0);
}

static inline void start_shell(struct scene *s, uint32_t i, enum keeper_leftovers left,
			       int64_t grace_ms, const char *script)
{
	char *argv[] = { (char *)"/bin/sh", (char *)"-c", (char *)script, NULL };
	char *envp[] = { (char *)"PATH=/usr/local/bin:/usr/bin:/bin", NULL };

	start(s, i, 1, left, grace_ms, argv, envp);
}

static inline void start_role(struct scene *s, uint32_t i, const char *role)
{
	char *argv[] = { (char *)peer_self(), NULL };
	char variable[64];
	char *envp[] = { variable, NULL };

	snprintf(variable, sizeof(variable), PEER_ROLE "=%s", role);
	start(s, i, 1, KEEPER_LEFT_END, 0, argv, envp);
}

/* The next message, which must be of this type. */
static inline struct keeper_message expect(struct scene *s, enum keeper_type type)
{
	struct keeper_message m = { 0 };
	int r = peer_recv(&s->p, &m);

	cr_assert_eq(r, 0, "no message (%s), but %d was due", strerror(-r), type);
	cr_assert_eq(m.type, type, "message %d where %d was due", m.type, type);
	return m;
}

/* Waits for the text, byte by byte so that nothing more is taken. */
static inline void expect_output(struct scene *s, const char *text)
{
	for (; *text != '\0'; text++) {
		char c = '\0';

		cr_assert(peer_wait_readable(s->out[0], PEER_PATIENCE), "waits for '%s'", text);
		cr_assert_eq(read(s->out[0], &c, 1), 1);
		cr_assert_eq(c, *text);
	}
}

/* Every process that had the output is gone. */
static inline void expect_nobody(struct scene *s)
{
	char text[4096];
	ssize_t n;

	fd_close(&s->out[1]);
	do {
		cr_assert(peer_wait_readable(s->out[0], PEER_PATIENCE),
			  "somebody still has the output");
		n = read(s->out[0], text, sizeof(text));
	} while (n > 0);
	cr_assert_eq(n, 0);
	fd_close(&s->out[0]);
	cr_expect(peer_wait_untagged(&s->p));
}

static inline void finish(struct scene *s)
{
	cr_expect_eq(peer_finish(&s->p, 7), 7);
	expect_nobody(s);
}

static const struct kernel {
	const char *name, *no;
} kernels[] __attribute__((unused)) = {
	{ "all features", NULL },
	{ "no shared memory", "clone_vm" },
	{ "no close_range", "close_range" },
	{ "no list of children", "children" },
	{ "no pidfd", "pidfd" },
	{ "none of them", "pidfd,close_range,children,clone_vm" },
};

#endif
