/*
 * Every limit on what a peer, a file or a person can make us hold. Bytes unless the name says otherwise.
 */
#ifndef BASE_LIMITS_H
#define BASE_LIMITS_H

/* Configuration. */
#define CONF_FILE_MAX (16 << 20)   /* one configuration file */
#define CONF_VALUE_MAX (1 << 20)   /* one value with its continuation lines */
#define CONF_INCLUDE_DEPTH_MAX 16  /* files that include files */
#define CONF_FILES_MAX 4096	   /* files in all */
#define CONF_PROGRAMS_MAX 100000   /* processes in all, numprocs expanded */
#define CONF_PIPES_MAX 10000	   /* [pipe:...] sections */
#define CONF_PIPE_FD_MAX 255	   /* the number of an end in its process */
#define CONF_WIRES_MAX 48	   /* ends of pipes in one process */
#define CONF_EXPAND_WIDTH_MAX 4096 /* the width or precision in %(x)99d */
#define CONF_LIMIT_MAX                                                                             \
	128 /* the N of restart_limit=N/SECONDS: so many times are kept; a power of two */

/* Keeper protocol. */
#define KEEPER_MSG_MAX 65536	   /* one datagram; a larger description travels in a memfd */
#define KEEPER_SPAWN_MAX (4 << 20) /* an encoded struct mps_spawn in all */
#ifndef KEEPER_INSTANCES_MAX /* valgrind has not enough addresses for the windows of so many */
#define KEEPER_INSTANCES_MAX 200000 /* instances in all */
#endif
#define KEEPER_FDS_MAX 64 /* descriptors in one message; the kernel's limit is 253 */

/* Start methods. */
#define SPAWN_TEXT_MAX 504  /* why an object could not be loaded, with its NUL */
#define FORKSERVERS_MAX 256 /* forkservers in all */
#define FORKSERVER_FDS_MAX                                                                         \
	(KEEPER_FDS_MAX + 4) /* of one request: the table, the pipe for failures, a memfd */

/* Control protocol. */
#define CONTROL_LINE_MAX (1 << 20)    /* one request or answer */
#define CONTROL_CLIENTS_MAX 1024      /* connections in all */
#define CONTROL_CLIENTS_UID_MAX 512   /* connections of one uid other than our own */
#define CONTROL_REQUESTS_MAX 64	      /* of one client that wait for services */
#define CONTROL_OUT_MAX (4 << 20)     /* answers not yet read by a client; more and it is dropped */
#define CONTROL_IN_ALL_MAX (64 << 20) /* requests of all clients that have not come to their end */
#define CONTROL_OUT_ALL_MAX                                                                        \
	(64 << 20) /* what all clients together have not read; more and one is dropped */
#define EVENTS_OUT_MAX (64 << 10) /* events not yet read by a subscriber, and more by .. */
#define EVENTS_OUT_UNIT_MAX 1024  /* .. so much for each process; more and it is dropped */
#define CONTROL_JSON_DEPTH_MAX 32 /* nesting in a request */

/* What programs say. */
#define NOTIFY_MSG_MAX 4096 /* one datagram, either way */

/* The resource tracker. */
#define TRACK_NAME_MAX 4096		   /* the name of an object, decoded */
#define TRACK_MSG_MAX 16384		   /* one datagram of a client */
#define TRACK_RECORDS_MAX 4000000	   /* objects in one registry */
#define TRACK_CLIENTS_MAX 16384		   /* connections to one keeper */
#define TRACK_RECORDS_INSTANCE_MAX 2000000 /* objects of one instance */
#define TRACK_JOURNAL_BEHIND_MAX                                                                   \
	(4 << 20) /* lines that a full disk did not take; more and it is written anew */
#define TRACK_AHEAD_MAX                                                                            \
	(1 << 20) /* what happens in /dev/shm, read before what came earlier is worked off */
#define TRACK_SAME_NAME_MAX 1024 /* records of one name */
#define TRACK_UNSURE_MAX 8	 /* .. of one process, of which it is not known what came of them */
#define TRACK_YOUNG_NS                                                                             \
	(5 * INT64_C(1000000000)) /* from a word to its object, or to the word that there is none */
#define TRACK_TOLD_MAX (INT64_MAX / 2) /* ns; sums with it do not overflow */
#define TRACK_FOLDER_DEPTH_MAX 64      /* folders in folders that are removed */

/* Connections of libmpsup. */
#define CONNECTION_AHEAD_MAX (64 << 10) /* what is read ahead of what was asked for */
#define CONNECTION_BODY_FIRST (1 << 20) /* of a long message at first: more as it comes */
#define CONNECTION_KEEP_MAX (4 << 20)	/* memory kept for the next long message */
#define CONNECTION_FDS_MAX 16		/* descriptors come, and not yet asked for */
#define AUTH_MESSAGE_MAX 256		/* one message of a handshake */
#define LISTENER_PENDING_MAX 256	/* peers that have not shown the key */
#define LISTENER_GRACE_MS                                                                          \
	200 /* so long one of them is safe from having to make room for the next */

/* The manager's server. */
#define MANAGER_FRAME_MAX (64 << 20) /* one request or answer */
#define MANAGER_READ_MAX (256 << 10) /* at once, of one client */
#define MANAGER_OUT_HIGH                                                                           \
	(1 << 20) /* answers not yet read by a client; more and it is not read from */
#define MANAGER_OUT_MAX                                                                            \
	((size_t)128 << 20) /* .. and so much only parked calls can make: it is dropped */
#define MANAGER_IN_ALL_MAX                                                                         \
	((size_t)1 << 30)	 /* requests of all clients that have not come to their end */
#define LOOP_FDS 8		 /* libuv's own, of a loop; it aborts where they cannot be had */
#define MANAGER_NAME_MAX 255	 /* the name of an object or type */
#define MANAGER_PENDING_MAX 64	 /* peers that have not shown the key */
#define MANAGER_KEPT_MAX 100000	 /* objects that stay without references */
#define MANAGER_LEASES_MAX 65536 /* tokens lent and not taken */
#define MANAGER_SNAPSHOT_MAX ((size_t)1 << (sizeof(size_t) > 4 ? 40 : 30))

/* mpsup map. */
#define MAP_TASK_MAX                                                                               \
	(16 << 20) /* one task, one answer of a worker; in --json what is shown of an output */
#define MAP_JOBS_MAX 10000	/* at a time */
#define MAP_AHEAD_MAX 4096	/* handed portions of the input before the first that is not over */
#define MAP_HELD_MAX (32 << 20) /* output kept in memory until its turn; more goes to a file .. */
#define MAP_SPILL_MIN (8 << 10) /* .. in pieces of at least this */
#define MAP_OUT_MAX (1 << 20)	/* not taken by standard output; more and nothing new begins */
#define MAP_BATCH_BYTES (64 << 10) /* one portion, but for one longer task */
#define MAP_BATCH_TASKS 4096	   /* tasks in a portion that adapts */
#define MAP_FAILURES_MAX 100	   /* listed at the end */
#define MAP_JOBLOG_LINE_MAX 4096   /* so much of a command stands in a joblog */

/* mpsup logs. */
#define LINE_HELD_MAX (1 << 20) /* of a line until its end comes; a longer one is shown in pieces */

#endif
