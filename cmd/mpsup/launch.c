/*
 * Bringing up an instance. See launch.h.
 */
#include "mpsup/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/fd.h"
#include "base/sig.h"
#include "base/user.h"
#include "base/xalloc.h"
#include "conf/conf.h"
#include "mpsup/cmd.h"
#include "mpsup/explain.h"
#include "mpsup/host.h"
#include "proc/close.h"
#include "sup/rundir.h"
#include "sup/client.h"

/* As mpsup check has it, but to standard error: standard output belongs to the programs. */
static void print_message(const struct conf_message *m)
{
	if (m->level == CONF_NOTE)
		return;
	if (m->file != NULL && m->line > 0)
		fprintf(stderr, "%s:%d: ", m->file, m->line);
	else if (m->file != NULL)
		fprintf(stderr, "%s: ", m->file);
	fprintf(stderr, "%s: ", explain_severity(m->level));
	if (m->key != NULL)
		fprintf(stderr, "%s: ", m->key);
	fprintf(stderr, "%s\n", m->text);
}

/* user= of [supervisord]: only root can become somebody else. */
static int find_user(struct launch *l, const char *name)
{
	const struct passwd *pw = user_find(name);
	struct err err;

	if (pw == NULL) {
		err_set(&err, -ENOENT, "%s: supervisord.user: there is no user '%s'", l->config,
			name);
		return cmd_fail(EXIT_USAGE, &err);
	}
	if (pw->pw_uid == geteuid())
		return 0;
	if (geteuid() != 0) {
		err_set(&err, -EPERM,
			"%s: supervisord.user: only root can become user '%s'; start it as root or "
			"as '%s'",
			l->config, name, name);
		return cmd_fail(EXIT_USAGE, &err);
	}
	l->user = xstrdup(pw->pw_name);
	l->uid = pw->pw_uid;
	l->gid = pw->pw_gid;
	return 0;
}

/* As supervisord: below the least it is raised, also the hard one where that is permitted. */
static int raise_limit(const char *config, const char *key, int resource, const char *what,
		       rlim_t least)
{
	struct rlimit r;
	struct err err;

	if (getrlimit(resource, &r) < 0 || r.rlim_cur == RLIM_INFINITY || r.rlim_cur >= least)
		return 0;
	r.rlim_cur = least;
	if (r.rlim_max != RLIM_INFINITY && r.rlim_max < least)
		r.rlim_max = least;
	if (setrlimit(resource, &r) == 0)
		return 0;
	err_set(&err, -errno,
		"%s: supervisord.%s: the limit of %s cannot be raised to %lld: %s; raise it where "
		"mpsup is "
		"started, or lower %s",
		config, key, what, (long long)least, strerror(errno), key);
	return cmd_fail(EXIT_GENERIC, &err);
}

/* Here, because everything that runs inherits it from here. */
static int raise_limits(const struct launch *l, const struct conf_supervisord *s)
{
	int r = raise_limit(l->config, "minfds", RLIMIT_NOFILE, "open files", (rlim_t)s->minfds);

	return r != 0 ? r
		      : raise_limit(l->config, "minprocs", RLIMIT_NPROC, "processes",
				    (rlim_t)s->minprocs);
}

static int load(struct launch *l)
{
	struct conf *conf = conf_load(l->config, &(struct conf_options){ .insecure = l->insecure });
	const struct conf_supervisord *s = &conf->supervisord;
	int r = conf->n_errors > 0 ? EXIT_GENERIC : 0;

	for (size_t i = 0; i < conf->n_messages; i++)
		print_message(&conf->messages[i]);
	l->uid = geteuid();
	l->gid = getegid();
	if (r == 0 && s->user != NULL)
		r = find_user(l, s->user);
	if (r == 0)
		r = raise_limits(l, s);
	if (r == 0)
		l->name = client_instance_name(l->config, s->identifier_set ? s->identifier : NULL);
	else if (conf->n_errors > 0)
		fprintf(stderr, "mpsup: %s: %zu error%s; nothing was started\n", l->config,
			conf->n_errors, conf->n_errors == 1 ? "" : "s");
	conf_free(conf);
	return r;
}

/* Again when one that ended has removed the directory in between. */
static int take_lock(struct launch *l, struct err *err)
{
	int r = -ENOENT;

	for (int i = 0; i < 10 && r == -ENOENT; i++) {
		r = rundir_make(l->dir, l->uid, l->gid, err);
		if (r < 0)
			continue;
		r = rundir_lock(l->dir, l->name, &l->lock_fd, err);
		if (r < 0 && r != -EWOULDBLOCK)
			rmdir(l->dir); /* unless there is something in it */
	}
	/* The keeper's comes later; until then this is who holds it. */
	if (r == 0)
		rundir_write_pid(l->lock_fd, getpid());
	return r;
}

int launch_prepare(struct launch *l, const char *config, bool insecure)
{
	struct err err = ERR_INIT;
	int r;

	l->config = xstrdup(config);
	l->insecure = insecure;
	r = load(l);
	if (r != 0)
		return r;
	l->dir = client_runtime_dir(l->name);
	r = host_find(&l->self, &l->host, &err);
	if (r == 0)
		r = take_lock(l, &err);
	if (r == -EWOULDBLOCK && l->may_join)
		return LAUNCH_HELD;
	return r == 0 ? 0 : cmd_fail(EXIT_GENERIC, &err);
}

void launch_fini(struct launch *l)
{
	free(l->config);
	free(l->name);
	free(l->dir);
	free(l->self);
	free(l->host);
	free(l->user);
	fd_close(&l->lock_fd);
}

static int become_user(const struct launch *l)
{
	if (l->user == NULL)
		return 0;
	if (fchown(l->lock_fd, l->uid, l->gid) < 0 || initgroups(l->user, l->gid) < 0 ||
	    setgid(l->gid) < 0 || setuid(l->uid) < 0)
		return -errno;
	return 0;
}

/* Becomes the keeper; ready_fd -1 = in the foreground, nobody waits for it. Returns -errno. */
static int exec_keeper(struct launch *l, int ready_fd)
{
	char lock[16], ready[16];
	const char *argv[24];
	size_t n = 0;
	int r;

	snprintf(lock, sizeof(lock), "%d", l->lock_fd);
	snprintf(ready, sizeof(ready), "%d", ready_fd);
	argv[n++] = l->host;
	argv[n++] = "keeper";
	argv[n++] = "--name";
	argv[n++] = l->name;
	argv[n++] = "--lock-fd";
	argv[n++] = lock;
	if (ready_fd >= 0) {
		argv[n++] = "--ready-fd";
		argv[n++] = ready;
	}
	argv[n++] = "--";
	argv[n++] = l->self;
	argv[n++] = "supervise";
	argv[n++] = ready_fd >= 0 ? "--ready" : "--foreground";
	argv[n++] = "--name";
	argv[n++] = l->name;
	argv[n++] = "--dir";
	argv[n++] = l->dir;
	if (l->insecure)
		argv[n++] = "--insecure";
	argv[n++] = "-c";
	argv[n++] = l->config;
	argv[n] = NULL;
	r = rundir_write_pid(l->lock_fd, getpid());
	if (r == 0)
		r = become_user(l);
	/* A lock or pipe of a caller who goes on is not held for it. */
	if (r == 0 && ready_fd >= 0)
		cloexec_from(STDERR_FILENO + 1);
	if (r == 0)
		r = fd_set_cloexec(l->lock_fd, false);
	if (r == 0 && ready_fd >= 0)
		r = fd_set_cloexec(ready_fd, false);
	if (r < 0)
		return r;
	fflush(NULL);
	execv(l->host, (char *const *)argv);
	return -errno;
}

static int exec_failed(const struct launch *l, int r)
{
	struct err err;

	err_set(&err, r, "cannot start %s: %s", l->host, strerror(-r));
	return cmd_fail(EXIT_GENERIC, &err);
}

int launch_exec(struct launch *l)
{
	int r = exec_keeper(l, -1);

	rundir_remove(l->dir, l->lock_fd);
	return exec_failed(l, r);
}

/* Standard error stays the caller's until the supervisor is ready, so that a person sees why it did not come up. */
static void be_daemon(struct launch *l, int ready_fd)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	setsid();
	if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0)
		_exit(exec_failed(l, -errno));
	_exit(exec_failed(l, exec_keeper(l, ready_fd)));
}

/* The end of the pipe without the byte: the reason was told, unless somebody killed it. */
static int not_ready(pid_t pid)
{
	struct err err;
	int status;

	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (WIFSIGNALED(status)) {
		err_set(&err, 0, "the keeper (pid %d) was killed by SIG%s before it was ready",
			(int)pid, sig_name(WTERMSIG(status)));
		cmd_fail(EXIT_GENERIC, &err);
	}
	return EXIT_GENERIC;
}

static void read_all(int fd, struct buf *to)
{
	char part[512];
	ssize_t n;

	while ((n = read(fd, part, sizeof(part))) > 0 || (n < 0 && errno == EINTR))
		if (n > 0)
			buf_add(to, part, (size_t)n);
}

/* What the limits of the user or the machine are in the way of. */
static int fail_before(const char *call, int error)
{
	struct err err;

	err_set(&err, -error, "cannot start the keeper: %s: %s%s", call, strerror(error),
		error == EAGAIN	  ? "; see ulimit -u"
		: error == EMFILE ? "; see ulimit -n"
				  : "");
	return cmd_fail(EXIT_GENERIC, &err);
}

int launch_daemon(struct launch *l, pid_t *ret_pid)
{
	AUTO_CLOSE int in = -1, out = -1;
	AUTO_BUF said = BUF_INIT;
	int fds[2];
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) < 0)
		return fail_before("pipe", errno);
	in = fds[0];
	out = fds[1];
	fflush(NULL);
	pid = fork();
	if (pid < 0)
		return fail_before("fork", errno);
	if (pid == 0)
		be_daemon(l, out);
	fd_close(&out);
	read_all(in, &said);
	if (said.len == 0 || said.p[said.len - 1] != 'R')
		return not_ready(pid);
	if (said.len > 1)
		fprintf(stderr, "mpsup: %.*s", (int)said.len - 1, said.p);
	*ret_pid = pid;
	return 0;
}

int daemon_start(const char *config, bool insecure, pid_t *ret_pid, char **ret_dir)
{
	struct launch l = LAUNCH_INIT;
	int r;

	l.may_join = true;
	r = launch_prepare(&l, config, insecure);
	if (r == LAUNCH_HELD)
		*ret_dir = TAKE_PTR(l.dir);
	if (r == 0)
		r = launch_daemon(&l, ret_pid);
	if (r != 0 && l.lock_fd >= 0)
		rundir_remove(l.dir, l.lock_fd);
	launch_fini(&l);
	return r;
}
