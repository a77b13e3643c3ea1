/*
 * The activity log, in supervisord's line format, because people grep it: "YYYY-MM-DD HH:MM:SS,mmm LEVL message".
 */
#ifndef SUP_ACTIVITY_H
#define SUP_ACTIVITY_H

#include <stdarg.h>
#include <stdbool.h>
#include <time.h>

#include "base/buf.h"
#include "conf/conf.h"
#include "sup/svc.h"

struct err;

struct activity {
	char *path;  /* NULL = no file */
	int fd;	     /* -1 = none */
	bool echo;   /* also to standard error */
	bool colour; /* of the echo */
	/* Takes the echo while the loop runs, where a write must not wait; NULL = written here. */
	void (*echo_to)(void *user, const char *p, size_t n);
	void *user;
	int max_level;			   /* enum svc_level: less important lines are left out */
	struct buf file_lines, echo_lines; /* of this turn of the loop */
	time_t stamped;			   /* the second that `second` tells */
	char second[32];		   /* "2026-01-31 12:00:00" */
};

/* 0 or -errno with err when the file cannot be opened (its folder is made). */
int activity_open(struct activity *a, const struct conf_supervisord *conf, bool foreground,
		  struct err *err);
/* Opens the file again, after somebody has moved it away. */
void activity_reopen(struct activity *a);
void activity_set_level(struct activity *a, enum conf_level level);
void activity_close(struct activity *a);
/* Lines are kept until activity_flush(), which the loop calls before it waits, so that a thousand need few writes. */
void activity_flush(struct activity *a);
void activity_log(struct activity *a, enum svc_level level, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#endif
