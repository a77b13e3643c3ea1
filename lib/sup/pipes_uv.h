/*
 * The pipes between programs. One is made when the first of its programs is started, and kept, here and at the keeper,
 * while programs come and go. An end is let go when the last program that has it has ended for good: from then on the
 * other end sees that. The bytes never pass through here.
 */
#ifndef SUP_PIPES_UV_H
#define SUP_PIPES_UV_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct conf;
struct conf_proc;
struct conf_wire;
struct err;
struct sup;
struct unit;

/* Those of s->conf, after the units, of which those that have not ended are counted. 0, or -EPROTO with err. */
int pipes_make(struct sup *s, struct err *err);
/* Those of conf that the supervisor before us knew, and that are not here yet. */
void pipes_restore(struct sup *s, const struct conf *conf);
/* Another configuration is in force. Pipes that it has not stay until pipes_arrange(). */
void pipes_use_conf(struct sup *s);
/* Of a pipe that has been there before: its size and what becomes of its ends are others now. */
void pipes_reconfigure(struct sup *s, const char *name);
/* How many of conf's are new. */
size_t pipes_count_new(const struct sup *s, const struct conf *conf);
/* Takes away what no configuration has any more. */
void pipes_arrange(struct sup *s);
void pipes_free(struct sup *s);

/* A process with these ends may run from now on, or has ended for good. */
void pipes_enter(struct sup *s, const struct conf_proc *conf);
void pipes_leave(struct sup *s, const struct conf_proc *conf);

/*
 * For a process that is started now: a descriptor of its end, which is the caller's; the pipe is made, or made anew, where
 * there is none. -errno with err.
 */
int pipes_end(struct unit *u, const struct conf_wire *wire, struct err *err);

/* The rows of `pipes` that this process is at, each with its "side" and "fd". */
json_t *pipes_of(const struct sup *s, const struct conf_proc *conf);

/* A number at the keeper that is a pipe's. */
bool pipes_has_id(const struct sup *s, uint32_t id);
/* What was kept under this number is a pipe's: takes it, and leaves -1. False: it is none. */
bool pipes_adopt(struct sup *s, uint32_t id, int *fds, size_t n);
/* All have been adopted, and it is known who has ended meanwhile. */
void pipes_settle(struct sup *s);

#endif
