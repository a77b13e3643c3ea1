/*
 * The shared memory of the logs and its records: see logs.h. A record is filled first and armed by its last word; a
 * SIGKILL comes between two stores, so that what is armed is complete. Each is made so that doing it again is harmless.
 */
#include "sup/logs.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/hash.h"
#include "base/limits.h"
#include "base/xalloc.h"

#define LOGS_MAGIC UINT64_C(0x33736770756d) /* "mpugs3": the layout below */

enum { INSTANCES_MIN = 64 }; /* with less room there is no beginning */

/*
 * From the program's pipe to a window: reading it directly could be killed after the kernel took the bytes and before
 * we counted them. So they are moved to a private pipe in one step, counted there, and what a kill leaves in it tells
 * how many of them have already been read.
 */
struct log_reading {
	uint64_t capture; /* number + 1; 0 = none */
	uint64_t tail;	  /* of the window, before */
	uint64_t n;	  /* 0 = not known yet: what the private pipe holds */
	uint64_t ending;  /* of the capture, before */
};

/*
 * The other way the same pipe tells how much a reader has got, which cannot be asked: what is to be written is put there
 * first, and spliced from there.
 */
struct log_writing {
	uint64_t slot; /* number + 1; 0 = none */
	uint64_t from; /* 0 = of the slot's own window, else the number of a capture + 1 */
	uint64_t head; /* of the window, before */
	uint64_t n;    /* 0 = it is being put there: nothing has gone out */
	uint64_t left; /* 0 = not known yet: what the private pipe holds; else that + 1 */
};

struct log_head {
	uint64_t magic;
	uint64_t instances; /* there is room for so many */
	uint64_t used;	    /* slots that were ever taken */
	struct log_reading reading;
	struct log_writing writing;
	uint64_t n_words; /* of a commit; 0 = none */
	struct {
		uint64_t at, value; /* at: in bytes from the start */
	} words[LOGS_COMMIT_MAX];
};

struct log_capture {
	uint64_t marks, inside, ending, spare;
};

struct log_left {
	uint64_t key;
	uint32_t slot;
	UT_hash_handle hh;
};

/* Sparse: only what was touched exists. */
static size_t n_captures(const struct logs *l)
{
	return (size_t)2 * l->instances;
}

static size_t n_slots(const struct logs *l)
{
	return n_captures(l) + 64;
}

#define AT_CAPTURES ((size_t)4096)

static size_t at_slots(const struct logs *l)
{
	return AT_CAPTURES + n_captures(l) * sizeof(struct log_capture);
}

static size_t at_windows(const struct logs *l)
{
	return (at_slots(l) + n_slots(l) * sizeof(struct log_slot) + 4095) / 4096 * 4096;
}

static size_t at_sinks(const struct logs *l)
{
	return at_windows(l) + n_captures(l) * LOGS_CAPTURE_SIZE;
}

static size_t total(const struct logs *l)
{
	return at_sinks(l) + n_slots(l) * LOGS_SINK_SIZE;
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

/* ------------------------------------------------------------------------------------------------ recovery */

/* The bytes are in the private pipe: nobody else takes them, so all of them come. */
static void take(struct logs *l, char *to, size_t n)
{
	while (n > 0) {
		ssize_t got = read(l->mid[0], to, n);

		if (got > 0) {
			to += got;
			n -= (size_t)got;
		} else if (got == 0 || errno != EINTR) {
			abort(); /* no memory behind the window: what the record says is done by who comes next */
		}
	}
}

/* Doing it twice is harmless: all is counted from what was before. */
static void count_read(struct logs *l, struct window *w, uint64_t n)
{
	const struct log_reading *r = &l->head->reading;

	window_set(w, window_head(w), (uint32_t)(r->tail + n));
	if (r->ending != 0)
		log_store(logs_capture_ending(l, (uint32_t)r->capture - 1), r->ending - n);
}

static int finish_reading(struct logs *l)
{
	struct log_reading *r = &l->head->reading;
	struct window w;
	int left = 0;
	uint64_t n;

	if (r->capture == 0)
		return 0;
	if (ioctl(l->mid[0], FIONREAD, &left) < 0)
		return -errno;
	n = r->n != 0 ? r->n : (uint64_t)left;
	if (r->capture > n_captures(l) || (uint64_t)left > n || n > LOGS_CAPTURE_SIZE ||
	    r->tail > LOGS_CAPTURE_SIZE - n)
		return -EINVAL;
	log_store(&r->n, n); /* we may be killed as well */
	logs_capture_window(l, (uint32_t)r->capture - 1, &w);
	if (r->tail < window_head(&w) || (r->ending != 0 && r->ending <= n))
		return -EINVAL;
	take(l, w.p + r->tail + n - (uint64_t)left, (size_t)left);
	count_read(l, &w, n);
	log_store(&r->capture, 0);
	return 0;
}

/* What nobody took is still in its window. */
static void throw_away(struct logs *l, size_t left)
{
	char rest[4096];

	while (left > 0) {
		size_t n = left < sizeof(rest) ? left : sizeof(rest);

		take(l, rest, n);
		left -= n;
	}
}

/* How many bytes of the window have gone out, or -errno. We may be killed here as well. */
static ssize_t finish_writing(struct logs *l, struct window *w)
{
	struct log_writing *o = &l->head->writing;
	uint64_t done = 0;
	int left = 0;

	if (ioctl(l->mid[0], FIONREAD, &left) < 0)
		return -errno;
	if (o->left == 0)
		log_store(&o->left, (uint64_t)left + 1);
	if (o->n > 0 && o->left - 1 > o->n)
		return -EINVAL;
	if (o->n > 0)
		done = o->n - (o->left - 1);
	window_set(w, (uint32_t)(o->head + done), window_tail(w));
	throw_away(l, (size_t)left);
	log_store(&o->slot, 0);
	return (ssize_t)done;
}

static int adopt_writing(struct logs *l)
{
	const struct log_writing *o = &l->head->writing;
	struct window w;

	if (o->slot == 0)
		return 0;
	if (o->slot > n_slots(l) || o->from > n_captures(l))
		return -EINVAL;
	if (o->from > 0)
		logs_capture_window(l, (uint32_t)o->from - 1, &w);
	else
		logs_slot_window(l, (uint32_t)o->slot - 1, &w);
	if (o->head > window_tail(&w) || o->n > window_tail(&w) - o->head)
		return -EINVAL;
	return finish_writing(l, &w) < 0 ? -EINVAL : 0;
}

static void finish_commit(struct log_head *h)
{
	for (uint64_t i = 0; i < h->n_words; i++)
		log_store((uint64_t *)((char *)h + h->words[i].at), h->words[i].value);
	log_store(&h->n_words, 0);
}

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
	int r;

	if (l->mid[0] < 0 || l->mid[1] < 0 || l->head->used > n_slots(l) || !words_fit(l))
		return -EINVAL;
	finish_commit(l->head);
	for (uint32_t i = 0; i < l->head->used; i++) {
		if (logs_slot(l, i)->from > n_captures(l))
			return -EINVAL;
		if (logs_slot(l, i)->key != 0)
			add_left(l, i);
		else
			add_free(l, i);
	}
	r = finish_reading(l);
	return r < 0 ? r : adopt_writing(l);
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
		if (l->head->used >= n_slots(l))
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

/* ------------------------------------------------------------------------------------------------- records */

/* Room at the end: what is left of the window's bytes goes to its start, where that does not overlap. */
static void make_room(struct window *w)
{
	uint32_t head = window_head(w), len = window_len(w);

	if (head == 0 || len > head || (len > 0 && w->size - window_tail(w) >= LOGS_READ_MAX))
		return;
	memcpy(w->p, w->p + head, len);
	window_set(w, 0, len);
}

ssize_t logs_read(struct logs *l, uint32_t capture, struct window *w, int fd, size_t max)
{
	struct log_reading *r = &l->head->reading;
	uint32_t tail;
	ssize_t n;

	make_room(w);
	tail = window_tail(w);
	if (max > LOGS_READ_MAX)
		max = LOGS_READ_MAX;
	if (max > w->size - tail)
		max = w->size - tail;
	if (max == 0)
		return 0;
	log_store(&r->tail, tail);
	log_store(&r->n, 0);
	log_store(&r->ending, *logs_capture_ending(l, capture));
	log_store(&r->capture, capture + 1u);
	n = splice(fd, NULL, l->mid[1], NULL, max, SPLICE_F_NONBLOCK | SPLICE_F_MOVE);
	if (n > 0) {
		log_store(&r->n, (uint64_t)n);
		take(l, w->p + tail, (size_t)n);
		count_read(l, w, (uint64_t)n);
		logs_touch(l, w);
	} else {
		n = n < 0 ? -errno : -EAGAIN;
	}
	log_store(&r->capture, 0);
	return n;
}

enum { WRITE_MAX = 32 << 10 }; /* a full pipe leaves most of it, which is put back */

ssize_t logs_write(struct logs *l, uint32_t slot, uint64_t from, struct window *w, int fd,
		   size_t max)
{
	struct log_writing *o = &l->head->writing;
	uint32_t head = window_head(w);
	ssize_t n, done;
	int error = 0;

	if (max > WRITE_MAX)
		max = WRITE_MAX;
	log_store(&o->n, 0);
	log_store(&o->left, 0);
	log_store(&o->head, head);
	log_store(&o->from, from);
	log_store(&o->slot, slot + 1u);
	n = write(l->mid[1], w->p + head, max);
	if (n > 0) {
		log_store(&o->n, (uint64_t)n);
		if (splice(l->mid[0], NULL, fd, NULL, (size_t)n, SPLICE_F_NONBLOCK) < 0)
			error = errno;
	} else {
		error = n < 0 ? errno : EAGAIN;
	}
	done = finish_writing(l, w);
	return done != 0 ? done : -error;
}

void logs_commit(struct logs *l, const struct log_word *words, size_t n)
{
	struct log_head *h = l->head;

	for (size_t i = 0; i < n; i++) {
		log_store(&h->words[i].at, (uint64_t)((char *)words[i].at - (char *)h));
		log_store(&h->words[i].value, words[i].value);
	}
	log_store(&h->n_words, n);
	finish_commit(h);
}
