/*
 * What objects cost when they are not used, or not any more: no descriptor, no thread, no name.
 */
#include <dirent.h>
#include <sys/stat.h>

#include "../count_fds.h"
#include "../ipc_scene.h"
#include "base/cleanup.h"
#include "ipc/connection.h"
#include "ipc/queue.h"

static unsigned count_in(const char *path)
{
	unsigned n = 0;
	DIR *d = opendir(path);

	cr_assert_not_null(d);
	while (readdir(d) != NULL)
		n++;
	closedir(d);
	return n;
}

/* All that lie in shared memory. */
struct objects {
	struct mps_lock lock;
	struct mps_rlock rlock;
	struct mps_condition condition;
	struct mps_event event;
	struct mps_semaphore semaphore;
	struct mps_barrier barrier;
};

static void init_all(struct objects *o)
{
	cr_assert_eq(mps_lock_init(&o->lock), 0);
	cr_assert_eq(mps_rlock_init(&o->rlock), 0);
	cr_assert_eq(mps_condition_init(&o->condition), 0);
	cr_assert_eq(mps_event_init(&o->event), 0);
	cr_assert_eq(mps_semaphore_init(&o->semaphore, 3, 0), 0);
	cr_assert_eq(mps_barrier_init(&o->barrier, 3), 0);
}

static void make_all_and_free_them(void)
{
	struct mps_connection *a, *b;
	struct mps_listener *l;
	struct mps_array *array;
	struct mps_arena *arena;
	struct mps_value *value;
	struct mps_queue *queue;
	struct mps_args *args;
	struct mps_shm *shm;

	cr_assert_eq(mps_shm_create(NULL, sizeof(struct objects), &shm), 0);
	init_all(mps_shm_data(shm));
	cr_assert_eq(mps_queue_new(NULL, &queue), 0);
	cr_assert_eq(mps_pipe(true, &a, &b), 0);
	cr_assert_eq(mps_listen(NULL, NULL, &l), 0);
	cr_assert_eq(mps_array_new('i', 10, 0, &array), 0);
	cr_assert_eq(mps_value_new('d', 0, &value), 0);
	cr_assert_eq(mps_arena_new(4096, &arena), 0);
	cr_assert_eq(mps_args_new(&args), 0);
	cr_assert_geq(mps_args_add_queue(args, queue), 0);
	cr_assert_geq(mps_args_add_connection(args, a), 0);
	cr_assert_geq(mps_args_add_shm(args, shm), 0);
	mps_args_free(args);
	mps_arena_close(arena);
	mps_value_free(value);
	mps_array_free(array);
	mps_listener_close(l);
	mps_connection_close(a);
	mps_connection_close(b);
	mps_queue_free(queue);
	mps_shm_close(shm);
}

Test(ipc_cost, what_is_freed_leaves_no_descriptor_no_thread_and_no_mapping)
{
	unsigned fds, threads, maps;

	make_all_and_free_them();
	fds = count_fds(getpid());
	threads = count_in("/proc/self/task");
	maps = count_in("/proc/self/map_files");
	for (int i = 0; i < 100; i++)
		make_all_and_free_them();
	cr_expect_eq(count_fds(getpid()), fds);
	cr_expect_eq(count_in("/proc/self/task"), threads);
	cr_expect_leq(count_in("/proc/self/map_files"), maps + 2, "of malloc's own, at most");
}

Test(ipc_cost, a_queue_is_its_ring_and_one_page)
{
	static const size_t rings[] = { 0, 4096, 1 << 20 };

	for (size_t i = 0; i < ARRAY_SIZE(rings); i++) {
		struct mps_queue_options o = { .ring_size = rings[i] };
		size_t ring = rings[i] != 0 ? rings[i] : 64 << 10;
		struct mps_queue *queue;
		struct stat st;

		cr_assert_eq(mps_queue_new(&o, &queue), 0);
		cr_assert_eq(fstat(queue_fileno(queue), &st), 0);
		cr_expect_eq((size_t)st.st_size, ring + (size_t)sysconf(_SC_PAGESIZE));
		cr_expect_eq((size_t)st.st_blocks * 512, (size_t)st.st_size);
		mps_queue_free(queue);
	}
}

/* Nobody else has these pages: what has a name is a file that was not deleted. */
static unsigned n_named(void)
{
	FILE *f = fopen("/proc/self/maps", "re");
	char line[512];
	unsigned n = 0;

	cr_assert_not_null(f);
	while (fgets(line, sizeof(line), f) != NULL)
		n += strstr(line, " /dev/shm/") != NULL && strstr(line, "(deleted)") == NULL;
	fclose(f);
	return n;
}

Test(ipc_cost, what_was_given_no_name_has_none_and_starts_nothing)
{
	unsigned threads = count_in("/proc/self/task");
	struct mps_array *array;
	struct mps_arena *arena;
	struct mps_queue *queue;
	struct mps_shm *shm;

	cr_assert_eq(mps_queue_new(NULL, &queue), 0);
	cr_assert_eq(mps_shm_create(NULL, sizeof(struct objects), &shm), 0);
	init_all(mps_shm_data(shm));
	cr_assert_eq(mps_array_new('i', 10, 0, &array), 0);
	cr_assert_eq(mps_arena_new(4096, &arena), 0);
	cr_expect_eq(n_named(), 0);
	cr_expect_eq(count_in("/proc/self/task"), threads);
	cr_expect_lt(waitpid(-1, NULL, WNOHANG), 0, "no child");
	mps_arena_close(arena);
	mps_array_free(array);
	mps_shm_close(shm);
	mps_queue_free(queue);
}
