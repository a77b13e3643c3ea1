/*
 * What a configuration names and is not there now. See missing.h; where it is looked for, and the words, are those of a start.
 */
#include "mpsup/missing.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/xalloc.h"
#include "conf/conf.h"
#include "conf/report.h"
#include "sup/worker.h"

struct look {
	struct worker_base base;
	struct report report;
};

static void note(struct look *l, const struct conf_proc *proc, const struct conf_place *place,
		 const char *key, const char *text)
{
	AUTO_FREE char *label =
		xasprintf("%s:%s.%s", conf_kind_word(proc->kind), proc->program, key);

	report_add(&l->report, CONF_NOTE, place, label, "%s", text);
}

static void note_failure(struct look *l, const struct conf_proc *proc,
			 const struct conf_place *place, const char *key, enum mps_step step,
			 int error)
{
	AUTO_FREE char *text = worker_failure_text(&l->base, proc, step, error, NULL);

	note(l, proc, place, key, text);
}

/* 0, or the errno of an exec. Who may execute it is the kernel's to say, and to whom. */
static int exec_error(const char *path)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return errno == ENOENT || errno == ENOTDIR ? errno : 0;
	return S_ISREG(st.st_mode) && (st.st_mode & 0111) != 0 ? 0 : EACCES;
}

static int chdir_error(const char *path)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return errno == ENOENT || errno == ENOTDIR ? errno : 0;
	return S_ISDIR(st.st_mode) ? 0 : ENOTDIR;
}

/* True where it can be read, or need not be. */
static bool look_for_env_file(struct look *l, const struct conf_proc *proc)
{
	struct err err = ERR_INIT;
	char **variables = NULL;
	int r;

	if (proc->env_file == NULL)
		return true;
	r = conf_read_env_file(proc->env_file, &variables, &err);
	conf_strv_free(variables);
	if (r == 0 || (r == -ENOENT && proc->env_file_optional))
		return true;
	note(l, proc, &proc->place_env_file, "env_file", err.text);
	return false;
}

static void look_at(struct look *l, const struct conf_proc *proc)
{
	struct conf_proc bare = *proc; /* places stand before notes, not in them */
	struct err err = ERR_INIT;
	struct worker_spawn w;
	int error = proc->directory != NULL ? chdir_error(proc->directory) : 0;

	bare.place = bare.place_command = bare.place_directory = (struct conf_place){ 0 };
	bare.user = NULL;
	if (error != 0)
		note_failure(l, &bare, &proc->place_directory, "directory", MPS_STEP_CHDIR, error);
	if (!look_for_env_file(l, proc))
		bare.env_file = NULL;
	if (proc->argv == NULL)
		return;
	if (worker_prepare(&l->base, &bare, proc->name, 0, &w, &err) < 0) {
		note(l, proc, &proc->place_command, "command", err.text);
		return;
	}
	error = proc->entry == NULL ? exec_error(w.path) : 0;
	if (error != 0)
		note_failure(l, &bare, &proc->place_command, "command", MPS_STEP_EXEC, error);
	worker_spawn_fini(&w);
}

void missing_note(struct conf *conf)
{
	struct look l = { .report = { .store = conf->store,
				      .messages = conf->messages,
				      .n = conf->n_messages,
				      .cap = conf->n_messages,
				      .n_errors = conf->n_errors } };

	/* As the supervisor: relative paths start there. */
	if (conf->supervisord.directory != NULL && chdir(conf->supervisord.directory) < 0)
		return;
	worker_base_init(&l.base, conf, "", "/");
	/* Of the processes of one section, which stand together, one tells enough. */
	for (size_t i = 0; i < conf->n_procs; i++)
		if (i == 0 || conf->procs[i].program != conf->procs[i - 1].program)
			look_at(&l, &conf->procs[i]);
	worker_base_fini(&l.base);
	report_finish(&l.report, conf);
}
