/*
 * How many CPUs this process may use: those that it is allowed to run on, and no more than the quota of its control groups
 * lets it use at a time.
 */
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "pool/pool.h"

static uint32_t count_allowed(void)
{
	enum { CPUS_MAX = 1 << 16 };
	cpu_set_t *set = CPU_ALLOC(CPUS_MAX);
	size_t size = CPU_ALLOC_SIZE(CPUS_MAX);
	long n = sysconf(_SC_NPROCESSORS_ONLN);

	if (set != NULL && sched_getaffinity(0, size, set) == 0)
		n = CPU_COUNT_S(size, set);
	CPU_FREE(set);
	return n > 0 ? (uint32_t)n : 1;
}

/* "QUOTA PERIOD" of version 2, or the two numbers of version 1. What is no limit is 0. */
static uint32_t read_quota(const char *folder, const char *path)
{
	long long quota = 0, period = 0;
	AUTO_FREE char *name = NULL;
	FILE *f;

	if (asprintf(&name, "%s%s/cpu.max", folder, path) < 0)
		return 0;
	f = fopen(name, "re");
	if (f == NULL)
		return 0;
	if (fscanf(f, "%lld %lld", &quota, &period) != 2)
		quota = 0;
	fclose(f);
	return quota > 0 && period > 0 ? (uint32_t)((quota + period - 1) / period) : 0;
}

/* Of the group and all above it. */
static uint32_t least_quota(const char *folder, char *path)
{
	uint32_t least = 0, n;

	for (;;) {
		char *slash;

		n = read_quota(folder, path);
		if (n != 0 && (least == 0 || n < least))
			least = n;
		slash = strrchr(path, '/');
		if (slash == NULL)
			return least;
		*slash = '\0';
	}
}

static uint32_t count_quota(void)
{
	FILE *f = fopen("/proc/self/cgroup", "re");
	AUTO_FREE char *line = NULL;
	size_t size = 0;
	uint32_t n = 0;

	while (f != NULL && n == 0 && getline(&line, &size, f) > 0) {
		line[strcspn(line, "\n")] = '\0';
		if (strncmp(line, "0::", 3) == 0)
			n = least_quota("/sys/fs/cgroup", line + 3);
	}
	if (f != NULL)
		fclose(f);
	return n;
}

uint32_t cpus_count(void)
{
	uint32_t n = count_allowed(), quota = count_quota();

	if (quota != 0 && quota < n)
		n = quota;
	return n < MPS_POOL_WORKERS_MAX ? n : MPS_POOL_WORKERS_MAX;
}
