/*
 * How the figures of a process are written in tables.
 */
#ifndef CMD_MPSUP_USAGE_H
#define CMD_MPSUP_USAGE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct buf;

/* "3.0%", "88M" with three or four characters. */
void usage_format_cpu(char *to, size_t size, double cpu);
void usage_format_size(char *to, size_t size, uint64_t bytes);

/* Seconds as "00:04:11", from a day on "3-04:11:05" as ps(1) has it. */
void usage_format_span(char *to, size_t size, double seconds);

/* The command line with blanks between its words, or "[name]" where it has none. Cleaned for a terminal. */
void usage_add_command(struct buf *b, pid_t pid);

#endif
