/*
 * A program's settings turned into what the keeper needs to start it. Precedence of variables: the supervisor's own,
 * then HOME, USER, LOGNAME, SHELL of user=, then ours, then env_file=, then environment=. What people read when
 * something is wrong is worker_failure.c's.
 */
#include "sup/worker.h"

#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/strv.h"
#include "base/user.h"
#include "base/xalloc.h"
#include "conf/conf.h"
#include "proc/elf.h"
#include "proc/shim.h"

/* A passwd entry that was looked up: reading it and the groups at each start would cost more than the fork. */
struct worker_user {
	struct worker_user *next;
	char *name; /* as the configuration says it */
	char *login, *home, *shell;
	uid_t uid;
	gid_t gid;
	gid_t *groups;
	int n_groups;
};

void worker_base_init(struct worker_base *base, const struct conf *conf, const char *name,
		      const char *socket)
{
	struct rlimit r;

	*base = (struct worker_base){ .conf = conf, .name = name, .socket = socket };
	/* Beside the control socket. */
	base->tracker = xasprintf("%.*sipc.sock", (int)(strrchr(socket, '/') + 1 - socket), socket);
	base->shim = shim_find();
	base->elves = xcalloc(1, sizeof(*base->elves));
	base->cwd = getcwd(NULL, 0);
	base->umask = conf->supervisord.umask;
	if (getrlimit(RLIMIT_NOFILE, &r) == 0)
		base->nofile = r.rlim_cur;
}

int worker_channel_fd(const struct conf_proc *proc)
{
	int fd = 3;

	while (conf_wire_at(proc, fd) != NULL)
		fd++;
	return fd;
}

bool worker_has_channel(const struct conf_proc *proc)
{
	return proc->control >= CONF_CONTROL_SELF || proc->stop_method == CONF_STOP_MESSAGE;
}

static void user_free(struct worker_user *u)
{
	free(u->name);
	free(u->login);
	free(u->home);
	free(u->shell);
	free(u->groups);
	free(u);
}

static void forget_users(struct worker_base *base)
{
	while (base->users != NULL) {
		struct worker_user *u = base->users;

		base->users = u->next;
		user_free(u);
	}
}

void worker_base_use_conf(struct worker_base *base, const struct conf *conf)
{
	base->conf = conf;
	forget_users(base);
}

void worker_base_fini(struct worker_base *base)
{
	forget_users(base);
	free(base->cwd);
	free(base->tracker);
	free(base->shim);
	free(base->elves);
	base->cwd = base->tracker = base->shim = NULL;
	base->elves = NULL;
}

/* ---------------------------------------------------------------------------------------------------- user */

static const struct worker_user *find_user(struct worker_base *base, const char *name,
					   struct err *err)
{
	const struct passwd *pw;
	struct worker_user *u;

	for (u = base->users; u != NULL; u = u->next)
		if (strcmp(u->name, name) == 0)
			return u;
	pw = user_find(name);
	if (pw == NULL) {
		err_set(err, -ENOENT, "no user '%s'", name);
		return NULL;
	}
	u = xcalloc(1, sizeof(*u));
	u->name = xstrdup(name);
	u->login = xstrdup(pw->pw_name);
	u->home = xstrdup(pw->pw_dir);
	u->shell = xstrdup(pw->pw_shell[0] ? pw->pw_shell : "/bin/sh");
	u->uid = pw->pw_uid;
	u->gid = pw->pw_gid;
	u->n_groups = 64;
	u->groups = xcalloc((size_t)u->n_groups, sizeof(gid_t));
	if (getgrouplist(u->login, u->gid, u->groups, &u->n_groups) < 0) {
		u->groups = xrealloc(u->groups, (size_t)u->n_groups * sizeof(gid_t));
		getgrouplist(u->login, u->gid, u->groups, &u->n_groups);
	}
	u->next = base->users;
	base->users = u;
	return u;
}

/* ----------------------------------------------------------------------------------------------- environment */

struct environment {
	char **v;
	size_t n;
	size_t cap;
};

static void env_append(struct environment *e, char *entry)
{
	if (e->n + 2 > e->cap) {
		e->cap = e->cap * 2 + 32;
		e->v = xrealloc(e->v, e->cap * sizeof(*e->v));
	}
	e->v[e->n++] = entry;
	e->v[e->n] = NULL;
}

static void env_put(struct environment *e, char *entry, size_t name_length)
{
	for (size_t i = 0; i < e->n; i++)
		if (strncmp(e->v[i], entry, name_length + 1) == 0) {
			e->v[i] = entry;
			return;
		}
	env_append(e, entry);
}

static void env_put_strv(struct environment *e, char *const *v)
{
	for (; v != NULL && *v != NULL; v++)
		env_put(e, *v, strcspn(*v, "="));
}

/* Our own variables lie one after the other in one block, which the spawn owns: "KEY=value\0KEY=value\0". */
static void add_variable(struct buf *block, const char *key, const char *value)
{
	buf_adds(block, key);
	buf_addc(block, '=');
	buf_add(block, value, strlen(value) + 1);
}

/* Where and how often it may speak; WATCHDOG_PID is not set: then it is for whoever of it reads this. */
static void add_dialogue(struct buf *b, const struct worker_base *base,
			 const struct conf_proc *proc)
{
	if (base->notify != NULL && proc->control != CONF_CONTROL_OFF)
		add_variable(b, "NOTIFY_SOCKET", base->notify);
	if (proc->watchdog > 0) {
		buf_addf(b, "WATCHDOG_USEC=%lld", (long long)proc->watchdog / 1000);
		buf_addc(b, '\0');
	}
	if (worker_has_channel(proc)) {
		buf_addf(b, "MPSUP_CONTROL_FD=%d", worker_channel_fd(proc));
		buf_addc(b, '\0');
	}
}

char *worker_manager_address(const struct worker_base *base, const struct conf_proc *proc)
{
	int folder = (int)(strrchr(base->socket, '/') + 1 - base->socket);

	return proc->address != NULL
		       ? xstrdup(proc->address)
		       : xasprintf("unix:%.*smanager-%s.sock", folder, base->socket, proc->program);
}

static void add_managers(struct buf *b, const struct worker_base *base)
{
	for (size_t i = 0; i < base->conf->n_managers; i++) {
		const struct conf_manager *m = &base->conf->managers[i];
		AUTO_FREE char *address = worker_manager_address(base, m->proc);

		add_variable(b, m->variable, address);
		if (m->proc->authkey_file != NULL)
			add_variable(b, m->key_variable, m->proc->authkey_file);
	}
}

static char *own_variables(const struct worker_base *base, const struct conf_proc *proc,
			   const char *display, uint32_t gen, const struct worker_user *user)
{
	struct buf b = BUF_INIT;

	if (user != NULL) {
		add_variable(&b, "HOME", user->home);
		add_variable(&b, "USER", user->login);
		add_variable(&b, "LOGNAME", user->login);
		add_variable(&b, "SHELL", user->shell);
	}
	add_variable(&b, "SUPERVISOR_ENABLED", "1");
	add_variable(&b, "SUPERVISOR_PROCESS_NAME", proc->name);
	add_variable(&b, "SUPERVISOR_GROUP_NAME", proc->group);
	if (proc->serverurl != NULL && strcmp(proc->serverurl, "AUTO") != 0)
		add_variable(&b, "SUPERVISOR_SERVER_URL", proc->serverurl);
	add_variable(&b, "MPSUP_NAME", base->name);
	add_variable(&b, "MPSUP_SOCKET", base->socket);
	for (size_t i = 0; i < proc->n_wires; i++)
		buf_add(&b, proc->wires[i].variable, strlen(proc->wires[i].variable) + 1);
	add_managers(&b, base);
	add_dialogue(&b, base, proc);
	if (proc->track != CONF_TRACK_OFF)
		add_variable(&b, "MPSUP_TRACKER", base->tracker);
	buf_addf(&b, "MPSUP_INSTANCE=%s/%s/%u", base->name, display, gen);
	buf_add(&b, "\0\0", 2);
	return xbuf_take(&b);
}

/* What the supervisor has got from who started it, such as systemd, is not for its programs. */
static bool is_not_theirs(const struct conf_proc *proc, const char *entry)
{
	static const char *const names[] = { "NOTIFY_SOCKET=", "WATCHDOG_USEC=", "WATCHDOG_PID=" };

	if (str_is_prefix("MPSUP_TRACKER=", entry) || str_is_prefix("MPSUP_CONTROL_FD=", entry) ||
	    str_is_prefix("MPSUP_PIPE_", entry) || str_is_prefix("MPSUP_MANAGER_", entry))
		return true; /* another's */
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (str_is_prefix(names[i], entry))
			return proc->control != CONF_CONTROL_OFF;
	return false;
}

static int add_env_file(const struct conf_proc *proc, struct environment *e, char ***ret_file,
			struct err *err)
{
	int r;

	if (proc->env_file == NULL)
		return 0;
	r = conf_read_env_file(proc->env_file, ret_file, err);
	if (r == -ENOENT && proc->env_file_optional)
		return 0;
	if (r < 0)
		return err_prefix(err, r, "env_file: ");
	env_put_strv(e, *ret_file);
	return 0;
}

static int make_environment(const struct worker_base *base, const struct conf_proc *proc,
			    const char *display, uint32_t gen, const struct worker_user *user,
			    char ***ret, struct err *err)
{
	AUTO_FREE char *own = own_variables(base, proc, display, gen, user);
	struct environment e = { 0 };
	char **file = NULL;
	int r;

	for (char **v = environ; *v != NULL; v++)
		if (!is_not_theirs(proc, *v))
			env_append(&e, *v);
	for (char *at = own; *at != '\0'; at += strlen(at) + 1)
		env_put(&e, at, strcspn(at, "="));
	r = add_env_file(proc, &e, &file, err);
	env_put_strv(&e, proc->environment);
	if (r == 0 && (*ret = strv_pack(e.v)) == NULL)
		xalloc_failed();
	conf_strv_free(file);
	free(e.v);
	return r;
}

/* ----------------------------------------------------------------------------------------------- executable */

static int check_candidate(const char *path, struct err *err)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return -errno;
	if (S_ISDIR(st.st_mode))
		return err_set(err, -EISDIR, "command at '%s' is a directory", path);
	if ((st.st_mode & 0111) == 0)
		return err_set(err, -EACCES, "command at '%s' is not executable", path);
	return 0;
}

/* As supervisord: the first that exists counts, also if it cannot be executed. */
static int search_path(const char *name, const char *path, char **ret, struct err *err)
{
	if (path == NULL || *path == '\0')
		path = "/bin:/usr/bin:/usr/local/bin";
	for (const char *at = path; *at != '\0';) {
		size_t n = strcspn(at, ":");
		AUTO_FREE char *candidate =
			xasprintf("%.*s/%s", n ? (int)n : 1, n ? at : ".", name);
		int r = check_candidate(candidate, err);

		if (r == 0)
			*ret = TAKE_PTR(candidate);
		if (r != -ENOENT && r != -ENOTDIR && r != -EACCES)
			return r;
		if (r == -EACCES && access(candidate, F_OK) == 0)
			return r;
		at += n;
		at += *at == ':';
	}
	return err_set(err, -ENOENT, "can't find command '%s'", name);
}

static int find_executable(const struct worker_base *base, const char *name, char *const *env,
			   char **ret, struct err *err)
{
	if (name[0] == '/') {
		*ret = xstrdup(name);
		return 0; /* whether it is there exec will say */
	}
	if (strchr(name, '/') != NULL) {
		/* Relative to where the supervisor stands, not to directory=, as in supervisord. */
		*ret = xasprintf("%s/%s", base->cwd != NULL ? base->cwd : ".", name);
		return 0;
	}
	return search_path(name, strv_value(env, "PATH", strlen("PATH")), ret, err);
}

size_t worker_object_length(const struct conf_proc *proc)
{
	return (size_t)(strrchr(proc->entry, ':') - proc->entry);
}

/* As a command: relative to where the supervisor stands. A bare name that is not there is left to the dynamic loader. */
static char *find_object(const struct worker_base *base, const char *name)
{
	AUTO_FREE char *here = NULL;

	if (name[0] == '/')
		return xstrdup(name);
	here = xasprintf("%s/%s", base->cwd != NULL ? base->cwd : ".", name);
	return strchr(name, '/') != NULL || access(here, F_OK) == 0 ? TAKE_PTR(here)
								    : xstrdup(name);
}

static char **find_objects(const struct worker_base *base, char *const *names)
{
	size_t n = strv_length(names);
	char **v = xcalloc(n + 1, sizeof(*v));

	for (size_t i = 0; i < n; i++)
		v[i] = find_object(base, names[i]);
	return v;
}

/* ------------------------------------------------------------------------------------------------------ all */

/* The keeper, whose child it will be, stands elsewhere than the supervisor. */
static char *working_directory(const struct worker_base *base, const struct conf_proc *proc)
{
	const char *here = base->cwd != NULL ? base->cwd : ".";

	if (proc->directory == NULL)
		return xstrdup(here);
	return proc->directory[0] == '/' ? xstrdup(proc->directory)
					 : xasprintf("%s/%s", here, proc->directory);
}

static void apply_user(const struct worker_user *user, struct mps_spawn *s)
{
	if (user == NULL || (geteuid() != 0 && user->uid == geteuid()))
		return;
	s->set_user = true;
	s->uid = user->uid;
	s->gid = user->gid;
	s->groups = user->groups;
	s->n_groups = (size_t)user->n_groups;
}

/* For a command a copy of the keeper would be for nothing: it is replaced at once. */
static enum mps_spawn_method method_of(const struct conf_proc *proc)
{
	switch (proc->start_method) {
	case CONF_METHOD_SPAWN:
		return MPS_METHOD_SPAWN;
	case CONF_METHOD_FORK:
		return proc->entry != NULL ? MPS_METHOD_FORK : MPS_METHOD_SPAWN;
	case CONF_METHOD_FORKSERVER:
		return MPS_METHOD_FORKSERVER;
	}
	return MPS_METHOD_SPAWN;
}

/* A manager is what we are. */
static int find_self(char **ret, struct err *err)
{
	char path[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);

	if (n < 0)
		return err_set(err, -errno, "/proc/self/exe: %s", strerror(errno));
	path[n] = '\0';
	*ret = xstrdup(path);
	return 0;
}

static void make_argv(const struct worker_base *base, const struct conf_proc *proc,
		      struct worker_spawn *w)
{
	size_t n = strv_length(proc->argv);

	if (proc->kind != CONF_MANAGER)
		return;
	w->address = worker_manager_address(base, proc);
	w->argv = xcalloc(n + 3, sizeof(*w->argv));
	memcpy(w->argv, proc->argv, n * sizeof(*w->argv));
	w->argv[n] = (char *)"--address";
	w->argv[n + 1] = w->address;
}

static int find_path(struct worker_base *base, const struct conf_proc *proc, struct worker_spawn *w,
		     struct err *err)
{
	AUTO_FREE char *object = NULL;

	if (proc->kind == CONF_MANAGER)
		return find_self(&w->path, err);
	if (proc->entry == NULL)
		return find_executable(base, proc->argv[0], w->envp, &w->path, err);
	object = xstrndup(proc->entry, worker_object_length(proc));
	w->path = find_object(base, object);
	return 0;
}

/* What is an entry is loaded by a program of ours, or is the start of others. */
static void put_shim(const struct worker_base *base, const struct conf_proc *proc,
		     struct worker_spawn *w)
{
	const char *path = strv_value(w->envp, "PATH", strlen("PATH"));
	char **envp;

	if (proc->track != CONF_TRACK_PRELOAD || base->shim == NULL ||
	    (proc->entry == NULL && !elf_can_preload(base->elves, w->path, path)))
		return;
	envp = shim_add(w->envp, base->shim);
	if (envp == NULL)
		return;
	free(w->envp);
	w->envp = envp;
}

int worker_prepare(struct worker_base *base, const struct conf_proc *proc, const char *display,
		   uint32_t gen, struct worker_spawn *ret, struct err *err)
{
	const struct worker_user *user = NULL;
	struct worker_spawn w = { 0 };
	int r;

	if (proc->argv == NULL)
		return err_set(err, -EINVAL, "%s",
			       proc->argv_error ? proc->argv_error : "command is empty");
	if (proc->user != NULL && (user = find_user(base, proc->user, err)) == NULL)
		return worker_fail_at(base, &proc->place_user, -ENOENT, err);
	r = make_environment(base, proc, display, gen, user, &w.envp, err);
	if (r < 0)
		return worker_fail_at(base, &proc->place_env_file, r, err);
	r = find_path(base, proc, &w, err);
	if (r < 0) {
		worker_spawn_fini(&w);
		return worker_fail_at(base, &proc->place_command, r, err);
	}
	put_shim(base, proc, &w);
	make_argv(base, proc, &w);
	w.cwd = working_directory(base, proc);
	if (proc->start_method == CONF_METHOD_FORKSERVER)
		w.preload = find_objects(base, proc->preload);
	w.spawn = (struct mps_spawn){
		.path = w.path,
		.symbol = proc->entry != NULL ? proc->entry + worker_object_length(proc) + 1 : NULL,
		.method = method_of(proc),
		.server = proc->start_method == CONF_METHOD_FORKSERVER ? proc->forkserver : NULL,
		.preload = w.preload,
		.argv = w.argv != NULL ? w.argv : proc->argv,
		.envp = w.envp,
		.cwd = w.cwd,
		.session = MPS_SESSION_NEW,
		.umask = proc->umask >= 0 ? proc->umask : base->umask,
		.nofile = base->nofile,
		.pdeathsig = SIGKILL,
	};
	apply_user(user, &w.spawn);
	*ret = w;
	return 0;
}

void worker_spawn_fini(struct worker_spawn *w)
{
	for (char **p = w->preload; p != NULL && *p != NULL; p++)
		free(*p);
	free(w->preload);
	free(w->argv);
	free(w->address);
	free(w->envp);
	free(w->path);
	free(w->cwd);
	*w = (struct worker_spawn){ 0 };
}
