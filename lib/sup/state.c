/*
 * The layout of the shared state. See state.h.
 */
#include "sup/state.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/limits.h"

#define STATE_MAGIC UINT64_C(0x6574617473707570)
#define PAGE 4096u

struct state_head {
	uint64_t magic;
	uint32_t version, head_size, record_size, ring_size;
	uint32_t capacity;
	_Atomic uint32_t current; /* which of both copies counts */
	struct state_whole whole[2];
};

struct record {
	_Atomic uint32_t current;
	uint32_t spare;
	struct svc_record copies[2];
};

/* Rings are apart, because most programs touch none of theirs. */
struct ring {
	struct mps_time limited[CONF_LIMIT_MAX];
};
struct past {
	struct svc_past history[SVC_HISTORY];
};

_Static_assert(sizeof(struct state_head) <= PAGE, "the head has a page");
_Static_assert(ATOMIC_INT_LOCK_FREE == 2, "the mark must be one store");

static size_t pages(size_t n)
{
	return (n + PAGE - 1) / PAGE * PAGE;
}

static size_t past_at(uint32_t capacity)
{
	return PAGE + pages(capacity * sizeof(struct record));
}

static size_t rings_at(uint32_t capacity)
{
	return past_at(capacity) + pages(capacity * sizeof(struct past));
}

static size_t texts_at(uint32_t capacity)
{
	return rings_at(capacity) + pages(capacity * sizeof(struct ring));
}

static struct record *record_of(const struct state *st, uint32_t id)
{
	assert(id < st->capacity);
	return (struct record *)(void *)((char *)st->head + PAGE) + id;
}

struct svc_rings state_rings(const struct state *st, uint32_t id)
{
	char *base = (char *)st->head;
	struct past *past = (struct past *)(void *)(base + past_at(st->capacity)) + id;
	struct ring *ring = (struct ring *)(void *)(base + rings_at(st->capacity)) + id;

	return (struct svc_rings){ past->history, ring->limited };
}

/* ----------------------------------------------------------------------------------------------- life of it */

/* As much as the limits on the size of files and of the address space allow; untouched pages cost nothing. */
static uint32_t choose_capacity(uint32_t n)
{
	uint32_t capacity = KEEPER_INSTANCES_MAX;
	struct rlimit size = { RLIM_INFINITY, RLIM_INFINITY }, space = size;

	getrlimit(RLIMIT_FSIZE, &size);
	getrlimit(RLIMIT_AS, &space);
	while (capacity / 2 > n &&
	       (texts_at(capacity) > size.rlim_cur / 2 || texts_at(capacity) > space.rlim_cur / 8))
		capacity /= 2;
	return capacity;
}

static int map(struct state *st)
{
	void *p;

	st->size = texts_at(st->capacity);
	p = mmap(NULL, st->size, PROT_READ | PROT_WRITE, MAP_SHARED, st->fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	st->head = p;
	return 0;
}

int state_create(struct state *st, uint32_t n, struct err *err)
{
	int r = 0;

	*st = (struct state){ .capacity = choose_capacity(n) };
	st->fd = memfd_create("mpsup-state", MFD_CLOEXEC);
	if (st->fd < 0 || ftruncate(st->fd, (off_t)texts_at(st->capacity)) < 0)
		r = -errno;
	if (r == 0)
		r = map(st);
	if (r < 0) {
		fd_close(&st->fd);
		return err_set(err, r, "memory for the state: %s", strerror(-r));
	}
	*st->head = (struct state_head){
		.magic = STATE_MAGIC,
		.version = STATE_VERSION,
		.head_size = sizeof(struct state_head),
		.record_size = sizeof(struct record),
		.ring_size = sizeof(struct ring),
		.capacity = st->capacity,
	};
	st->head->whole[0].text_at = texts_at(st->capacity);
	return 0;
}

static bool fits(const struct state_head *h, off_t size)
{
	return h->magic == STATE_MAGIC && h->version == STATE_VERSION &&
	       h->head_size == sizeof(struct state_head) &&
	       h->record_size == sizeof(struct record) && h->ring_size == sizeof(struct ring) &&
	       h->capacity <= KEEPER_INSTANCES_MAX && size >= (off_t)texts_at(h->capacity);
}

/* What is read without asking again; the records are svc_restore()'s to judge. */
static bool is_sound(const struct state *st, uint64_t size)
{
	struct state_whole whole;

	state_get_whole(st, &whole);
	return st->capacity > 0 && whole.text_at >= texts_at(st->capacity) &&
	       whole.text_at <= size && whole.text_len <= size - whole.text_at &&
	       whole.next_id <= st->capacity;
}

int state_open(struct state *st, int fd, struct err *err)
{
	struct state_head head = { 0 };
	struct stat status;
	int r;

	*st = (struct state){ .fd = fd };
	if (fstat(fd, &status) < 0 || pread(fd, &head, sizeof(head), 0) < 0)
		return err_set(err, -errno, "the state: %s", strerror(errno));
	if (!fits(&head, status.st_size))
		return err_set(err, -EPROTO,
			       "the state is in format %u, this mpsup (" MPSUP_VERSION
			       ") reads format %u: it cannot go on with running programs",
			       head.version, STATE_VERSION);
	st->capacity = head.capacity;
	r = map(st);
	if (r < 0)
		return err_set(err, r, "the state: %s", strerror(-r));
	if (is_sound(st, (uint64_t)status.st_size))
		return 0;
	munmap(st->head, st->size);
	st->head = NULL;
	return err_set(err, -EPROTO, "the state is damaged: it cannot go on with running programs");
}

void state_close(struct state *st)
{
	if (st->head == NULL)
		return;
	munmap(st->head, st->size);
	st->head = NULL;
	fd_close(&st->fd);
}

/* -------------------------------------------------------------------------------------------------- records */

void state_get_whole(const struct state *st, struct state_whole *ret)
{
	*ret = st->head->whole[atomic_load_explicit(&st->head->current, memory_order_acquire) & 1];
}

static void publish(struct state *st, const struct state_whole *whole)
{
	struct state_head *h = st->head;
	uint32_t other = !(atomic_load_explicit(&h->current, memory_order_relaxed) & 1);

	h->whole[other] = *whole;
	atomic_store_explicit(&h->current, other, memory_order_release);
}

void state_put_whole(struct state *st, const struct state_whole *whole)
{
	struct state_whole now, next = *whole;

	state_get_whole(st, &now);
	next.text_at = now.text_at;
	next.text_len = now.text_len;
	publish(st, &next);
}

void state_get(const struct state *st, uint32_t id, struct svc_record *ret)
{
	struct record *r = record_of(st, id);

	*ret = r->copies[atomic_load_explicit(&r->current, memory_order_acquire) & 1];
}

void state_put(struct state *st, uint32_t id, const struct svc_record *record)
{
	struct record *r = record_of(st, id);
	uint32_t other = !(atomic_load_explicit(&r->current, memory_order_relaxed) & 1);

	r->copies[other] = *record;
	atomic_store_explicit(&r->current, other, memory_order_release);
}

/* ---------------------------------------------------------------------------------------------------- texts */

static int write_at(int fd, const char *p, size_t n, uint64_t at)
{
	while (n > 0) {
		ssize_t w = pwrite(fd, p, n, (off_t)at);

		if (w < 0 && errno == EINTR)
			continue;
		if (w < 0)
			return -errno;
		p += w;
		at += (uint64_t)w;
		n -= (size_t)w;
	}
	return 0;
}

void state_encode_text(struct buf *to, enum state_kind kind, uint32_t id, const void *p, size_t n)
{
	wire_put_u32(to, kind);
	wire_put_u32(to, id);
	wire_put_bytes(to, p, n);
}

int state_add_text(struct state *st, enum state_kind kind, uint32_t id, const void *p, size_t n)
{
	AUTO_BUF b = BUF_INIT;
	struct state_whole whole;
	int r;

	state_encode_text(&b, kind, id, p, n);
	if (b.failed)
		return -ENOMEM;
	state_get_whole(st, &whole);
	r = write_at(st->fd, b.p, b.len, whole.text_at + whole.text_len);
	if (r < 0)
		return r;
	whole.text_len += b.len;
	st->garbage += b.len;
	publish(st, &whole);
	return 0;
}

int state_replace_texts(struct state *st, const struct buf *texts)
{
	struct state_whole whole, old;
	uint64_t base = texts_at(st->capacity);
	int r;

	state_get_whole(st, &old);
	whole = old;
	/* Where the old ones are not: before them if there is room, else behind. */
	whole.text_at = old.text_at - base >= texts->len ? base : old.text_at + old.text_len;
	whole.text_len = texts->len;
	r = write_at(st->fd, texts->p, texts->len, whole.text_at);
	if (r < 0)
		return r;
	publish(st, &whole);
	st->garbage = 0;
	if (old.text_len > 0)
		fallocate(st->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)old.text_at,
			  (off_t)old.text_len);
	return 0;
}

int state_read_texts(const struct state *st, char **ret, size_t *ret_n)
{
	struct state_whole whole;
	AUTO_FREE char *p = NULL;
	size_t done = 0;

	state_get_whole(st, &whole);
	p = malloc(whole.text_len + 1);
	if (p == NULL)
		return -ENOMEM;
	while (done < whole.text_len) {
		ssize_t n = pread(st->fd, p + done, whole.text_len - done,
				  (off_t)(whole.text_at + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		done += (size_t)n;
	}
	*ret = TAKE_PTR(p);
	*ret_n = done;
	return 0;
}

bool state_next_text(struct wire *w, enum state_kind *kind, uint32_t *id, const char **p, size_t *n)
{
	if (w->n == 0)
		return false;
	*kind = (enum state_kind)wire_u32(w);
	*id = wire_u32(w);
	*p = wire_bytes(w, n);
	return !w->failed;
}

int state_find_text(const struct state *st, enum state_kind kind, uint32_t id, char **ret_texts,
		    const char **ret, size_t *ret_n)
{
	AUTO_FREE char *texts = NULL;
	const char *p, *last = NULL;
	struct wire w = { 0 };
	enum state_kind found;
	uint32_t number;
	size_t n;
	int r = state_read_texts(st, &texts, &w.n);

	if (r < 0)
		return r;
	w.p = texts;
	while (state_next_text(&w, &found, &number, &p, &n))
		if (found == kind && number == id) {
			last = p;
			*ret_n = n;
		}
	if (last == NULL)
		return -EPROTO;
	*ret = last;
	*ret_texts = TAKE_PTR(texts);
	return 0;
}
