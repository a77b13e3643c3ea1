/*
 * What the keeper and the supervisor say to each other: datagrams on one SEQPACKET socketpair, each at most KEEPER_MSG_MAX
 * bytes, native byte order (base/wire.h). A datagram holds one message or several, one behind the other; one that ends in
 * what its sender puts behind (START, HELLO), and one with descriptors, is the only or the last. The keeper answers
 * nothing at once: what happens to an instance is reported when it has happened, and the last report of an instance is
 * kept until the socket takes it, so nothing is lost and nothing piles up. Instances are numbered by the supervisor; gen
 * tells one start from the next. Number 0 never has a process: what is kept for it is the supervisor's own. Others may have none
 * either: what is kept for them is told of before those that have.
 */
#ifndef KEEPER_MESSAGE_H
#define KEEPER_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/mtime.h"

struct buf;
struct wire;
struct mps_spawn;

#define KEEPER_PROTOCOL 6

enum keeper_type {
	/* supervisor -> keeper */
	/*
	 * u32 protocol, u32 on_crash, u64 orphan_grace ns, str folder (for the tracker's socket and journal, NULL = it tracks
	 * nothing), strv files to unlink at the end
	 */
	KEEPER_HELLO = 1,
	/*
	 * start_head, spawn; descriptors of its table travel along. The head: u32 instance, u32 gen, u32 leftovers, u64 grace,
	 * u32 enum keeper_cleanup, u32 look for objects that it does not speak of, str name for people
	 */
	KEEPER_START,
	KEEPER_START_LONG, /* start_head; the spawn is in a memfd, the last descriptor */
	KEEPER_SIGNAL,	   /* u32 instance, u32 gen, u32 signal, u32 scope */
	/*
	 * u32 instance, u32 first; descriptors that must outlive the supervisor. They replace those kept before from
	 * number `first` on.
	 */
	KEEPER_KEEP,
	KEEPER_FORGET, /* u32 instance: as if it had never been; ignored while it has a process */
	KEEPER_EXIT,   /* u32 exit status: end what is left, unlink, exit */
	/*
	 * u32 protocol: let go of the starter's standard error and of its pipe. A descriptor, if there is one: the log, for
	 * what is to be said when there is no supervisor any more; sent again when that is another file.
	 */
	KEEPER_DETACH,
	KEEPER_NAME_MAIN, /* u32 instance, u32 gen, u32 pid: the program says that this is its main process */
	KEEPER_UPGRADE, /* u32 protocol; the standard error that the next supervisor has until it takes over */
	KEEPER_DROP_SERVER, /* str name: of a forkserver that nobody is to use any more */
	KEEPER_HEARD,	    /* u32 how many UNLINKED were heard since the last */
	/* keeper -> supervisor */
	/*
	 * The answer to HELLO: u32 protocol, u32 keeper pid, u32 count of INSTANCE messages that follow; of the supervisor
	 * before: u32 pid (0 = none), u32 si_code, u32 si_status (both 0: it was replaced)
	 */
	KEEPER_WELCOME = 64,
	KEEPER_KEPT, /* u32 instance, u32 first; descriptors from this number on; INSTANCE follows */
	/*
	 * An instance as it is now; what is not reported yet is in it. u32 instance, u32 gen, u32 pid, u32 state, u64 time
	 * of its exec (monotonic), u64 signals that SIGNAL has sent it (bit n - 1), and as in EXITED or FAILED u32 code,
	 * u32 status, u64 wall time, str text
	 */
	KEEPER_INSTANCE,
	KEEPER_STARTED, /* u32 instance, u32 gen, u32 pid, u64 time: exec succeeded */
	KEEPER_MAIN,	/* u32 instance, u32 gen, u32 pid: it has another main process now */
	KEEPER_FAILED, /* u32 instance, u32 gen, u32 step, u32 errno, str text (or NULL) that says more */
	KEEPER_EXITED, /* u32 instance, u32 gen, u32 pid, u32 si_code, u32 si_status, u32 tree_left, u64 wall time */
	KEEPER_GONE, /* u32 instance, u32 gen: the last process of its tree is gone */
	KEEPER_REAPED, /* u32 pid, u32 si_code, u32 si_status: a stranger's zombie; sent if there is room, else dropped */
	KEEPER_RETIRE, /* u32 protocol: the next supervisor is there; touch nothing any more, and exit */
	/* u32 si_code, u32 si_status: how the next one ended before it was there; 0, u32 errno: why there was none */
	KEEPER_REFUSED,
	/*
	 * u32 signal, u32 how many of it the keeper has got in its life. Told when there is another, and to each new
	 * supervisor, which knows from the state how many of them were heard before.
	 */
	KEEPER_SIGNALLED,
	/* a forkserver: str name, u32 pid (0 = none now), u32 has it loaded all, u32 how many it and those before it have started */
	KEEPER_SERVER,
	/*
	 * An object that the instance has left behind is no more: u32 instance (0 = it is forgotten), u32 pid of who made it,
	 * u32 enum track_type, str name of the object, str name of the program. Told before the end of the
	 * instance, and kept until it is HEARD: the next supervisor is told of what was not.
	 */
	KEEPER_UNLINKED,
	/*
	 * u32 instance, u32 how many objects it holds, u32 how many were unlinked after it. Told now and then where it has
	 * changed, and to each new supervisor. Instance 0: words of strangers that were dropped.
	 */
	KEEPER_OBJECTS,
	/*
	 * To a front only. u32 instance, u32 gen, u32 signal: it has stopped its main process; 0:
	 * that goes on. u32 how many SIGCONT of the front's had been passed on when it was so.
	 */
	KEEPER_STOPPED,
};

/* When objects that an instance has left behind are unlinked. */
enum keeper_cleanup {
	KEEPER_CLEAN_EXIT,     /* when its last process is gone */
	KEEPER_CLEAN_SHUTDOWN, /* when the keeper ends */
	KEEPER_CLEAN_OFF,
};

/* What INSTANCE tells. */
enum keeper_instance {
	KEEPER_IS_BEGUN,  /* not known yet whether it can be executed */
	KEEPER_IS_ALIVE,  /* a report of its end may follow at once */
	KEEPER_IS_ENDING, /* the main process has ended, others of its tree have not */
	KEEPER_IS_ENDED,
	KEEPER_IS_FAILED, /* it could not be started */
};

enum keeper_scope { KEEPER_SCOPE_MAIN, KEEPER_SCOPE_GROUP, KEEPER_SCOPE_TREE };

/* What becomes of an instance's processes when its main process has ended. */
enum keeper_leftovers {
	KEEPER_LEFT_END,   /* the whole tree: TERM and CONT, KILL after the grace */
	KEEPER_LEFT_GROUP, /* its process group only */
	KEEPER_LEFT_KEEP,  /* nothing is done about them */
};

enum keeper_on_crash { KEEPER_CRASH_STOP, KEEPER_CRASH_RESTART };

struct keeper_start {
	uint32_t instance;
	uint32_t gen;
	enum keeper_leftovers leftovers;
	struct mps_time grace; /* between TERM and KILL of what is left */
	uint32_t cleanup;      /* enum keeper_cleanup */
	bool scan;	       /* also for what its processes have not told of */
	const char *name;      /* for people; NULL = it has none */
};

/* One decoded message; which members count depends on the type. Pointers go into the datagram. */
struct keeper_message {
	enum keeper_type type;
	uint32_t instance;
	uint32_t gen;
	uint32_t protocol;
	uint32_t on_crash;
	uint32_t signal;
	uint32_t scope;
	uint32_t status;  /* EXIT's status, EXITED's si_status, FAILED's errno */
	uint32_t code;	  /* EXITED's si_code, FAILED's step */
	uint32_t count;	  /* WELCOME's, SIGNALLED's, SERVER's, STOPPED's; OBJECTS' that it holds */
	uint32_t cleaned; /* OBJECTS' */
	uint32_t object;  /* UNLINKED's enum track_type */
	uint32_t first;	  /* KEEP's and KEPT's */
	uint32_t state;	  /* enum keeper_instance */
	uint64_t sent;	  /* INSTANCE's signals */
	pid_t pid;
	pid_t before; /* WELCOME's */
	bool tree_left;
	bool is_ready;		 /* SERVER's */
	struct mps_time time;	 /* HELLO's grace, STARTED's monotonic time, EXITED's wall time */
	struct mps_time started; /* INSTANCE's */
	struct keeper_start start;
	const char *
		text; /* FAILED's and INSTANCE's, or NULL; the name for SERVER, DROP_SERVER and UNLINKED; HELLO's folder */
	const char *program; /* UNLINKED's */
	const char *rest;    /* START: the encoded spawn; HELLO: the encoded list of files */
	size_t rest_size;
};

/* Appends the message to an empty buffer. START's spawn and HELLO's list are put behind by the caller (wire_put_*). */
void keeper_encode(const struct keeper_message *m, struct buf *to);

/* Takes the next message of a datagram off its front. 0 or -EBADMSG. Accepts only types of the given direction. */
int keeper_decode_next(struct wire *w, bool to_keeper, struct keeper_message *ret);

/* The same for a datagram that is one message. */
int keeper_decode(const void *p, size_t n, bool to_keeper, struct keeper_message *ret);

#endif
