/*
 * A configuration as JSON: what `check --json` prints. Keys are named as in the file, values are the effective ones.
 */
#ifndef CMD_MPSUP_EXPLAIN_H
#define CMD_MPSUP_EXPLAIN_H

#include <jansson.h>

#include "conf/conf.h"

/* Each answers a new reference. Bytes that are no UTF-8 are shown as U+FFFD. */
json_t *explain_conf(const struct conf *conf);
json_t *explain_proc(const struct conf_proc *p);
json_t *explain_string(const char *s); /* NULL gives null */

const char *explain_severity(enum conf_severity level);

#endif
