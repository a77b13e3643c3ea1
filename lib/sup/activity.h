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

struct sink;

struct activity {
	struct sink *file; /* or the system's log; NULL = none; the owner's */
	bool echo;	   /* also to standard error */
	bool colour;	   /* of the echo */
	/* While the loop runs a write must not wait: these take the lines. NULL = written here. */
	void (*flush_file)(void *user);
	void (*echo_to)(void *user, const char *p, size_t n);
	void *user;
	int max_level;	       /* enum svc_level: less important lines are left out */
	struct buf line;       /* the present one */
	struct buf datagram;   /* the same, as the system's log wants it */
	struct buf echo_lines; /* of this turn of the loop */
	size_t lost;	       /* lines that the file had no room for */
	time_t stamped;	       /* the second that `second` tells */
	char second[32];       /* "2026-01-31 12:00:00" */
};

/* The file that the log belongs into; NULL = none. */
const char *activity_path(const struct conf_supervisord *conf, bool foreground);
/* It belongs to the system's log instead. */
bool activity_is_for_syslog(const struct conf_supervisord *conf);

void activity_init(struct activity *a, const struct conf_supervisord *conf, bool foreground,
		   struct sink *file);
void activity_set_level(struct activity *a, enum conf_level level);
void activity_fini(struct activity *a);
/* Lines are kept until activity_flush(), which the loop calls before it waits, so that a thousand need few writes. */
void activity_flush(struct activity *a);
void activity_log(struct activity *a, enum svc_level level, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#endif
