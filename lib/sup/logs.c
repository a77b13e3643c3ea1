/*
 * The shared memory of the logs: its layout, windows and slots. See logs.h; what moves bytes there
 * is logs_record.c.
 */
#include "sup/logs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/hash.h"
#include "base/limits.h"
#include "base/xalloc.h"
#include "sup/logs_record.h"

#define LOGS_MAGIC UINT64_C(0x33736770756d) /* "mpugs3": the layout here and in logs_record.h */

enum { INSTANCES_MIN = 64 }; /* with less room there is no beginning */

struct log_capture {
	uint64_t marks, inside, ending, spare;
};

struct log_left {
	uint64_t key;
	uint32_t slot;
	UT_hash_handle hh;
};

/* Sparse: only what was touched exists. */
#define AT_CAPTURES ((size_t)4096)

static size_t at_slots(const struct logs *l)
{
	return AT_CAPTURES + logs_n_captures(l) * sizeof(struct log_capture);
}

static size_t at_windows(const struct logs *l)
{
	return (at_slots(l) + logs_n_slots(l) * sizeof(struct log_slot) + 4095) / 4096 * 4096;
}

static size_t at_sinks(const struct logs *l)
{
	return at_windows(l) + logs_n_captures(l) * LOGS_CAPTURE_SIZE;
}

static size_t total(const struct logs *l)
{
	return at_sinks(l) + logs_n_slots(l) * LOGS_SINK_SIZE;
}

static char *at(struct logs *l, size_t offset)
{
	return (char *)l->head + offset;
}

static struct log_capture *capture_of(struct logs *l, uint32_t capture)
{
	return (struct log_capture *)at(l, AT_CAPTURES) + capture;
}

struct log_slot *logs_slot(struct logs *l, uint32_t slot)
{
	return (struct log_slot *)at(l, at_slots(l)) + slot;
}

/* --------------------------------------------------------------------------------------------------- memory */

static void add_free(struct logs *l, uint32_t slot)
{
	if (l->n_free == l->cap_free) {
		l->cap_free = l->cap_free > 0 ? 2 * l->cap_free : 64;
		l->free_slots = xrealloc(l->free_slots, l->cap_free * sizeof(*l->free_slots));
	}
	l->free_slots[l->n_free++] = slot;
}

static void add_left(struct logs *l, uint32_t slot)
{
	struct log_left *left = xcalloc(1, sizeof(*left));

	left->key = logs_slot(l, slot)->key;
	left->slot = slot;
	HASH_ADD(hh, l->left, key, sizeof(left->key), left);
}

/* Its slot, or -1. */
static int64_t take_left(struct logs *l, struct log_left *left)
{
	uint32_t slot;

	if (left == NULL)
		return -1;
	slot = left->slot;
	HASH_DEL(l->left, left);
	free(left);
	return slot;
}

/* What a commit writes are words of captures and of slots. */
static bool words_fit(const struct logs *l)
{
	const struct log_head *h = l->head;

	if (h->n_words > LOGS_COMMIT_MAX)
		return false;
	for (uint64_t i = 0; i < h->n_words; i++)
		if (h->words[i].at < AT_CAPTURES || h->words[i].at > at_windows(l) - 8 ||
		    h->words[i].at % 8 != 0)
			return false;
	return true;
}

static int adopt(struct logs *l)
{
	if (l->mid[0] < 0 || l->mid[1] < 0 || l->head->used > logs_n_slots(l) || !words_fit(l))
		return -EINVAL;
	logs_finish_commit(l);
	for (uint32_t i = 0; i < l->head->used; i++) {
		if (logs_slot(l, i)->from > logs_n_captures(l))
			return -EINVAL;
		if (logs_slot(l, i)->key != 0)
			add_left(l, i);
		else
			add_free(l, i);
	}
	return logs_finish_moves(l);
}

static int map(struct logs *l)
{
	void *p = mmap(NULL, total(l), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, l->memfd,
		       0);

	if (p == MAP_FAILED)
		return -errno;
	l->head = p;
	madvise(p, total(l), MADV_DONTDUMP);
	return 0;
}

/* Room for all instances that there may be, unless the limit of the address space (ulimit -v) is too low for that. */
static int map_new(struct logs *l)
{
	struct rlimit limit = { RLIM_INFINITY, RLIM_INFINITY };
	int r = -ENOMEM;

	getrlimit(RLIMIT_AS, &limit);
	for (l->instances = KEEPER_INSTANCES_MAX; r == -ENOMEM && l->instances >= INSTANCES_MIN;) {
		if (total(l) <= limit.rlim_cur / 2)
			r = map(l);
		if (r == -ENOMEM)
			l->instances /= 2;
	}
	return r;
}

/* It is mostly holes, but a limit of the size of files counts them. */
static int set_size(const struct logs *l)
{
	struct rlimit before, most;
	int r;

	getrlimit(RLIMIT_FSIZE, &before);
	most = (struct rlimit){ before.rlim_max, before.rlim_max };
	setrlimit(RLIMIT_FSIZE, &most);
	r = ftruncate(l->memfd, (off_t)total(l)) < 0 ? -errno : 0;
	setrlimit(RLIMIT_FSIZE, &before);
	return r;
}

/* Behind its end there is SIGBUS. */
static int map_kept(struct logs *l)
{
	struct log_head head;
	struct stat st;

	if (fstat(l->memfd, &st) < 0)
		return -errno;
	if (pread(l->memfd, &head, sizeof(head), 0) != sizeof(head) || head.magic != LOGS_MAGIC ||
	    head.instances == 0 || head.instances > KEEPER_INSTANCES_MAX)
		return -EINVAL;
	l->instances = (uint32_t)head.instances;
	return st.st_size >= (off_t)total(l) ? map(l) : -EINVAL;
}

static int create(struct logs *l)
{
	int r;

	l->memfd = memfd_create("mpsup-logs", MFD_CLOEXEC);
	if (l->memfd < 0)
		return -errno;
	r = map_new(l);
	if (r == 0)
		r = set_size(l);
	if (r < 0)
		return r;
	l->head->instances = l->instances;
	if (pipe2(l->mid, O_CLOEXEC | O_NONBLOCK) < 0)
		return -errno;
	fcntl(l->mid[1], F_SETPIPE_SZ, LOGS_READ_MAX); /* or less at a time */
	return 0;
}

int logs_init(struct logs *l, int memfd, const int mid[2])
{
	bool is_new = memfd < 0;
	int r = 0;

	*l = (struct logs){ .memfd = memfd, .mid = { mid ? mid[0] : -1, mid ? mid[1] : -1 } };
	r = is_new ? create(l) : map_kept(l);
	if (r == 0 && is_new)
		log_store(&l->head->magic, LOGS_MAGIC);
	else if (r == 0)
		r = adopt(l);
	if (r < 0)
		logs_fini(l);
	return r;
}

void logs_fini(struct logs *l)
{
	if (l->head != NULL)
		munmap(l->head, total(l));
	fd_close(&l->memfd);
	fd_close(&l->mid[0]);
	fd_close(&l->mid[1]);
	free(l->free_slots);
	while (take_left(l, l->left) >= 0)
		;
	*l = (struct logs){ .memfd = -1, .mid = { -1, -1 } };
}

/* ------------------------------------------------------------------------------------------------- windows */

/* Marks that make no sense are of nobody: the window is empty. */
static struct window window_at(struct logs *l, uint64_t *marks, size_t offset, uint32_t size)
{
	struct window w = { .marks = marks, .p = at(l, offset), .size = size };

	if (window_head(&w) > window_tail(&w) || window_tail(&w) > size)
		window_set(&w, 0, 0);
	return w;
}

void logs_capture_window(struct logs *l, uint32_t capture, struct window *ret)
{
	*ret = window_at(l, &capture_of(l, capture)->marks,
			 at_windows(l) + (size_t)capture * LOGS_CAPTURE_SIZE, LOGS_CAPTURE_SIZE);
}

uint64_t *logs_capture_inside(struct logs *l, uint32_t capture)
{
	return &capture_of(l, capture)->inside;
}

uint64_t *logs_capture_ending(struct logs *l, uint32_t capture)
{
	return &capture_of(l, capture)->ending;
}

void logs_slot_window(struct logs *l, uint32_t slot, struct window *ret)
{
	*ret = window_at(l, &logs_slot(l, slot)->marks, at_sinks(l) + (size_t)slot * LOGS_SINK_SIZE,
			 LOGS_SINK_SIZE);
}

static void punch(struct logs *l, const struct window *w)
{
	fallocate(l->memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, w->p - (char *)l->head,
		  w->size);
}

void logs_capture_drop(struct logs *l, uint32_t capture)
{
	struct window w;

	logs_capture_window(l, capture, &w);
	log_store(logs_capture_ending(l, capture), 0);
	if (*w.marks == 0 && *logs_capture_inside(l, capture) == 0)
		return;
	window_set(&w, 0, 0);
	log_store(logs_capture_inside(l, capture), 0);
	punch(l, &w);
}

void logs_touch(struct logs *l, struct window *w)
{
	w->used = true;
	if (w->warm)
		return;
	w->warm = true;
	w->next = l->warm;
	l->warm = w;
}

void logs_forget(struct logs *l, struct window *w)
{
	struct window **p = &l->warm;

	while (w->warm && *p != w)
		p = &(*p)->next;
	if (w->warm)
		*p = w->next;
	w->warm = false;
}

bool logs_trim(struct logs *l)
{
	for (struct window **p = &l->warm; *p != NULL;) {
		struct window *w = *p;

		if (w->used) {
			w->used = false;
			p = &w->next;
			continue;
		}
		*p = w->next;
		w->warm = false;
		if (window_len(w) == 0)
			punch(l, w);
	}
	return l->warm != NULL;
}

/* --------------------------------------------------------------------------------------------------- slots */

uint32_t logs_slot_take(struct logs *l, uint64_t key)
{
	struct log_left *left;
	struct log_slot *slot;
	uint32_t i;

	HASH_FIND(hh, l->left, &key, sizeof(key), left);
	if (left != NULL)
		return (uint32_t)take_left(l, left);
	if (l->n_free > 0) {
		i = l->free_slots[--l->n_free];
	} else {
		if (l->head->used >= logs_n_slots(l))
			abort(); /* there are as many captures as there are slots */
		i = (uint32_t)l->head->used;
		log_store(&l->head->used, i + 1u);
	}
	slot = logs_slot(l, i);
	log_store(&slot->marks, 0);
	log_store(&slot->n, 0);
	log_store(&slot->key, key);
	return i;
}

void logs_slot_free(struct logs *l, uint32_t i)
{
	struct window w;

	logs_slot_window(l, i, &w);
	log_store(&logs_slot(l, i)->key, 0);
	punch(l, &w);
	add_free(l, i);
}

void logs_slots_adopted(struct logs *l)
{
	int64_t slot;

	while ((slot = take_left(l, l->left)) >= 0)
		logs_slot_free(l, (uint32_t)slot);
}
