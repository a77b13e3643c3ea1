/*
 * What /proc says about a process. See usage.h, and proc(5) for /proc/PID/stat.
 */
#include "mpsup/usage.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/fd.h"
#include "base/utf8.h"
#include "base/xalloc.h"

enum { STAT_PPID = 4, STAT_UTIME = 14, STAT_STIME = 15, STAT_START = 22, STAT_RSS = 24 };

#define COMMAND_MAX 4096

/* One open, read, close and no heap: a status of 1,000 programs does this 1,000 times. */
static int read_stat(pid_t pid, char *text, size_t size)
{
	char path[32];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	n = read(fd, text, size - 1);
	fd_close(&fd);
	if (n <= 0)
		return n < 0 ? -errno : -ESRCH;
	text[n] = '\0';
	return 0;
}

/* Fields from the third on; the second, the name, may hold anything but ends at the last bracket. */
static bool split_stat(const char *text, unsigned long long field[STAT_RSS + 1])
{
	const char *at = strrchr(text, ')');
	char *end;

	if (at == NULL || at[1] != ' ' || at[2] == '\0')
		return false;
	at += 3; /* behind the state's letter */
	for (int i = STAT_PPID; i <= STAT_RSS; i++) {
		field[i] = strtoull(at, &end, 10);
		if (end == at)
			return false;
		at = end;
	}
	return true;
}

static double seconds_since_boot(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

int usage_read(pid_t pid, struct usage *ret_usage)
{
	const long ticks = sysconf(_SC_CLK_TCK), page = sysconf(_SC_PAGESIZE);
	unsigned long long field[STAT_RSS + 1];
	char text[1024];
	double used, age;
	int r = read_stat(pid, text, sizeof(text));

	if (r < 0)
		return r;
	if (!split_stat(text, field))
		return -EPROTO;
	used = (double)(field[STAT_UTIME] + field[STAT_STIME]) / (double)ticks;
	age = seconds_since_boot() - (double)field[STAT_START] / (double)ticks;
	ret_usage->ppid = (pid_t)field[STAT_PPID];
	ret_usage->cpu = age > 0.01 ? 100 * used / age : 0;
	ret_usage->rss = field[STAT_RSS] * (unsigned long long)page;
	return 0;
}

void usage_format_cpu(char *to, size_t size, double cpu)
{
	snprintf(to, size, cpu < 99.95 ? "%.1f%%" : "%.0f%%", cpu);
}

void usage_format_size(char *to, size_t size, uint64_t bytes)
{
	static const char units[] = "KMGTPE";
	double n = (double)bytes / 1024;
	size_t i = 0;

	while (n >= 1023.5 && i + 2 < sizeof(units)) {
		n /= 1024;
		i++;
	}
	snprintf(to, size, n < 9.95 && i > 1 ? "%.1f%c" : "%.0f%c", n, units[i]);
}

void usage_format_span(char *to, size_t size, double seconds)
{
	unsigned long long s = seconds > 0 ? (unsigned long long)seconds : 0;
	unsigned h = (unsigned)(s / 3600 % 24), m = (unsigned)(s / 60 % 60);

	if (s >= 86400)
		snprintf(to, size, "%llu-%02u:%02u:%02u", s / 86400, h, m, (unsigned)(s % 60));
	else
		snprintf(to, size, "%02u:%02u:%02u", h, m, (unsigned)(s % 60));
}

void usage_add_command(struct buf *b, pid_t pid)
{
	char path[32], text[COMMAND_MAX];
	AUTO_CLOSE int fd = -1;
	ssize_t n = 0;
	char *end;

	snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0)
		n = read(fd, text, sizeof(text));
	while (n > 0 && text[n - 1] == '\0')
		n--;
	for (ssize_t i = 0; i < n; i++)
		if (text[i] == '\0' || text[i] == '\n')
			text[i] = ' ';
	if (n > 0) {
		utf8_add_clean(b, text, (size_t)n);
		return;
	}
	if (read_stat(pid, text, sizeof(text)) < 0 || (end = strrchr(text, ')')) == NULL)
		return;
	*end = '\0';
	buf_addc(b, '[');
	utf8_add_clean(b, strchr(text, '(') + 1, strlen(strchr(text, '(') + 1));
	buf_addc(b, ']');
}

struct process {
	pid_t pid, ppid;
	bool seen; /* pids are reused while we read: no process is shown twice, and no circle walked */
};

struct processes {
	struct process *list;
	size_t n;
};

static void read_processes(struct processes *all)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	size_t cap = 0;

	while (proc != NULL && (entry = readdir(proc)) != NULL) {
		pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);
		struct usage usage;

		if (pid <= 0 || usage_read(pid, &usage) < 0)
			continue;
		if (all->n == cap) {
			cap = cap ? cap * 2 : 256;
			all->list = xrealloc(all->list, cap * sizeof(*all->list));
		}
		all->list[all->n++] = (struct process){ pid, usage.ppid, false };
	}
	if (proc != NULL)
		closedir(proc);
}

static void walk(struct processes *all, pid_t pid, unsigned depth,
		 void (*on)(pid_t pid, unsigned depth, void *user), void *user)
{
	on(pid, depth, user);
	for (size_t i = 0; i < all->n; i++) {
		if (all->list[i].ppid != pid || all->list[i].seen)
			continue;
		all->list[i].seen = true;
		walk(all, all->list[i].pid, depth + 1, on, user);
	}
}

void usage_walk_tree(pid_t pid, void (*on)(pid_t pid, unsigned depth, void *user), void *user)
{
	struct processes all = { 0 };

	read_processes(&all);
	walk(&all, pid, 0, on, user);
	free(all.list);
}
