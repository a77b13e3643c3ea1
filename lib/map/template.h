/*
 * A command line with placeholders: {} the task, {.} without its last suffix, {/} without its folders, {//} its folder,
 * {/.} without either, {#} the number of the task, {%} that of the place. As in GNU parallel.
 */
#ifndef MAP_TEMPLATE_H
#define MAP_TEMPLATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

/* The last command line that was made; zeroed is empty. The same memory serves for the next. */
struct template_room {
	struct buf text;
	char **argv;
	size_t cap;
};
void template_room_fini(struct template_room *r);

struct template_task {
	const char *p;
	size_t n;
	uint64_t seq;
	unsigned place;
};

bool template_has_placeholder(const char *arg);

/* Fills r->argv, NULL-terminated. */
void template_expand(char *const *argv, const struct template_task *task, struct template_room *r);

/* The command line as one, with a blank between arguments; the same for one without placeholders. */
void template_add(char *const *argv, struct buf *to);

#endif
