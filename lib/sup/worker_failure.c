/*
 * What people read of a start that failed: what was tried, why it did not go, and where the key stands that says so. That
 * it failed is found by worker.c, the keeper or the child.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/xalloc.h"
#include "conf/conf.h"
#include "sup/worker.h"

/* "conf.d/web.conf:4": the file relative to the main one's folder where it lies below that. */
static void add_place(const struct worker_base *base, const struct conf_place *place, struct buf *b)
{
	const char *slash = strrchr(base->conf->path, '/');
	size_t n = slash != NULL ? (size_t)(slash - base->conf->path) + 1 : 0;
	const char *file = place->file;

	if (file == NULL || place->line <= 0)
		return;
	if (strncmp(file, base->conf->path, n) == 0)
		file += n;
	buf_addf(b, " (%s:%d)", file, place->line);
}

int worker_fail_at(const struct worker_base *base, const struct conf_place *place, int r,
		   struct err *err)
{
	AUTO_BUF b = BUF_INIT;

	buf_adds(&b, err->text);
	add_place(base, place, &b);
	return b.failed ? r : err_set(err, r, "%s", b.p);
}

/* The file that was to be executed, found again: to keep it for each program would be for nothing most of the time. */
static char *path_of(struct worker_base *base, const struct conf_proc *proc)
{
	struct err err = ERR_INIT;
	struct worker_spawn w;
	char *path;

	if (worker_prepare(base, proc, proc->name, 0, &w, &err) < 0)
		return xstrdup(proc->argv[0]);
	path = TAKE_PTR(w.path);
	worker_spawn_fini(&w);
	return path;
}

/* "#!INTERPRETER ARGUMENT": true with the rest of the first line; false for another kind of file. */
static bool read_script_line(const char *path, char *line, size_t size)
{
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, line, size - 1) : -1;

	if (n < 2 || line[0] != '#' || line[1] != '!')
		return false;
	line[n] = '\0';
	line[strcspn(line, "\n")] = '\0';
	memmove(line, line + 2, strlen(line + 2) + 1);
	return true;
}

/* The file is there and the kernel says ENOENT: what it needs in order to run is not. */
static void add_missing(const char *path, struct buf *b)
{
	char line[256]; /* BINPRM_BUF_SIZE: the kernel reads no more of it */
	char *interpreter = line;

	if (!read_script_line(path, line, sizeof(line))) {
		buf_adds(b, ": its dynamic loader does not exist");
		return;
	}
	interpreter += strspn(interpreter, " \t");
	interpreter[strcspn(interpreter, " \t\r")] = '\0';
	buf_addf(b, ": its interpreter %s ", interpreter);
	buf_adds(b, access(interpreter, F_OK) == 0 ? "exists, but the line has a CR at its end"
						   : "does not exist");
}

/* For both the kernel says what it says of a file that is closed to us. */
static const char *not_a_program(const char *path)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return NULL;
	if (S_ISDIR(st.st_mode))
		return "is a directory";
	return (st.st_mode & 0111) == 0 ? "is not executable" : NULL;
}

static void add_exec_error(const char *path, int error, struct buf *b)
{
	const char *what = error == EACCES ? not_a_program(path) : NULL;

	if (what != NULL) {
		buf_addf(b, ": %s", what);
		return;
	}
	if (error == ENOENT && access(path, F_OK) == 0) {
		add_missing(path, b);
		return;
	}
	buf_addf(b, ": %s", strerror(error));
	if (error == ENOEXEC)
		buf_adds(b, ": no #! line?");
}

/* "chdir /srv: Permission denied" without the first word. Where the key stands that is to blame. */
static const struct conf_place *add_cause(struct worker_base *base, const struct conf_proc *proc,
					  enum mps_step step, int error, const char *text,
					  struct buf *b)
{
	const struct conf_place *place = &proc->place;

	if (step == MPS_STEP_EXEC && proc->entry == NULL) {
		AUTO_FREE char *path = path_of(base, proc);

		buf_addf(b, " %s", path);
		add_exec_error(path, error, b);
		return &proc->place_command;
	}
	if (step == MPS_STEP_EXEC) {
		buf_adds(b, " mpsup-host");
	} else if (step == MPS_STEP_ENTRY) {
		buf_addf(b, " %.*s", (int)worker_object_length(proc), proc->entry);
		place = &proc->place_command;
	} else if (step == MPS_STEP_SERVER) {
		buf_addf(b, " %s", proc->forkserver);
	} else if (step == MPS_STEP_CHDIR) {
		buf_addf(b, " %s", proc->directory);
		place = &proc->place_directory;
	} else if (step == MPS_STEP_GROUPS || step == MPS_STEP_GID || step == MPS_STEP_UID) {
		buf_addf(b, " (user %s)", proc->user);
		place = &proc->place_user;
	}
	buf_addf(b, ": %s", text != NULL ? text : strerror(error));
	return place;
}

char *worker_failure_text(struct worker_base *base, const struct conf_proc *proc,
			  enum mps_step step, int error, const char *text)
{
	const struct conf_place *place;
	struct buf b = BUF_INIT;

	buf_adds(&b, mps_step_word(step));
	place = add_cause(base, proc, step, error, text, &b);
	add_place(base, place, &b);
	return xbuf_take(&b);
}
