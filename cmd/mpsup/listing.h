/*
 * Programs as the supervisor tells of them, with what the machine says they use: fetched, sorted, and put into the table
 * that status and top print.
 */
#ifndef CMD_MPSUP_LISTING_H
#define CMD_MPSUP_LISTING_H

#include <jansson.h>
#include <stdbool.h>

#include "mpsup/snapshot.h"

struct buf;
struct client;
struct cmd_context;
struct err;

struct listing_row {
	json_t *json; /* of `rows` below */
	bool has_usage;
	struct usage usage;
};

struct listing {
	json_t *rows;
	json_t *errors;		  /* targets that were not found */
	int exit_code;		  /* of status: 0, EXIT_DOWN or EXIT_UNREACHABLE */
	struct listing_row *list; /* of listing_measure(), in the order to be printed */
	size_t n;
};

void listing_init(struct listing *l);
void listing_fini(struct listing *l);

/* The names that were given; all fields. */
json_t *listing_params(const struct cmd_context *ctx);

/* Only what the table shows: the rest would cost both sides as much again. */
void listing_only_table(json_t *params);

/*
 * Adds what the supervisor answers, of which the snapshot (NULL: none) is told meanwhile. A
 * reference to params is stolen. As client_call().
 */
int listing_fetch(struct listing *l, struct client *client, json_t *params,
		  struct snapshot *snapshot, struct err *err);

/* Finishes `now` and fills the list; `before` as for snapshot_usage(). */
void listing_measure(struct listing *l, struct snapshot *now, const struct snapshot *before);

/* Puts the figures into the rows, as "cpu" and "rss". */
void listing_add_usage(struct listing *l);

/* The rows in the order of the list; a new reference. */
json_t *listing_json(const struct listing *l);

/* After listing_measure(). width and colours as for table_render(). */
void listing_add_table(const struct listing *l, struct buf *out, unsigned width, bool colours);

/* What was not found, on standard error. */
void listing_print_errors(const struct listing *l);

/* The text of a row's field, "" where it has none. */
const char *listing_text(const json_t *row, const char *key);

/* All states, ended by NULL; the one that a person should look at first is the first. */
extern const char *const listing_states[];

/* What the list can be sorted by, ended by a NULL name. */
struct listing_sort {
	char letter; /* top's key */
	const char *name;
	bool descending;				 /* the largest first, unless reversed */
	double (*number)(const struct listing_row *row); /* NULL: by name */
};
extern const struct listing_sort listing_sorts[];

/* Rows that are alike stand by name. */
void listing_sort(struct listing *l, const struct listing_sort *by, bool reverse);

#endif
