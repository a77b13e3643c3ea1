/*
 * Memory of shared objects: made by the server, opened by all; and the helpers of their methods.
 */
#include "manager/shared.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/queue.h"
#include "ipc/sound.h"
#include "ipc/stream.h"

enum { MAGIC = 0x3168736d }; /* "msh1" */

const struct shared_type *const shared_types[] = {
	&shared_queue_rows[0].t,
	&shared_queue_rows[1].t,
	&shared_lock_rows[0].t,
	&shared_lock_rows[1].t,
	&shared_semaphore_rows[0].t,
	&shared_semaphore_rows[1].t,
	&shared_lock_rows[2].t,
	&shared_event_row.t,
	&shared_barrier_row.t,
	&shared_number_rows[0].t,
	&shared_number_rows[1].t,
	&shared_number_rows[2].t,
	NULL,
};

/* ---------------------------------------------------------------------------------------------------- memory */

int shared_make(const struct shared_row *row, int *ret_fd, void *ret_p)
{
	struct mps_shm *shm;
	struct shared_head *head = NULL;
	int r = mps_shm_create(NULL, row->size, &shm);

	if (r < 0)
		return r;
	*ret_fd = fcntl(mps_shm_fileno(shm), F_DUPFD_CLOEXEC, 0);
	if (*ret_fd >= 0)
		head = mmap(NULL, row->size, PROT_READ | PROT_WRITE, MAP_SHARED, *ret_fd, 0);
	r = *ret_fd < 0 || head == MAP_FAILED ? -errno : 0;
	mps_shm_close(shm);
	if (r < 0) {
		if (*ret_fd >= 0)
			close(*ret_fd);
		return r;
	}
	head->magic = MAGIC;
	head->type = row->kind;
	*(void **)ret_p = head;
	return 0;
}

void shared_unmap(const struct shared_row *row, void *p)
{
	munmap(p, row->size);
}

int shared_made(const struct shared_row *row, void *p, int r, int *ret_fds, size_t *ret_n)
{
	shared_unmap(row, p);
	if (r < 0)
		close(ret_fds[0]);
	else
		*ret_n = 1;
	return r;
}

/* The first segment. It can't be made shorter under us. */
static int map(struct shared *s, int fd)
{
	struct stat st;
	void *p;

	if (fstat(fd, &st) < 0)
		return -errno;
	fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK);
	if (!S_ISREG(st.st_mode) || (fcntl(fd, F_GET_SEALS) & F_SEAL_SHRINK) == 0 ||
	    (uint64_t)st.st_size < s->row->size)
		return -EBADMSG;
	p = mmap(NULL, s->row->size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	s->head = p;
	return s->head->magic == MAGIC && s->head->type == s->row->kind ? 0 : -EBADMSG;
}

int shared_open(const struct shared_row *row, const int *fds, size_t n, void **ret_self)
{
	struct shared *s;
	int r;

	if (n != (row->open != NULL ? 2 : 1))
		return -EBADMSG;
	s = calloc(1, sizeof(*s));
	if (s == NULL)
		return -ENOMEM;
	s->row = row;
	s->bell = -1;
	s->mutex_kind = lock_kind(row->kind == SHARED_LOCK ? PTHREAD_MUTEX_ERRORCHECK
							   : PTHREAD_MUTEX_RECURSIVE);
	r = map(s, fds[0]);
	if (r == 0 && row->open != NULL)
		r = row->open(s, fds[1]);
	if (r < 0) {
		shared_destroy(s);
		return r;
	}
	close(fds[0]);
	*ret_self = s;
	return 0;
}

/* True: nobody here holds anything in it any more. */
static bool forsake(struct shared *s)
{
	bool is_free = s->row->forsake == NULL || s->row->forsake(s);

	shared_ring(s);
	return is_free;
}

void shared_destroy(void *self)
{
	struct shared *s = self;

	while (s->holders != NULL)
		shared_let_go(s, s->holders, UINT32_MAX);
	mps_queue_free(s->queue);
	mps_array_free(s->array);
	mps_shm_close(s->shm);
	/* What another thread holds stays: the C library has a list of it. */
	if (s->head != NULL && forsake(s))
		shared_unmap(s->row, s->head);
	free(s);
}

struct shared_head *shared_head(void *self)
{
	return ((struct shared *)self)->head;
}

void shared_ring(struct shared *s)
{
	static const uint64_t one = 1;

	if (s->bell < 0)
		return;
	atomic_thread_fence(memory_order_seq_cst);
	/* It can't be full but of rings that nobody has looked at. */
	if (atomic_load(&s->head->parked) != 0 && write(s->bell, &one, sizeof(one)) < 0)
		return;
}

/* ---------------------------------------------------------------------------------------------------- methods */

int64_t shared_left(const struct mps_call *call)
{
	return call->session != 0 ? 0 : stream_left(call->until);
}

struct holder *shared_holder(const struct shared *s, const struct mps_call *call)
{
	struct holder *h = s->holders;

	while (h != NULL && (h->session != call->session || h->thread != call->thread))
		h = h->next;
	return h;
}

int shared_hold(struct shared *s, const struct mps_call *call, uint32_t n)
{
	struct holder *h = shared_holder(s, call);

	if (h == NULL) {
		h = malloc(sizeof(*h));
		if (h == NULL)
			return -ENOMEM;
		*h = (struct holder){ s->holders, call->session, call->thread, 0 };
		s->holders = h;
	}
	h->n += n;
	return 0;
}

void shared_let_go(struct shared *s, struct holder *h, uint32_t n)
{
	struct holder **at = &s->holders;

	if (h->n > n) {
		h->n -= n;
		return;
	}
	while (*at != h)
		at = &(*at)->next;
	*at = h->next;
	free(h);
}

struct holder *shared_held_by(const struct shared *s, uint64_t session)
{
	struct holder *h = s->holders;

	while (h != NULL && h->session != session)
		h = h->next;
	return h;
}

int shared_count(const struct mps_call *call, uint32_t otherwise, uint32_t *ret)
{
	struct values left;
	struct value v;
	int r = values_of_array(call->args, call->n_args, &left);

	if (r < 0)
		return r;
	*ret = otherwise;
	r = value_next(&left, &v);
	if (r == -ENODATA)
		return 0;
	if (r < 0 || left.n > 0 || v.kind != VALUE_INT || v.i < 0 || v.i > UINT32_MAX)
		return -EINVAL;
	*ret = (uint32_t)v.i;
	return 0;
}

int shared_reply_int(struct mps_call *call, int64_t value)
{
	msgpack_packer k;

	if (call->reply == NULL)
		return 0;
	k = value_packer(call->reply);
	return msgpack_pack_int64(&k, value) < 0 ? -ENOMEM : 0;
}

int shared_reply_bool(struct mps_call *call, bool value)
{
	if (call->reply != NULL)
		buf_addc(call->reply, value ? (char)0xc3 : (char)0xc2);
	return call->reply != NULL && call->reply->failed ? -ENOMEM : 0;
}
