/*
 * What is the same for all kinds of objects: is what has the name now what was told of? The rest is object_file.c's and
 * object_sysv.c's.
 */
#include "track/object.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/fd.h"
#include "proc/pidfd.h"
#include "proc/tree.h"
#include "track/look.h"

#define MQUEUE_MAGIC 0x19800202 /* ipc/mqueue.c */

int object_look(enum track_type type, const char *name, struct look *ret)
{
	return track_type_is_sysv(type) ? sysv_look(type, name, ret) : file_look(type, name, ret);
}

void look_fini(struct look *l)
{
	fd_close(&l->fd);
	free(l->path);
}

bool object_identify(enum track_type type, const char *name, struct track_identity *ret)
{
	AUTO_LOOK now = LOOK_INIT;
	int r = object_look(type, name, &now);

	*ret = (struct track_identity){ 0 };
	if (r < 0) {
		errno = -r;
		return false;
	}
	*ret = now.identity;
	return true;
}

/* True where it can be what the record was told of. */
bool object_may_be(const struct track_record *record, const struct look *now)
{
	return now->uid == record->creator.uid &&
	       now->not_before_ns >= record->told_ns - now->tick_ns;
}

bool object_is_same(const struct track_record *record, const struct look *now)
{
	const struct track_identity *is = &now->identity, *was = &record->identity;

	if (now->uid != record->creator.uid || is->ino != was->ino)
		return false;
	return track_type_is_sysv(record->type) ? is->born_ns >= was->born_ns
						: is->born_ns == was->born_ns;
}

bool object_settle(struct track_record *record)
{
	AUTO_LOOK now = LOOK_INIT;

	if (track_knows(record) || object_look(record->type, record->name, &now) < 0)
		return true;
	if (!object_may_be(record, &now))
		return false;
	record->identity = now.identity;
	return true;
}

bool object_learn(struct track_record *record)
{
	return !track_knows(record) && object_settle(record) && track_knows(record);
}

/* Mostly it is about to be made; then it is known when it is there. Cheaper than to look for what it is. */
bool object_is_absent(enum track_type type, const char *name)
{
	char path[NAME_MAX + sizeof("/dev/shm/sem.")];
	int n;

	if (type != TRACK_SEMAPHORE && type != TRACK_SHARED_MEMORY)
		return false;
	n = snprintf(path, sizeof(path), "/dev/shm/%s%s", type == TRACK_SEMAPHORE ? "sem." : "",
		     name + 1);
	return n < (int)sizeof(path) && access(path, F_OK) < 0 && errno == ENOENT;
}

bool object_has_creator(const struct track_record *record)
{
	struct proc_stat st;

	if (kill(record->creator.pid, 0) < 0 && errno == ESRCH)
		return false;
	return proc_stat_read(record->creator.pid, &st) == 0 &&
	       record->creator.start == st.start_ticks && process_runs(record->creator.pid, &st);
}

static enum object_state ask_hidden(const struct track_record *record, bool unlink,
				    enum object_state otherwise)
{
	enum object_state state = OBJECT_ABSENT;

	if (track_knows(record) && !track_type_is_sysv(record->type))
		state = file_ask_hidden(record, unlink);
	return state != OBJECT_ABSENT ? state : otherwise;
}

static enum object_state ask_once(struct track_record *record, struct task *task)
{
	AUTO_LOOK now = LOOK_INIT;
	int r = object_look(record->type, record->name, &now);

	if (r == -ENOENT)
		return ask_hidden(record, task->unlink, OBJECT_ABSENT);
	if (r < 0) {
		errno = -r;
		return OBJECT_UNKNOWN;
	}
	if (!track_knows(record) && object_may_be(record, &now))
		record->identity = now.identity;
	if (!track_knows(record) || !object_is_same(record, &now))
		return ask_hidden(record, task->unlink, OBJECT_FOREIGN);
	return track_type_is_sysv(record->type) ? sysv_ask(record, task->unlink)
						: file_ask(record, &now, task);
}

/*
 * Whoever else asks gives it back its name where it is not free: that may be between our look for
 * that and for the other.
 */
static enum object_state ask(struct track_record *record, struct task *task)
{
	enum object_state state = ask_once(record, task);

	return state == OBJECT_ABSENT && track_knows(record) ? ask_once(record, task) : state;
}

enum object_state object_ask(struct track_record *record)
{
	return ask(record, &(struct task){ .unlink = false });
}

enum object_state object_unlink(struct track_record *record)
{
	return ask(record, &(struct task){ .unlink = true });
}

bool object_unlink_some(struct track_record *record, struct object_walk *walk,
			struct mps_time until, enum object_state *ret)
{
	struct task task = { .unlink = true, .walk = walk, .until = until };
	enum object_state state = ask(record, &task);

	if (task.paused)
		return false;
	*walk = (struct object_walk){ 0 }; /* whoever asks again asks for all of it */
	*ret = state;
	return true;
}

static bool has_mqueue_folder(void)
{
	struct statfs st;

	return statfs("/dev/mqueue", &st) == 0 && st.f_type == MQUEUE_MAGIC;
}

char *object_path(enum track_type type, const char *name)
{
	struct buf b = BUF_INIT;

	switch (type) {
	case TRACK_SEMAPHORE:
		buf_addf(&b, "/dev/shm/sem.%s", name + 1);
		break;
	case TRACK_SHARED_MEMORY:
		buf_addf(&b, "/dev/shm%s", name);
		break;
	case TRACK_MQUEUE:
		if (!has_mqueue_folder())
			return NULL;
		buf_addf(&b, "/dev/mqueue%s", name);
		break;
	case TRACK_FILE:
	case TRACK_FOLDER:
		buf_adds(&b, name);
		break;
	case TRACK_SYSV_SEM:
	case TRACK_SYSV_SHM:
	case TRACK_SYSV_MSG:
	case N_TRACK_TYPES:
		return NULL;
	}
	return buf_take(&b);
}

enum track_type object_of_shm_file(const char *file, char **ret_name)
{
	bool is_sem = str_is_prefix("sem.", file) && file[4] != '\0';
	struct buf b = BUF_INIT;

	buf_addf(&b, "/%s", is_sem ? file + 4 : file);
	*ret_name = buf_take(&b);
	return is_sem ? TRACK_SEMAPHORE : TRACK_SHARED_MEMORY;
}
