/*
 * What sem_open(3) of glibc leaves behind when it is killed half-way: it makes /dev/shm/sem.XXXXXX, links that to the name,
 * and unlinks it. Either the link is there already, then the inode tells whose it is; or not yet, then there is a record
 * of a semaphore that nobody has seen, told of just before.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/mtime.h"
#include "track/look.h"

/* More at a time there are not: as many calls would have to be killed in the same microseconds. */
enum { RANDOM_LENGTH = 6, TEMPORARIES_MAX = 256 };

struct temporary {
	char name[1 + RANDOM_LENGTH + 1]; /* as if it were a semaphore: "/XXXXXX" */
	struct look look;
};

static bool is_random(const char *file)
{
	static const char set[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

	return strncmp(file, "sem.", 4) == 0 && strspn(file + 4, set) == RANDOM_LENGTH &&
	       file[4 + RANDOM_LENGTH] == '\0';
}

/* Those that have no record of their own. How many, or -errno. */
static int list(const struct track_registry *r, struct temporary *all)
{
	DIR *dir = opendir("/dev/shm");
	const struct dirent *e;
	int n = 0;

	if (dir == NULL)
		return -errno;
	while (n < TEMPORARIES_MAX && (e = readdir(dir)) != NULL) {
		struct temporary t = { .name = "/", .look = LOOK_INIT };

		if (!is_random(e->d_name))
			continue;
		memcpy(t.name + 1, e->d_name + 4, RANDOM_LENGTH + 1);
		if (track_find(r, TRACK_SEMAPHORE, t.name, strlen(t.name)) == NULL &&
		    file_look(TRACK_SEMAPHORE, t.name, &t.look) == 0 &&
		    S_ISREG(t.look.st.stx_mode) && t.look.st.stx_size <= sizeof(long[4]))
			all[n++] = t;
		look_fini(&t.look);
	}
	closedir(dir);
	return n;
}

/* One that has its name already is known by that, though nobody may have looked at it yet. */
static bool is_of(const struct temporary *t, struct track_record *record)
{
	const struct look *l = &t->look;

	if (record->type != TRACK_SEMAPHORE || l->uid != record->creator.uid)
		return false;
	if (l->st.stx_nlink > 1)
		object_settle(record);
	if (record->identity.ino != 0)
		return record->identity.ino == l->identity.ino &&
		       record->identity.born_ns == l->identity.born_ns;
	return l->st.stx_nlink == 1 && l->not_before_ns >= record->told_ns - l->tick_ns &&
	       l->not_before_ns <= record->told_ns + MPS_NS_PER_S;
}

static const struct track_record *find(const struct track_registry *r,
				       const struct track_owner *owner, const struct temporary *t)
{
	struct track_record *at;

	if (owner != NULL) {
		for (at = owner->first; at != NULL; at = at->next)
			if (is_of(t, at))
				return at;
		return NULL;
	}
	for (size_t i = 0; i < r->n_buckets; i++)
		for (at = r->buckets[i]; at != NULL; at = at->next_in_bucket)
			if (is_of(t, at))
				return at;
	return NULL;
}

static bool adopt(struct track_registry *r, const struct temporary *t,
		  const struct track_record *of)
{
	struct track_record *record =
		track_add(r, of->owner, TRACK_SEMAPHORE, t->name, strlen(t->name), &of->creator);

	if (record == NULL)
		return false;
	track_told(r, record, of->told_ns);
	record->identity = t->look.identity;
	return true;
}

int object_adopt_temporaries(struct track_registry *r, struct track_owner *owner)
{
	AUTO_FREE struct temporary *all = calloc(TEMPORARIES_MAX, sizeof(*all));
	int n = all != NULL ? list(r, all) : -ENOMEM, adopted = 0;

	for (int i = 0; i < n; i++) {
		const struct track_record *of = find(r, owner, &all[i]);

		adopted += of != NULL && adopt(r, &all[i], of);
	}
	return n < 0 ? n : adopted;
}
