/*
 * System V objects whose makers were killed before they could say what the kernel has named them: /proc/sysvipc tells of
 * all that there are (proc_sysvipc(5)).
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/fd.h"
#include "keeper/tracker.h"

#define TABLE_MAX (16 << 20) /* bytes: more objects than the kernel allows by default */

static const struct table_of {
	enum track_type type;
	const char *path, *id;
	bool has_creator; /* the pid of who has made it */
} tables[] = {
	{ TRACK_SYSV_SHM, "/proc/sysvipc/shm", "shmid", true },
	{ TRACK_SYSV_SEM, "/proc/sysvipc/sem", "semid", false },
	{ TRACK_SYSV_MSG, "/proc/sysvipc/msg", "msqid", false },
};

/* What a line says in the column of that name; -1. */
static int64_t value_of(const char *head, const char *line, const char *column)
{
	size_t n = strlen(column);

	for (;;) {
		head += strspn(head, " ");
		line += strspn(line, " ");
		if (*head == '\n' || *head == '\0' || *line == '\n' || *line == '\0')
			return -1;
		if (strncmp(head, column, n) == 0 && strchr(" \n", head[n]) != NULL)
			return strtoll(line, NULL, 10);
		head += strcspn(head, " \n");
		line += strcspn(line, " \n");
	}
}

static bool is_candidate(const struct track_registry *r, const struct table_of *table,
			 const struct track_record *pending, const char *head, const char *line)
{
	char name[24];
	int n = snprintf(name, sizeof(name), "%" PRId64, value_of(head, line, table->id));
	/* The kernel tells of whole seconds. */
	int64_t not_before = pending->told_ns / MPS_NS_PER_S;

	return value_of(head, line, "ctime") >= not_before &&
	       value_of(head, line, "cuid") == (int64_t)pending->creator.uid &&
	       (!table->has_creator || value_of(head, line, "cpid") == pending->creator.pid) &&
	       track_find(r, table->type, name, (size_t)n) == NULL;
}

int64_t sysv_find(const struct track_registry *r, const struct track_record *pending)
{
	const struct table_of *table = tables;
	AUTO_FREE char *text = NULL;
	int64_t found = -1;
	const char *line;
	size_t n;

	while (table->type != pending->type)
		table++;
	if (fd_read_file(table->path, TABLE_MAX, &text, &n) < 0)
		return -1;
	for (line = strchr(text, '\n'); line != NULL && line[1] != '\0';
	     line = strchr(line + 1, '\n')) {
		if (!is_candidate(r, table, pending, text, line + 1))
			continue;
		if (found >= 0)
			return -1;
		found = value_of(text, line + 1, table->id);
	}
	return found;
}
