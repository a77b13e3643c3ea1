/*
 * The mark of lineage in RLIMIT_LOCKS. See tag.h for why there.
 */
#include "proc/tag.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "proc/tree.h"

#define MAGIC UINT64_C(0x35) /* 7 bits; the top bit of the whole stays 0 */

uint64_t tag_make(uint32_t keeper, uint32_t instance, uint32_t gen)
{
	return MAGIC << 56 | (uint64_t)(keeper & 0xffffff) << 32 |
	       (uint64_t)(instance & 0x3ffff) << 14 | (gen & 0x3fff);
}

bool tag_parse(uint64_t tag, uint32_t *ret_keeper, uint32_t *ret_instance, uint32_t *ret_gen)
{
	if (tag >> 56 != MAGIC)
		return false;
	*ret_keeper = (uint32_t)(tag >> 32) & 0xffffff;
	*ret_instance = (uint32_t)(tag >> 14) & 0x3ffff;
	*ret_gen = (uint32_t)tag & 0x3fff;
	return true;
}

uint32_t tag_keeper_id_of(pid_t pid, uint64_t start_ticks)
{
	uint64_t h = (uint64_t)pid * UINT64_C(0x9e3779b97f4a7c15);

	h ^= start_ticks * UINT64_C(0xff51afd7ed558ccd);
	return (uint32_t)(h >> 40 ^ h) & 0xffffff;
}

uint32_t tag_keeper_id(pid_t pid)
{
	struct proc_stat st;

	return tag_keeper_id_of(pid, proc_stat_read(pid, &st) == 0 ? st.start_ticks : 0);
}

/* For processes that prlimit(2) does not let us ask: /proc/PID/limits is open to all. */
static uint64_t from_proc(pid_t pid, const char *label)
{
	char path[32], text[4096];
	const char *at;
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/limits", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (n <= 0)
		return 0;
	text[n] = '\0';
	at = strstr(text, label);
	return at != NULL ? strtoull(at + strlen(label), NULL, 10) : 0;
}

static uint64_t get(pid_t pid, __rlimit_resource_t resource, const char *label)
{
	struct rlimit r;
	uint64_t tag = prlimit(pid, resource, NULL, &r) == 0 ? r.rlim_cur : from_proc(pid, label);

	return tag >> 56 == MAGIC ? tag : 0;
}

uint64_t tag_get(pid_t pid)
{
	return get(pid, RLIMIT_LOCKS, "Max file locks");
}

uint64_t mark_get(pid_t pid)
{
	return get(pid, RLIMIT_RSS, "Max resident set");
}
