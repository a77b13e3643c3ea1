/*
 * What the files of the methods share: method_uv.c has the table, status_uv.c, change_uv.c and reload_uv.c the handlers of their names.
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
/* How a process ended, code as si_code of waitid(2); 0 = it could not be started. status_uv.c */
void method_set_exit(json_t *row, int code, int status);
/* "targets": absent = all. Fills r->list, and r->rows with those that are nothing. False after an answer was sent. */
bool method_find_targets(struct request *r);

/* change_uv.c */
/* r waits until u is at rest, or has got to RUNNING or failed. All waiters first, then the events, then change_all_told(). */
struct waiter *change_wait(struct request *r, struct unit *u, bool for_stop);
/* No more waiters follow: r->results, if not NULL, is called now or when the last has what it waits for. */
void change_all_told(struct request *r);
bool change_wants_wait(const struct request *r);
/* What a waiter has come to. */
json_t *change_row(const struct waiter *w);
/* status_uv.c: the path of a log, absolute. */
json_t *status_path(const struct sup *s, const char *path);

/* Handlers: each ends with request_end(), now or later. */
void method_status(struct request *r); /* status_uv.c */
void method_start(struct request *r);  /* change_uv.c */
void method_stop(struct request *r);
void method_restart(struct request *r);
void method_signal(struct request *r);
void method_pipes(struct request *r); /* pipes_uv.c */
void method_send(struct request *r);
void method_reload(struct request *r); /* reload_uv.c */
void method_events(struct request *r); /* events_uv.c */

#endif
