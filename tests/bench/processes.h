/*
 * The processes that descend from us, as a subreaper also those that their parents have left: which they are, and what
 * they use, out of /proc. For sup.c.
 */
#ifndef TESTS_BENCH_PROCESSES_H
#define TESTS_BENCH_PROCESSES_H

#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/xalloc.h"

static pid_t *pids; /* as find_descendants has left them */
static size_t n_pids;

static inline bool read_text(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, size - 1);

	if (fd >= 0)
		close(fd);
	text[n > 0 ? n : 0] = '\0';
	return n > 0;
}

struct process {
	pid_t pid, parent;
	bool is_ours, is_program;
};

/* All processes there are, by their numbers. */
static inline struct process *list(size_t *ret_n)
{
	struct process *p = NULL;
	DIR *proc = opendir("/proc");
	struct dirent *e;
	size_t n = 0;

	while (proc != NULL && (e = readdir(proc)) != NULL) {
		char path[64], text[512], *name, *end;
		pid_t pid = atoi(e->d_name);

		snprintf(path, sizeof(path), "/proc/%d/stat", pid);
		if (pid <= 0 || !read_text(path, text, sizeof(text)))
			continue;
		name = strchr(text, '(');
		end = strrchr(text, ')');
		if (n % 256 == 0)
			p = xrealloc(p, (n + 256) * sizeof(*p));
		p[n] = (struct process){ .pid = pid, .parent = atoi(end + 4) };
		*end = '\0';
		p[n++].is_program = strcmp(name + 1, "nop") == 0 || strcmp(name + 1, "run") == 0;
	}
	closedir(proc);
	*ret_n = n;
	return p;
}

/* Sets pids to what descends from us, as a subreaper also what its parent has left; the programs too if asked for. */
static inline void find_descendants(bool programs)
{
	size_t n, found = 1;
	struct process *p = list(&n);

	n_pids = 0;
	while (found > 0) {
		found = 0;
		for (size_t i = 0; i < n; i++) {
			bool is_ours = p[i].parent == getpid();

			for (size_t k = 0; !is_ours && k < n; k++)
				is_ours = p[k].pid == p[i].parent && p[k].is_ours;
			if (is_ours && !p[i].is_ours) {
				p[i].is_ours = true;
				found++;
			}
		}
	}
	for (size_t i = 0; i < n; i++)
		if (p[i].is_ours && (programs || !p[i].is_program)) {
			pids = xrealloc(pids, (n_pids + 1) * sizeof(*pids));
			pids[n_pids++] = p[i].pid;
		}
	free(p);
}

/* The number behind `key` in the text, 0 where there is none. */
static inline long long number_after(const char *text, const char *key)
{
	const char *found = strstr(text, key);

	return found != NULL ? strtoll(found + strlen(key), NULL, 10) : 0;
}

static inline long long one_cpu(const char *text)
{
	return strtoll(text, NULL, 10);
}

static inline long long one_switches(const char *text)
{
	return number_after(text, "\nvoluntary_ctxt_switches:") +
	       number_after(text, "nonvoluntary_ctxt_switches:");
}

/* Adds what `one` reads of each thread of the contender's processes. */
static inline double sum_threads(const char *file, long long (*one)(const char *text))
{
	long long sum = 0;

	for (size_t i = 0; i < n_pids; i++) {
		char path[512], text[4096];
		struct dirent *e;
		DIR *tasks;

		snprintf(path, sizeof(path), "/proc/%d/task", pids[i]);
		tasks = opendir(path);
		while (tasks != NULL && (e = readdir(tasks)) != NULL) {
			snprintf(path, sizeof(path), "/proc/%d/task/%.16s/%s", pids[i], e->d_name,
				 file);
			if (e->d_name[0] != '.' && read_text(path, text, sizeof(text)))
				sum += one(text);
		}
		if (tasks != NULL)
			closedir(tasks);
	}
	return (double)sum;
}

static inline double pss_kib(void)
{
	long long sum = 0;

	for (size_t i = 0; i < n_pids; i++) {
		char path[64], text[4096];

		snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", pids[i]);
		if (read_text(path, text, sizeof(text)))
			sum += number_after(text, "\nPss:");
	}
	return (double)sum;
}

static inline double descriptors(void)
{
	size_t sum = 0;

	for (size_t i = 0; i < n_pids; i++) {
		char path[64];
		DIR *fds;

		snprintf(path, sizeof(path), "/proc/%d/fd", pids[i]);
		fds = opendir(path);
		while (fds != NULL && readdir(fds) != NULL)
			sum++;
		sum -= fds != NULL ? 2 : 0; /* . and .. */
		if (fds != NULL)
			closedir(fds);
	}
	return (double)sum;
}

#endif
