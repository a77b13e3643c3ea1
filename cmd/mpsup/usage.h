/*
 * What /proc says about a process: CPU and memory for tables, its tree, its command line.
 */
#ifndef CMD_MPSUP_USAGE_H
#define CMD_MPSUP_USAGE_H

#include <stdint.h>
#include <sys/types.h>

struct buf;

struct usage {
	pid_t ppid;
	double cpu;   /* percent of one CPU over the life of the process, as ps(1) reckons */
	uint64_t rss; /* bytes */
};

/* 0; -ENOENT, -ESRCH when there is no such process; other -errno. */
int usage_read(pid_t pid, struct usage *ret_usage);

/* "3.0%", "88M" with three or four characters. */
void usage_format_cpu(char *to, size_t size, double cpu);
void usage_format_size(char *to, size_t size, uint64_t bytes);

/* Seconds as "00:04:11", from a day on "3-04:11:05" as ps(1) has it. */
void usage_format_span(char *to, size_t size, double seconds);

/* The command line with blanks between its words, or "[name]" where it has none. Cleaned for a terminal. */
void usage_add_command(struct buf *b, pid_t pid);

/* Calls on for pid and its descendants, parents before children; depth counts from 0. All of /proc is read once. */
void usage_walk_tree(pid_t pid, void (*on)(pid_t pid, unsigned depth, void *user), void *user);

#endif
