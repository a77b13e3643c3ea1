/*
 * What a supervisor knows, where its successor finds it: a memfd, mapped and shared, that the keeper holds too. It is
 * written before anything is done, so that whoever is killed at whatever instruction leaves it whole.
 *
 * A header; a record for each unit, by its number; rings that belong to them; texts. What changes is there twice: the
 * new copy is written, and then one store says that it counts. Texts are added at the end, and what is behind the length
 * that the header tells does not count.
 */
#ifndef SUP_STATE_H
#define SUP_STATE_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/wire.h"
#include "sup/svc_state.h"

struct err;

/* Changes with struct state_whole, struct svc_record, or the meaning of anything in them. */
#define STATE_VERSION 3

enum { STATE_SIGNALS = 6 }; /* kinds of signals that a supervisor hears */

/* Of the supervisor as a whole. */
struct state_whole {
	uint64_t text_at, text_len; /* where the texts are; written by state.c */
	int64_t started, started_wall;
	uint32_t phase; /* enum sup_phase */
	int32_t exit_status;
	uint32_t next_id;
	uint32_t heard
		[STATE_SIGNALS]; /* of what the keeper has told (SIGNALLED); in the order of signals_uv.c */
	uint32_t reload;	 /* the number of the last reload */
	uint8_t asked_to_end, kill_all;
	uint8_t reloading;    /* it is at work: STATE_NEXT comes into force when it is done */
	uint8_t reload_again; /* another is asked for */
	uint8_t reload_over;  /* while it is at work the last with daemon=no has ended by itself */
};

enum state_kind {
	STATE_CONF, /* the files of the configuration in force, for conf_options.replay */
	STATE_FDS, /* strings: what is kept for instance 0 beside the state, by the number of the inode */
	STATE_ERROR,	/* of a unit: spawn_error; empty = none */
	STATE_AUTO_OUT, /* of a unit: paths of AUTO logs */
	STATE_AUTO_ERR,
	STATE_SAID, /* of a unit: what its program has said, as it would say it */
	STATE_NEXT, /* by the number of the reload: the same of the one that it brings in */
};

struct state {
	int fd;
	struct state_head *head; /* NULL = nothing is kept */
	size_t size;
	uint32_t capacity;
	size_t garbage; /* bytes of texts that later ones have replaced, at most */
};

/* An empty one with room for units numbered below some number >= `n`. 0 or -errno with err. */
int state_create(struct state *st, uint32_t n, struct err *err);
/* That of another supervisor; fd becomes the state's. -EPROTO: another version's, or damaged. */
int state_open(struct state *st, int fd, struct err *err);
void state_close(struct state *st);

/* A copy of what counts; state_put_whole() leaves the place of the texts alone. */
void state_get_whole(const struct state *st, struct state_whole *ret);
void state_put_whole(struct state *st, const struct state_whole *whole);

/* The record of a unit, all zero if there is none. id below capacity (asserted). */
void state_get(const struct state *st, uint32_t id, struct svc_record *ret);
void state_put(struct state *st, uint32_t id, const struct svc_record *r);
struct svc_rings state_rings(const struct state *st, uint32_t id);

/* Adds a text; the last of a kind and number counts. 0 or -errno. */
int state_add_text(struct state *st, enum state_kind kind, uint32_t id, const void *p, size_t n);
/* Puts one into a buffer for state_replace_texts(). */
void state_encode_text(struct buf *to, enum state_kind kind, uint32_t id, const void *p, size_t n);
/* All texts at once are those of the buffer. 0 or -errno. */
int state_replace_texts(struct state *st, const struct buf *texts);
/* All texts, on the heap; -errno. */
int state_read_texts(const struct state *st, char **ret, size_t *ret_n);
/* The next of them; false at the end. */
bool state_next_text(struct wire *w, enum state_kind *kind, uint32_t *id, const char **p,
		     size_t *n);
/* The one of a kind and number that counts; it lies in *ret_texts, on the heap. 0, -EPROTO: there is none, -errno. */
int state_find_text(const struct state *st, enum state_kind kind, uint32_t id, char **ret_texts,
		    const char **ret, size_t *ret_n);

#endif
