/*
 * A file has one rotation. Where streams share a file, and only some of them say that it is rotated, all of them must be
 * read by the supervisor: what a program writes by itself would go on in the backup, and with that be deleted.
 */
#include <string.h>

#include "base/cleanup.h"
#include "base/xalloc.h"
#include "conf/load.h"

struct rotated {
	UT_hash_handle hh;
	const char *path; /* stored: equal paths are one pointer */
	struct conf_log log;
	const char *by;
};

static void note(struct rotated **table, const char *path, struct conf_log log, const char *by)
{
	struct rotated *r;

	HASH_FIND_PTR(*table, &path, r);
	if (r != NULL)
		return;
	r = xmalloc(sizeof(*r));
	*r = (struct rotated){ .path = path, .log = log, .by = by };
	HASH_ADD_PTR(*table, path, r);
}

static void note_all(struct loader *l, struct rotated **table)
{
	const struct conf_supervisord *s = &l->conf->supervisord;
	struct conf_log own = { .maxbytes = s->logfile_maxbytes,
				.backups = s->logfile_backups,
				.compress = s->logfile_compress };

	if (s->logfile != NULL && own.maxbytes > 0)
		note(table, store_str(l->conf->store, s->logfile), own, "supervisord");
	for (size_t i = 0; i < l->conf->n_procs; i++) {
		const struct conf_proc *p = &l->conf->procs[i];

		for (int is_err = 0; is_err < 2; is_err++) {
			const struct conf_log *log = is_err ? &p->err : &p->out;

			if (log->path != NULL && log->maxbytes > 0)
				note(table, log->path, *log, p->name);
		}
	}
}

/* Devices and what stands for our own descriptors are never rotated. */
static bool can_rotate(const char *path)
{
	return strncmp(path, "/dev/", 5) != 0 && strncmp(path, "/proc/", 6) != 0;
}

static void agree(struct loader *l, struct rotated *table, struct conf_proc *p, bool is_err)
{
	struct conf_log *log = is_err ? &p->err : &p->out;
	AUTO_FREE char *key = NULL;
	struct rotated *r = NULL;
	struct conf_log *written;

	if (log->path != NULL && log->maxbytes <= 0 && can_rotate(log->path))
		HASH_FIND_PTR(table, &log->path, r);
	if (r == NULL)
		return;
	written = store_alloc(l->conf->store, sizeof(*written));
	*written = *log;
	log->written = written;
	log->maxbytes = r->log.maxbytes;
	log->backups = r->log.backups;
	log->compress = r->log.compress;
	if (p->process_num != p->numprocs_start)
		return; /* once for all of them */
	key = xasprintf("%s:%s.%s_logfile_maxbytes", conf_kind_word(p->kind), p->program,
			is_err ? "stderr" : "stdout");
	report_add(&l->report, CONF_WARNING, &p->place, key,
		   "0 does not count: '%s' is also a log of %s, rotated at %lld bytes", log->path,
		   r->by, (long long)log->maxbytes);
}

void load_rotation(struct loader *l)
{
	struct rotated *table = NULL, *r, *next;

	note_all(l, &table);
	for (size_t i = 0; table != NULL && i < l->conf->n_procs; i++) {
		agree(l, table, &l->conf->procs[i], false);
		agree(l, table, &l->conf->procs[i], true);
	}
	HASH_ITER (hh, table, r, next) {
		HASH_DEL(table, r);
		free(r);
	}
}
