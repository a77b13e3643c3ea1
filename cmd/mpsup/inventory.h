/*
 * The named objects that `mpsup ipc ls` shows: those that the journals of this user's instances tell of, or all of this
 * machine, with who uses them.
 */
#ifndef CMD_MPSUP_INVENTORY_H
#define CMD_MPSUP_INVENTORY_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "track/list.h"

struct item {
	enum track_type type;
	char *name;
	struct track_look look;
	pid_t creator;	/* 0 = not known */
	char *program;	/* NULL = nobody's of ours */
	char *instance; /* whose program that is */
	bool is_left;	/* by an instance that is no more */
	pid_t *users;
	size_t n_users;
};

struct inventory {
	struct item *items; /* by type and name */
	size_t n, cap;
	size_t n_hidden; /* processes whose descriptors we may not see */
};

/* All of this machine, into an empty one. 0 or -errno: some could not be listed. */
int inventory_add_all(struct inventory *v);
/*
 * What is there of what journals and slates of this user's instances tell of; what is gone already is left out. After
 * inventory_add_all(), so that what a program makes meanwhile is never taken for nobody's: it was told of before it was made.
 */
void inventory_add_own(struct inventory *v);
/* Who uses each. 0 or -errno. */
int inventory_find_users(struct inventory *v);
/* NULL: it is not in it. */
const struct item *inventory_find(const struct inventory *v, enum track_type type,
				  const char *name);
void inventory_fini(struct inventory *v);

/* Where the runtime directories of this user are. How many; the caller frees them. */
enum { INVENTORY_BASES = 2 };
int inventory_bases(char *bases[INVENTORY_BASES]);

/* "4203 (python3), 4210 (web)"; nothing where there are none. */
void inventory_write_users(const struct item *item, struct buf *to);

/* "4203 (python3)". */
void inventory_write_process(pid_t pid, struct buf *to);

/* A name may be any bytes; JSON has text. NULL is null. */
json_t *inventory_json_text(const char *s);

#endif
