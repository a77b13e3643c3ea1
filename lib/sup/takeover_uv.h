/*
 * What the files of a takeover share: takeover_uv.c (following another supervisor), takeover_save_uv.c (writing down what
 * one that follows us needs) and takeover_fds_uv.c (descriptors). What others call is in sup_uv.h.
 */
#ifndef SUP_TAKEOVER_UV_H
#define SUP_TAKEOVER_UV_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/wire.h"
#include "sup/sup_uv.h"

/* What lib/keeper/keeper.h says of the descriptors that the keeper hands down. */
enum { STDERR_FD = 5, STATE_FD = 6 };

/* takeover_save_uv.c */
/* Of a text, so that it is written only when it is another; 0 = NULL. */
uint32_t takeover_hash(const char *text);

/* takeover_fds_uv.c */
/* The descriptors of instance 0 but the state, and what they are: "INODE MODE control", "INODE MODE fcgi ADDRESS". */
struct takeover_fds {
	int *fds;
	size_t n;
	struct buf names;
};

/* Before anything else is opened: what is open was handed down. */
void takeover_look_around(struct sup_heritage *h);
struct takeover_fds takeover_list_fds(struct sup *s);
void takeover_fds_fini(struct takeover_fds *l);
/* Those that the list names go where they belong in s. */
void takeover_take_fds(struct sup *s, struct wire *names);
/* Closes those that nobody has taken. */
void takeover_close_unknown(struct sup *s);

#endif
