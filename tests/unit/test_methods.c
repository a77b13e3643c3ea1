/*
 * Each start method with a command and with an entry, by a real keeper: what becomes of it is told in the same way.
 */
#include <pwd.h>
#include <sys/stat.h>

#include "../keeper_scene.h"

__attribute__((constructor)) static void play_role(void)
{
	const char *role = getenv(PEER_ROLE);

	if (role != NULL && strcmp(role, "supervisor") == 0)
		peer_be_supervisor();
}

enum file { GOOD, MISSING, CLOSED, N_FILES };

/* What is started: a worker of the end-to-end tests, as a program and as an object, where anybody can read it. */
struct files {
	char folder[32];
	char path[N_FILES][2][64]; /* 1 = an object */
	uid_t nobody;
	gid_t group;
};

static void copy(const char *name, const char *to, mode_t mode)
{
	const char *b = getenv("B");
	char from[4096], buf[1 << 16];
	AUTO_CLOSE int in = -1, out = -1;
	ssize_t n;

	snprintf(from, sizeof(from), "%s/e2e/%s", b != NULL ? b : "build/gcc", name);
	in = open(from, O_RDONLY | O_CLOEXEC);
	out = open(to, O_WRONLY | O_CREAT | O_CLOEXEC, 0700);
	cr_assert(in >= 0 && out >= 0, "%s to %s: %s", from, to, strerror(errno));
	while ((n = read(in, buf, sizeof(buf))) > 0)
		cr_assert_eq(write(out, buf, (size_t)n), n);
	cr_assert_eq(fchmod(out, mode), 0);
}

static void open_files(struct files *f)
{
	static const char *const names[N_FILES] = { "good", "missing", "closed" };
	const struct passwd *nobody = getpwnam("nobody");

	f->nobody = nobody != NULL ? nobody->pw_uid : 65534;
	f->group = nobody != NULL ? nobody->pw_gid : 65534;
	strcpy(f->folder, "/tmp/mpsup-test.XXXXXX");
	cr_assert_not_null(mkdtemp(f->folder));
	cr_assert_eq(chmod(f->folder, 0711), 0);
	for (int i = 0; i < N_FILES; i++)
		for (int so = 0; so < 2; so++) {
			snprintf(f->path[i][so], sizeof(f->path[i][so]), "%s/%s%s", f->folder,
				 names[i], so ? ".so" : "");
			if (i != MISSING)
				copy(so ? "worker.so" : "worker", f->path[i][so],
				     i == CLOSED ? 0 : 0755);
		}
}

static void close_files(const struct files *f)
{
	for (int i = 0; i < N_FILES; i++)
		for (int so = 0; so < 2; so++)
			unlink(f->path[i][so]);
	cr_expect_eq(rmdir(f->folder), 0);
}

static const struct row {
	const char *name;
	enum file file;
	const char *args[3];
	const char *symbol; /* NULL = main; then for an entry only */
	bool as_nobody;
	int kill;
	/* As it ends, or, with a step, why it is not started: an error for a command, a text for an entry. */
	int code, status;
	enum mps_step command_step;
	int error;
	const char *text;
} rows[] = {
	{ "exit", GOOD, { "--exit", "3" }, .code = CLD_EXITED, .status = 3 },
	{ "crash", GOOD, { "--signal", "SEGV" }, .code = CLD_KILLED, .status = SIGSEGV },
	{ "kill", GOOD, .kill = SIGKILL, .code = CLD_KILLED, .status = SIGKILL },
	{ "user", GOOD, .as_nobody = true, .kill = SIGTERM, .code = CLD_KILLED, .status = SIGTERM },
	{ "missing", MISSING, .command_step = MPS_STEP_EXEC, .error = ENOENT,
	  .text = "cannot open shared object file: No such file or directory" },
	{ "closed", CLOSED, .as_nobody = true, .command_step = MPS_STEP_EXEC, .error = EACCES,
	  .text = "cannot open shared object file: Permission denied" },
	{ "symbol", GOOD, .symbol = "no_such", .text = "undefined symbol: no_such" },
};

static void ask(struct scene *s, const struct files *f, const struct row *row, bool entry,
		enum mps_spawn_method method, uint32_t gen)
{
	static char *no_env[] = { NULL };
	const struct mps_fd fds[] = { { 0, MPS_FD_NULL, MPS_FD_ROLE }, { 1, 0, 0 }, { 2, 0, 0 } };
	/* The good one is loaded already, the others are not. */
	char *preload[] = { (char *)f->path[GOOD][1], NULL };
	char *argv[] = { (char *)"worker", (char *)row->args[0], (char *)row->args[1], NULL };
	const struct mps_spawn spawn = {
		.path = f->path[row->file][entry],
		.symbol = !entry		? NULL
			  : row->symbol != NULL ? row->symbol
						: "main",
		.argv = argv,
		.envp = no_env,
		.fds = fds,
		.n_fds = ARRAY_SIZE(fds),
		.session = MPS_SESSION_NEW,
		.umask = -1,
		.set_user = row->as_nobody && geteuid() == 0,
		.uid = f->nobody,
		.gid = f->group,
		.method = method,
		.server = method == MPS_METHOD_FORKSERVER ? "one" : NULL,
		.preload = method == MPS_METHOD_FORKSERVER ? preload : NULL,
		.pdeathsig = SIGKILL,
	};
	const struct keeper_message m = { .type = KEEPER_START, .instance = 1, .gen = gen };
	AUTO_BUF rest = BUF_INIT;

	mps_spawn_encode(&spawn, &rest);
	cr_assert_eq(peer_send(&s->p, &m, &rest, &s->out[1], 1), 0);
}

/* The next that is about the worker. */
static struct keeper_message next(struct scene *s)
{
	struct keeper_message m = { 0 };

	do
		cr_assert_eq(peer_recv(&s->p, &m), 0);
	while (m.type == KEEPER_SERVER);
	return m;
}

static void runs(struct scene *s, const struct files *f, const struct row *row, const char *what,
		 uint32_t gen)
{
	struct keeper_message m = next(s);
	char path[32];
	struct stat st;
	pid_t pid = m.pid;

	cr_assert_eq(m.type, KEEPER_STARTED, "%s: %d %s", what, m.type, m.text ? m.text : "");
	snprintf(path, sizeof(path), "/proc/%d", pid);
	if (row->as_nobody && geteuid() == 0)
		cr_expect(stat(path, &st) == 0 && st.st_uid == f->nobody, "%s: user", what);
	if (row->kill != 0)
		peer_signal(&s->p, 1, gen, row->kill, KEEPER_SCOPE_MAIN);
	m = next(s);
	cr_assert_eq(m.type, KEEPER_EXITED, "%s", what);
	cr_expect(m.pid == pid && m.gen == gen && !m.tree_left, "%s", what);
	cr_expect_eq(m.code == CLD_DUMPED ? CLD_KILLED : m.code, (uint32_t)row->code, "%s", what);
	cr_expect_eq(m.status, (uint32_t)row->status, "%s", what);
}

static void fails(struct scene *s, const struct row *row, bool entry, const char *what)
{
	struct keeper_message m = next(s);

	cr_assert_eq(m.type, KEEPER_FAILED, "%s: %d", what, m.type);
	cr_expect_eq(m.code, (uint32_t)(entry ? MPS_STEP_ENTRY : row->command_step), "%s", what);
	if (!entry)
		cr_expect_eq(m.status, (uint32_t)row->error, "%s", what);
	else
		cr_expect_str_eq(m.text, row->text, "%s", what);
}

static void walk(const struct files *f, const struct kernel *kernel)
{
	static const char *const methods[] = { "spawn", "fork", "forkserver" };
	const struct peer_options o = { .no = kernel->no };
	struct scene s;
	uint32_t gen = 0;

	open_scene_with(&s, &o);
	for (size_t i = 0; i < 2 * ARRAY_SIZE(methods) * ARRAY_SIZE(rows); i++) {
		const struct row *row = &rows[i / 2 / ARRAY_SIZE(methods)];
		unsigned method = i / 2 % ARRAY_SIZE(methods);
		bool entry = i % 2 != 0;
		char what[128];

		snprintf(what, sizeof(what), "%s of %s by %s, %s", row->name,
			 entry ? "an entry" : "a command", methods[method], kernel->name);
		if (!entry && row->symbol != NULL)
			continue;
		ask(&s, f, row, entry, (enum mps_spawn_method)method, ++gen);
		if (row->text != NULL)
			fails(&s, row, entry, what);
		else
			runs(&s, f, row, what, gen);
	}
	finish(&s);
}

Test(methods, each_is_told_of_in_the_same_way)
{
	struct files f;

	open_files(&f);
	walk(&f, &kernels[0]);
	walk(&f, &kernels[ARRAY_SIZE(kernels) - 1]);
	close_files(&f);
}
