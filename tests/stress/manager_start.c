/*
 * mps_manager_start(): a server in an image of this program knows the program's own types, by spawn, by fork and from a forkserver; it
 * ends with its manager, and with this process, however that ends; of its socket nothing stays. STRESS_STARTS=30.
 */
#include <errno.h>
#include <poll.h>
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../must.h"
#include "../find_host.h"
#include "mpsup.h"
#include "proc/pidfd.h"

#define LIMIT (60 * MPS_SECOND)

/* Says the number of its process. */
static int who_create(struct mps_call *call, void **ret_self)
{
	(void)call;
	*ret_self = malloc(1);
	return 0;
}

static int who_pid(void *self, struct mps_call *call)
{
	void *p;
	size_t n;
	int r = mps_pack(&p, &n, "i", (int64_t)getpid());

	(void)self;
	if (r == 0)
		r = mps_call_reply(call, p, n);
	free(p);
	return r;
}

static const struct mps_method methods[] = { { "pid", who_pid } };
static struct mps_type type = {
	.name = "who", .create = who_create, .destroy = free, .methods = methods, .n_methods = 1
};

__attribute__((constructor)) static void add_type(void)
{
	mps_type_add(&type);
}

static pid_t server_of(struct mps_manager *m)
{
	struct mps_object *o;
	int64_t pid;
	void *p;
	size_t n;

	MUST(mps_object_create(m, "who", NULL, 0, NULL, 0, &o, LIMIT) == 0);
	MUST(mps_object_call(o, "pid", NULL, 0, &p, &n, LIMIT) == 0);
	MUST(mps_unpack(p, n, "i", &pid) == 0);
	free(p);
	mps_object_close(o);
	return (pid_t)pid;
}

static void await_end(int pidfd)
{
	struct pollfd p = { .fd = pidfd, .events = POLLIN };

	MUST(poll(&p, 1, (int)(LIMIT / MPS_MILLISECOND)) == 1);
	close(pidfd);
}

static void start_and_close(void)
{
	struct mps_manager *m;
	pid_t pid;
	int pidfd;

	MUST(mps_manager_start(NULL, &m) == 0);
	pid = server_of(m);
	MUST(pid != getpid());
	pidfd = pidfd_open_checked(pid);
	mps_manager_close(m);
	await_end(pidfd);
	MUST(mps_active_children(NULL, 0) == 0);
}

static char folder[] = "/tmp/mpsup-start.XXXXXX";

static bool is_empty(void)
{
	DIR *d = opendir(folder);
	int n = 0;

	MUST(d != NULL);
	while (readdir(d) != NULL)
		n++;
	closedir(d);
	return n == 2;
}

/* The tracker does it, when all that knew of it are dead. */
static void await_empty(int watch)
{
	struct pollfd p = { .fd = watch, .events = POLLIN };
	char events[4096];

	while (!is_empty()) {
		MUST(poll(&p, 1, (int)(LIMIT / MPS_MILLISECOND)) == 1);
		MUST(read(watch, events, sizeof(events)) > 0);
	}
}

/* A target: starts a manager, tells of it, and waits for its own death. */
static int starter(struct mps_args *args)
{
	struct mps_manager *m;
	int64_t pid;

	if (mps_manager_start(NULL, &m) < 0)
		return 1;
	pid = server_of(m);
	if (write(mps_args_fd(args, 0), &pid, sizeof(pid)) != sizeof(pid))
		return 1;
	for (;;)
		pause();
}
MPS_TARGET(starter);

static void start_and_die(int signal)
{
	struct mps_process_options o = { .target = starter };
	struct mps_process *p;
	int ends[2], pidfd;
	int64_t pid;

	MUST(pipe(ends) == 0 && mps_args_new(&o.args) == 0);
	MUST(mps_args_add_fd(o.args, ends[1]) == 0);
	MUST(mps_process_start(&o, &p) == 0);
	close(ends[1]);
	mps_args_free(o.args);
	MUST(read(ends[0], &pid, sizeof(pid)) == sizeof(pid));
	close(ends[0]);
	pidfd = pidfd_open_checked((pid_t)pid);
	MUST(pidfd >= 0);
	MUST(mps_process_signal(p, signal) == 0);
	MUST(mps_process_join(p, LIMIT) == 0);
	mps_process_free(p);
	await_end(pidfd);
}

static void refused(void)
{
	const struct mps_manager_options no_key = { .address = "tcp:127.0.0.1:0" },
					 nowhere = { .address = "unix:/nonexistent/socket" };
	struct mps_manager *m;

	MUST(mps_manager_start(&no_key, &m) == -EINVAL);
	MUST(mps_manager_start(&nowhere, &m) == -ENOENT);
	MUST(mps_active_children(NULL, 0) == 0);
}

static int body(int argc, char **argv)
{
	static const enum mps_start_method all[] = { MPS_START_SPAWN, MPS_START_FORK,
						     MPS_START_FORKSERVER };
	const char *text = getenv("STRESS_STARTS");
	int n = text != NULL ? atoi(text) : 30, watch = inotify_init1(IN_CLOEXEC);

	(void)argc;
	(void)argv;
	find_host();
	MUST(mkdtemp(folder) != NULL);
	setenv("TMPDIR", folder, 1);
	MUST(inotify_add_watch(watch, folder, IN_DELETE) >= 0);
	for (int i = 0; i < n; i++) {
		MUST(mps_set_start_method(all[i % 3], true) == 0);
		start_and_close();
	}
	mps_set_start_method(MPS_START_SPAWN, true);
	refused();
	for (int i = 0; i < n; i++)
		start_and_die(i % 2 ? SIGKILL : SIGTERM);
	await_empty(watch);
	close(watch);
	MUST(rmdir(folder) == 0);
	printf("%d starts, %d deaths\n", n, n);
	return 0;
}

int main(int argc, char **argv)
{
	return mps_main(argc, argv, body);
}
