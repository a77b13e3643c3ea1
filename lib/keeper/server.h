/*
 * What server.c (forkservers) and server_ask.c (what they are asked for) share. What others call is in internal.h.
 */
#ifndef KEEPER_SERVER_H
#define KEEPER_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/mtime.h"
#include "keeper/internal.h"
#include "proc/forkserver.h"

enum { SERVER_PATIENCE_MS = 1000 }; /* between two answers; also between two servers */

struct ask {
	struct ask *next; /* of those that wait */
	struct server *server;
	uint32_t slot;
	struct buf message;
	int pipe;		     /* the child's end, -1 once it is sent */
	int fds[FORKSERVER_FDS_MAX]; /* what travels behind it */
	size_t n_fds;
	int own[2 * KEEPER_FDS_MAX + 1]; /* those of them that are ours to close */
	size_t n_own;
	unsigned tries;
	bool sent;
	uint64_t early; /* signals for a child that is not there yet, bit n - 1 */
};

struct server {
	char *name;
	char **preload; /* one block */
	pid_t pid;	/* 0 = none */
	/* Process groups in which somebody may not be reaped yet: of the last that has ended, of whom end_unborn() has. */
	pid_t left[2];
	int pidfd, sock, exec_fd;
	bool ready;    /* it has loaded everything */
	bool replaced; /* it is being ended, because another is wanted */
	bool wanted;   /* another, at not_before */
	bool unused;   /* by all that is configured: it goes when it has nothing to do */
	bool news;     /* the supervisor is to be told */
	char *failure; /* what it says why it is not ready */
	uint32_t n_started;
	struct mps_time not_before, deadline;
	struct ask *first, *last;
	unsigned under_way;
};

/* server.c */
/* The server of that name, which has loaded or will load that; NULL: out of memory, or too many. */
struct server *server_find(struct keeper *k, const struct mps_spawn *spawn);
/* Makes its process now, or when enough time has passed since the last. */
void server_want(struct keeper *k, struct server *s);
/* It has something less to do. */
void server_rest(struct server *s);
/* The supervisor is to be told of it. */
void server_note_news(struct keeper *k, struct server *s);

/* server_ask.c */
/* Sends what waits. What the socket does not take waits for an answer to what it has taken. */
void server_push(struct keeper *k, struct server *s);

#endif
