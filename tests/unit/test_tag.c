/*
 * The mark of lineage: packed and unpacked, and inherited by whoever comes after.
 */
#include "proc/tag.h"

#include <criterion/criterion.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"

Test(tag, holds_keeper_instance_and_start)
{
	static const uint32_t numbers[] = { 0, 1, 77, 0x3fff, 199999 };

	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
		for (uint32_t k = 0; k < 0x1000000; k += 0xfffff) {
			uint64_t tag = tag_make(k, numbers[i], numbers[i]);
			uint32_t keeper, instance, gen;

			cr_expect(tag != 0 && tag != RLIM_INFINITY && (int64_t)tag > 0);
			cr_assert(tag_parse(tag, &keeper, &instance, &gen));
			cr_expect_eq(keeper, k);
			cr_expect_eq(instance, numbers[i]);
			cr_expect_eq(gen, numbers[i] & 0x3fff);
		}
}

Test(tag, is_told_from_an_ordinary_limit)
{
	static const uint64_t others[] = { 0, 1, 1024, RLIM_INFINITY, INT64_MAX, UINT32_MAX };
	uint32_t keeper, instance, gen;

	for (size_t i = 0; i < ARRAY_SIZE(others); i++)
		cr_expect_not(tag_parse(others[i], &keeper, &instance, &gen));
	cr_expect_eq(tag_get(getpid()), 0);
	cr_expect_eq(tag_get(0x3fffffff), 0);
}

Test(tag, is_inherited_over_fork_and_session)
{
	uint64_t tag = tag_make(3, 4, 5);
	struct rlimit r;
	int ends[2];
	char c;
	pid_t pid;

	cr_assert_eq(getrlimit(RLIMIT_LOCKS, &r), 0);
	r.rlim_cur = tag;
	cr_assert_eq(setrlimit(RLIMIT_LOCKS, &r), 0);
	cr_assert_eq(pipe(ends), 0);
	pid = fork();
	if (pid == 0) {
		close(ends[1]);
		setsid();
		_exit(read(ends[0], &c, 1) != 0);
	}
	cr_expect_eq(tag_get(pid), tag);
	close(ends[0]);
	close(ends[1]);
	waitpid(pid, NULL, 0);
}

Test(tag, names_a_keeper_by_more_than_its_number)
{
	cr_expect_eq(tag_keeper_id(getpid()), tag_keeper_id(getpid()));
	cr_expect_neq(tag_keeper_id(getpid()), tag_keeper_id(getppid()));
}
