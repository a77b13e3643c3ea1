/*
 * Queues: what goes in comes out, in order, of any size; how they are found, and what is none.
 */
#include <dirent.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "../queue_scene.h"
#include "base/cleanup.h"

static void fill(char *p, size_t n, unsigned seed)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (char)(seed + i * 7 + (i >> 12));
}

static const size_t sizes[] = { 0,
				1,
				7,
				8,
				9,
				63,
				64,
				100,
				1000,
				1023,
				1024,
				1025,
				4096,
				65536,
				65537,
				(size_t)1 << 20,
				3,
				12,
				(size_t)5 << 20,
				0,
				77777,
				1 };

Test(queue, items_of_all_sizes_come_out_as_they_went_in_and_in_order)
{
	struct mps_queue *q = new_queue((struct mps_queue_options){ .ring_size = 4096 });
	char *in = malloc((size_t)5 << 20), *out;
	size_t n;

	for (unsigned round = 0; round < 20; round++)
		for (size_t i = 0; i + 1 < ARRAY_SIZE(sizes); i += 2) {
			for (size_t k = i; k < i + 2; k++) {
				fill(in, sizes[k], (unsigned)k + round);
				cr_assert_eq(mps_queue_put(q, in, sizes[k], 0), 0, "%zu", sizes[k]);
			}
			cr_assert_eq(mps_queue_size(q), 2);
			for (size_t k = i; k < i + 2; k++) {
				fill(in, sizes[k], (unsigned)k + round);
				cr_assert_eq(mps_queue_get_new(q, (void **)&out, &n, 0), 0);
				cr_assert_eq(n, sizes[k]);
				cr_assert_eq(memcmp(out, in, n), 0, "%zu", n);
				free(out);
			}
		}
	cr_assert_eq(mps_queue_get_new(q, (void **)&out, &n, 0), -ETIMEDOUT);
	free(in);
	mps_queue_free(q);
}

Test(queue, many_items_in_one_call)
{
	struct mps_queue *q = new_queue((struct mps_queue_options){ 0 });
	static char data[2000][8], got[2000][8];
	struct mps_item in[2000], out[2000];

	for (size_t i = 0; i < 2000; i++) {
		snprintf(data[i], sizeof(data[i]), "%zu", i);
		in[i] = (struct mps_item){ data[i], 8 };
		out[i] = (struct mps_item){ got[i], 8 };
	}
	for (size_t done = 0; done < 2000;) {
		int r = mps_queue_put_many(q, in + done, 2000 - done, 0);

		cr_assert_gt(r, 0);
		done += (size_t)r;
	}
	cr_assert_eq(mps_queue_size(q), 2000);
	for (size_t done = 0; done < 2000;) {
		int r = mps_queue_get_many(q, out + done, 2000 - done, 0);

		cr_assert_gt(r, 0);
		done += (size_t)r;
	}
	cr_assert_eq(memcmp(data, got, sizeof(data)), 0);
	cr_assert_eq(mps_queue_put_many(q, in, 0, 0), 0);
	cr_assert_eq(mps_queue_get_many(q, out, 2, 0), -ETIMEDOUT);
	mps_queue_free(q);
}

Test(queue, many_stops_before_what_does_not_fit)
{
	struct mps_queue *q =
		new_queue((struct mps_queue_options){ .max_item = 8, .max_items = 3 });
	char a[8] = "a", b[9] = "b", room[8];
	struct mps_item in[] = { { a, 8 }, { b, 9 }, { a, 8 } };
	struct mps_item out[] = { { room, 8 }, { room, 4 } };

	cr_assert_eq(mps_queue_put_many(q, in, 3, 0), 1);
	cr_assert_eq(mps_queue_put_many(q, in + 1, 2, 0), -EMSGSIZE);
	for (int i = 0; i < 2; i++)
		cr_assert_eq(mps_queue_put(q, a, 8, 0), 0);
	cr_assert_eq(mps_queue_put(q, a, 8, 0), -ETIMEDOUT);
	cr_assert_eq(mps_queue_get_many(q, out, 2, 0), 1);
	cr_assert_eq(mps_queue_get_many(q, out + 1, 1, 0), -ENOBUFS);
	cr_assert_eq(out[1].n, 8);
	cr_assert_eq(mps_queue_size(q), 2);
	mps_queue_free(q);
}

Test(queue, too_small_a_buffer_leaves_the_item_the_first)
{
	struct mps_queue *q = new_queue((struct mps_queue_options){ 0 });
	char small[3];
	size_t n = 0;

	put_text(q, "first");
	put_text(q, "second");
	cr_assert_eq(mps_queue_get(q, small, sizeof(small), &n, 0), -ENOBUFS);
	cr_assert_eq(n, 6);
	get_text(q, "first");
	get_text(q, "second");
	mps_queue_free(q);
}

static const struct {
	const char *claim;
	struct mps_queue_options options;
	int result;
} makings[] = {
	{ "nothing said", { 0 }, 0 },
	{ "the smallest ring", { .ring_size = 4096 }, 0 },
	{ "too small a ring", { .ring_size = 4095 }, -EINVAL },
	{ "too large a ring", { .ring_size = ((size_t)1 << 30) + 1 }, -EINVAL },
	{ "too large an item", { .max_item = ((size_t)1 << 30) + 1 }, -EINVAL },
	{ "no name", { .name = "a/b" }, -EINVAL },
	{ "a ring that is no power of two", { .ring_size = 5000 }, 0 },
};

Test(queue, options)
{
	struct mps_queue *plain;

	cr_assert_eq(mps_queue_new(NULL, &plain), 0);
	mps_queue_free(plain);
	for (size_t i = 0; i < ARRAY_SIZE(makings); i++) {
		struct mps_queue *q = NULL;

		cr_assert_eq(mps_queue_new(&makings[i].options, &q), makings[i].result, "%s",
			     makings[i].claim);
		if (q != NULL)
			put_text(q, "x");
		mps_queue_free(q);
	}
	mps_queue_free(NULL);
}

Test(queue, max_items_is_a_bound)
{
	struct mps_queue *q = new_queue((struct mps_queue_options){ .max_items = 2 });

	put_text(q, "1");
	put_text(q, "2");
	cr_assert_eq(mps_queue_put(q, "3", 2, 0), -ETIMEDOUT);
	get_text(q, "1");
	put_text(q, "3");
	cr_assert_eq(mps_queue_put(q, "4", 2, 0), -ETIMEDOUT);
	get_text(q, "2");
	get_text(q, "3");
	mps_queue_free(q);
}

/* ------------------------------------------------------------------------------------------------- long items */

static long long blocks_of(const struct mps_queue *q)
{
	struct stat st;

	cr_assert_eq(fstat(queue_fileno(q), &st), 0);
	return (long long)st.st_blocks * 512;
}

Test(queue, long_items_use_their_memory_again)
{
	struct mps_queue *q = new_queue((struct mps_queue_options){ 0 });
	size_t size = (size_t)1 << 20, n;
	char *p = calloc(1, size);
	long long most;

	for (int i = 0; i < 2; i++)
		cr_assert_eq(mps_queue_put(q, p, size, 0), 0);
	most = blocks_of(q);
	for (int i = 0; i < 200; i++) {
		cr_assert_eq(mps_queue_get(q, p, size, &n, 0), 0);
		cr_assert_eq(mps_queue_put(q, p, size, 0), 0);
	}
	cr_assert_eq(blocks_of(q), most);
	free(p);
	mps_queue_free(q);
}

Test(queue, big_ones_do_not_keep_their_memory)
{
	struct mps_queue *q = new_queue((struct mps_queue_options){ 0 });
	size_t size = (size_t)100 << 20, n;
	char *p = calloc(1, size);

	/* What is very big is gone when the queue is empty, other things after a while. */
	cr_assert_eq(mps_queue_put(q, p, size, 0), 0);
	cr_assert_geq(blocks_of(q), (long long)size);
	cr_assert_eq(mps_queue_get(q, p, size, &n, 0), 0);
	cr_assert_lt(blocks_of(q), 1 << 20);
	cr_assert_eq(mps_queue_put(q, p, (size_t)20 << 20, 0), 0);
	cr_assert_eq(mps_queue_get(q, p, size, &n, 0), 0);
	cr_assert_geq(blocks_of(q), 20 << 20);
	for (int i = 0; i < 40; i++) {
		put_text(q, "small");
		get_text(q, "small");
	}
	cr_assert_lt(blocks_of(q), 1 << 20);
	cr_assert_eq(mps_queue_put(q, p, size, 0), 0);
	cr_assert_eq(mps_queue_get(q, p, size, &n, 0), 0);
	free(p);
	mps_queue_free(q);
}

Test(queue, no_memory_for_a_long_one_is_an_error_and_the_queue_goes_on)
{
	struct mps_queue *q = new_queue((struct mps_queue_options){ 0 });
	struct rlimit limit = { (rlim_t)8 << 20, (rlim_t)8 << 20 };
	size_t size = (size_t)9 << 20;
	char *p = calloc(1, size);

	setrlimit(RLIMIT_FSIZE, &limit);
	cr_assert_eq(mps_queue_put(q, p, size, 0), -ENOSPC);
	put_text(q, "small");
	get_text(q, "small");
	cr_assert_eq(mps_queue_put(q, p, (size_t)4 << 20, 0), 0);
	free(p);
	mps_queue_free(q);
}

/* ------------------------------------------------------------------------------------- handles, names, segments */

static unsigned n_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(dir) != NULL)
		n++;
	closedir(dir);
	return n;
}

Test(queue, one_that_was_not_used_leaves_no_descriptor_and_no_name)
{
	unsigned before = n_fds();

	for (int i = 0; i < 50; i++) {
		struct mps_queue *q = new_queue((struct mps_queue_options){ 0 });
		char path[64], to[64] = "";

		snprintf(path, sizeof(path), "/proc/self/fd/%d", queue_fileno(q));
		cr_assert_gt(readlink(path, to, sizeof(to) - 1), 0);
		cr_assert(strstr(to, "(deleted)") != NULL, "%s", to);
		cr_assert_eq(fcntl(queue_fileno(q), F_GETFD), FD_CLOEXEC);
		mps_queue_free(q);
	}
	cr_assert_eq(n_fds(), before);
}

Test(queue, one_that_another_handle_is_made_of_is_the_same)
{
	struct mps_queue *q = new_queue((struct mps_queue_options){ .max_items = 2 }), *again;
	int fd = fcntl(queue_fileno(q), F_DUPFD_CLOEXEC, 0);
	size_t n;
	char *p = calloc(1, 100000);

	cr_assert_eq(queue_from_fd(fd, &again), 0);
	put_text(q, "1");
	cr_assert_eq(mps_queue_put(q, p, 100000, 0), 0);
	mps_queue_free(q);
	cr_assert_eq(mps_queue_put(again, "x", 2, 0), -ETIMEDOUT);
	get_text(again, "1");
	cr_assert_eq(mps_queue_get(again, p, 100000, &n, 0), 0);
	cr_assert_eq(n, 100000);
	free(p);
	mps_queue_free(again);
}

Test(queue, one_that_has_a_name_is_found_by_it)
{
	struct mps_queue *q, *again = NULL;
	char name[64];

	/* The tracker is not what is tested here. */
	setenv("MPSUP_TRACKER", "", 1);
	snprintf(name, sizeof(name), "mpsup-test-queue-%d", (int)getpid());
	q = new_queue((struct mps_queue_options){ .name = name });
	cr_assert_eq(mps_queue_new(&(struct mps_queue_options){ .name = name }, &again), -EEXIST);
	cr_assert_eq(mps_queue_open(name, &again), 0);
	put_text(q, "hello");
	get_text(again, "hello");
	cr_assert_eq(mps_queue_unlink(name), 0);
	cr_assert_eq(mps_queue_unlink(name), -ENOENT);
	put_text(again, "still");
	get_text(q, "still");
	mps_queue_free(again);
	mps_queue_free(q);
	cr_assert_eq(mps_queue_open(name, &again), -ENOENT);
}

Test(queue, what_is_no_queue_is_refused)
{
	struct mps_queue *q = new_queue((struct mps_queue_options){ 0 }), *again = NULL;
	struct mps_shm *shm;
	int fd = memfd_create("x", MFD_CLOEXEC), pipes[2];

	cr_assert_eq(queue_from_fd(fd, &again), -EBADMSG);
	cr_assert_eq(ftruncate(fd, 1 << 20), 0);
	cr_assert_eq(queue_from_fd(fd, &again), -EBADMSG);
	cr_assert_eq(pwrite(fd, "0123456789", 10, 0), 10);
	cr_assert_eq(queue_from_fd(fd, &again), -EBADMSG);
	cr_assert_eq(fcntl(fd, F_GETFD), FD_CLOEXEC, "it stays ours");
	close(fd);
	cr_assert_eq(pipe(pipes), 0);
	cr_assert_eq(queue_from_fd(pipes[0], &again), -EBADMSG);
	/* A page of a queue, and no ring. */
	cr_assert_eq(mps_shm_create(NULL, 8192, &shm), 0);
	memcpy(mps_shm_data(shm), q->s, 4096);
	fd = fcntl(mps_shm_fileno(shm), F_DUPFD_CLOEXEC, 0);
	cr_assert_eq(queue_from_fd(fd, &again), -EBADMSG);
	close(fd);
	mps_shm_close(shm);
	mps_queue_free(q);
}

Test(queue, damage_is_an_error)
{
	struct mps_queue *q = new_queue((struct mps_queue_options){ 0 });
	char p[8];
	size_t n;

	put_text(q, "1");
	((struct queue_record *)(void *)q->ring)->n = 1 << 29;
	cr_assert_eq(mps_queue_get(q, p, 8, &n, 0), -EBADMSG);
	atomic_store(&q->s->head.at[0].count, 5);
	atomic_store(&q->s->head.at[1].count, 5);
	cr_assert_eq(mps_queue_get(q, p, 8, &n, 0), -EBADMSG);
	atomic_store(&q->s->tail.at[0].position, 1);
	atomic_store(&q->s->tail.at[1].position, 1);
	cr_assert_eq(mps_queue_put(q, p, 8, 0), -EBADMSG);
	mps_queue_free(q);
}
