/*
 * What a reload has done, or would do, row by row.
 */
#ifndef SUP_RELOADED_H
#define SUP_RELOADED_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "sup/control.h"

struct conf_message;
struct diff;
struct key;
struct request;
struct sup;
struct waiter;

/* What is told of one process, or of the supervisor. */
struct reloaded_row {
	char *name;
	const char *action;
	const struct key **keys;
	size_t n_keys;
	struct waiter *waiter; /* NULL = nothing is waited for */
};

struct reloaded {
	json_t *messages;
	size_t n_errors;
	struct reloaded_row *rows;
	size_t n, cap;
};

struct reloaded *reloaded_new(void);
/* Takes name and keys. The row stays where it is only until the next. */
struct reloaded_row *reloaded_add(struct reloaded *report, char *name, const char *action,
				  const struct key **keys_of_it, size_t n);
/* Those of [supervisord]: what is in force now, and what a start of its own needs. */
void reloaded_own(struct reloaded *report, const struct diff *d, bool live);
/* Takes the keys of its rows. */
void reloaded_pipes(struct reloaded *report, struct diff *d);
void reloaded_message(struct reloaded *report, const struct conf_message *m);
void reloaded_log(struct sup *s, const struct reloaded *report);
/* Answers a request that has one, in parts. */
void reloaded_produce(struct request *r);

#endif
