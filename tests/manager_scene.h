/*
 * A manager's server in a child, and clients of it. Header only.
 */
#ifndef TESTS_MANAGER_SCENE_H
#define TESTS_MANAGER_SCENE_H

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "ipc_scene.h"
#include "manager/client.h"
#include "manager/value.h"

struct manager_scene {
	char folder[32];
	char address[64];
	pid_t server;
};

static struct manager_scene scene;

/* A server; it is there when this returns, at the address that is in the line. */
static inline pid_t server_start_with(struct mps_manager_options o, char line[PATH_MAX])
{
	const char *why;
	int ready[2];
	ssize_t n;
	pid_t pid;

	cr_assert_eq(pipe(ready), 0);
	pid = scene_fork();
	if (pid == 0) {
		alarm(100);
		close(ready[0]);
		_exit(mps_manager_serve(&o, ready[1], &why) < 0);
	}
	close(ready[1]);
	n = read(ready[0], line, PATH_MAX - 1);
	cr_assert_gt(n, 1, "no server");
	line[n - 1] = '\0';
	close(ready[0]);
	return pid;
}

static inline pid_t server_start(const char *address)
{
	char line[PATH_MAX];

	return server_start_with((struct mps_manager_options){ .address = address }, line);
}

static inline void scene_begin(void)
{
	strcpy(scene.folder, "/tmp/mps-manager-XXXXXX");
	cr_assert_not_null(mkdtemp(scene.folder));
	snprintf(scene.address, sizeof(scene.address), "unix:%s/socket", scene.folder);
	scene.server = server_start(scene.address);
}

/* It ends as it should. */
static inline void scene_finish(void)
{
	kill(scene.server, SIGTERM);
	cr_expect_eq(scene_end(scene.server), 0);
	cr_expect_eq(rmdir(scene.folder), 0, "the socket's file is left");
}

static inline struct mps_manager *client_of(const char *address, bool remote, bool reconnect)
{
	struct mps_manager_options o = { .remote = remote, .reconnect = reconnect };
	struct mps_manager *m = NULL;

	cr_assert_eq(mps_manager_connect(address, &o, &m, LONG), 0);
	return m;
}

static inline struct mps_manager *client(bool remote)
{
	return client_of(scene.address, remote, false);
}

static inline struct mps_object *create(struct mps_manager *m, const char *type, const char *name,
					const void *args, size_t n)
{
	struct mps_object *o = NULL;
	int r = mps_object_create(m, type, name, 0, args, n, &o, LONG);

	cr_assert_eq(r, 0, "%s: %d", type, r);
	return o;
}

static inline struct mps_object *attach(struct mps_manager *m, const char *name)
{
	struct mps_object *o = NULL;
	int r = mps_object_attach(m, NULL, name, &o, LONG);

	cr_assert_eq(r, 0, "%s: %d", name, r);
	return o;
}

/* A method whose value is a number. */
static inline int64_t number(struct mps_object *o, const char *method)
{
	int64_t i = INT64_MIN;
	void *p = NULL;
	size_t n;

	cr_assert_eq(mps_object_call(o, method, NULL, 0, &p, &n, LONG), 0);
	cr_assert_eq(mps_unpack(p, n, "i", &i), 0);
	free(p);
	return i;
}

#define BYTES(s) s, sizeof(s) - 1

#endif
