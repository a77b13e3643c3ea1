/*
 * The messages of a configuration while it is being read: one for each problem, with its place.
 */
#ifndef CONF_REPORT_H
#define CONF_REPORT_H

#include "conf/conf.h"
#include "conf/store.h"

struct report {
	struct store *store; /* borrowed: texts live there */
	bool strict;	     /* unknown keys and sections are errors */
	struct conf_message *messages;
	size_t n;
	size_t cap;
	size_t n_errors;
};

/*
 * Adds one message. file may be NULL (no file is to blame); key is "program:web.command" or NULL. Past REPORT_MAX
 * further ones are only counted, so that a hostile file cannot fill the memory with its mistakes.
 */
#define REPORT_MAX 10000
void report_add(struct report *r, enum conf_severity level, const struct conf_place *place,
		const char *key, const char *fmt, ...) __attribute__((format(printf, 5, 6)));

/* Hands the messages over to conf, sorted by file and line, and counts them. */
void report_finish(struct report *r, struct conf *conf);

#endif
