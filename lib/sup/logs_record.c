/*
 * The records of the logs: what moves bytes, and what finishes that after a kill. A record is
 * filled first and armed by its last word; a SIGKILL comes between two stores, so that what is
 * armed is complete. Each is made so that doing it again is harmless.
 */
#include "sup/logs_record.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

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
			abort(); /* no memory: who comes next does what the record says */
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
	if (r->capture > logs_n_captures(l) || (uint64_t)left > n || n > LOGS_CAPTURE_SIZE ||
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
	if (o->slot > logs_n_slots(l) || o->from > logs_n_captures(l))
		return -EINVAL;
	if (o->from > 0)
		logs_capture_window(l, (uint32_t)o->from - 1, &w);
	else
		logs_slot_window(l, (uint32_t)o->slot - 1, &w);
	if (o->head > window_tail(&w) || o->n > window_tail(&w) - o->head)
		return -EINVAL;
	return finish_writing(l, &w) < 0 ? -EINVAL : 0;
}

int logs_finish_moves(struct logs *l)
{
	int r = finish_reading(l);

	return r < 0 ? r : adopt_writing(l);
}

void logs_finish_commit(struct logs *l)
{
	struct log_head *h = l->head;

	for (uint64_t i = 0; i < h->n_words; i++)
		log_store((uint64_t *)((char *)h + h->words[i].at), h->words[i].value);
	log_store(&h->n_words, 0);
}

/* ---------------------------------------------------------------------------------------------------- moves */

/*
 * Room at the end: what is left of the window's bytes goes to its start, where that does not
 * overlap.
 */
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
	logs_finish_commit(l);
}
