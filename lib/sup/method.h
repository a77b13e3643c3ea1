/*
 * What the files of the methods share: method_uv.c has the table, status_uv.c and change_uv.c the handlers of their names.
 */
#ifndef SUP_METHOD_H
#define SUP_METHOD_H

#include <jansson.h>
#include <stdbool.h>

#include "sup/control.h"
#include "sup/sup_uv.h"

enum { METHOD_ROWS = 64 }; /* in one part of an answer */

/* method_uv.c */
/* s as JSON, what is not UTF-8 in it as '?'; NULL is null. */
json_t *method_text(const char *s);
double method_seconds(struct mps_time t);
/* "targets": absent = all. Fills r->list, and r->rows with those that are nothing. False after an answer was sent. */
bool method_find_targets(struct request *r);

/* status_uv.c: the path of a log, absolute. */
json_t *status_path(const struct sup *s, const char *path);

/* Handlers: each ends with request_end(), now or later. */
void method_status(struct request *r); /* status_uv.c */
void method_start(struct request *r);  /* change_uv.c */
void method_stop(struct request *r);
void method_restart(struct request *r);
void method_signal(struct request *r);

#endif
