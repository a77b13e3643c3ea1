/*
 * libmpsup: processes, connections, queues, locks and shared memory for C: Python's multiprocessing, with the death of
 * any process at any moment thought of. All of the public API and nothing else; mpsup(7) is the overview, the page of each
 * object (man 3 mps_queue) its contract in full. Link with `pkg-config --cflags --libs mpsup`.
 *
 * Results. Negative is -errno. 0 is good, or a count. Positive is an outcome that the function's comment names.
 *
 * Timeouts are nanoseconds on the monotonic clock from the call on, for the whole call; MPS_FOREVER waits without limit; 0
 * or less tries once. -ETIMEDOUT is the answer in all these cases. No call is interrupted by a signal handler.
 *
 * Two kinds of objects. Those of a fixed size (struct mps_lock ...) lie in memory that processes share, wherever the caller
 * puts them: in a struct mps_shm, an arena, any MAP_SHARED mapping; they hold no pointer, no descriptor and no name, they
 * need not be destroyed, and a zeroed one is not valid before its mps_*_init(). The others (struct mps_queue *) are handles
 * of one process; children get them by fork, or in the arguments of mps_process_start().
 *
 * Options: NULL means the defaults of all, which is what *_INIT and zeroes are.
 *
 * Threads: an object that several processes may use at once several threads may, too. Handles of processes, connections and
 * arguments are one thread's at a time.
 */
#ifndef MPSUP_H
#define MPSUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

#define MPS_FOREVER INT64_MAX
#define MPS_SECOND INT64_C(1000000000)
#define MPS_MILLISECOND INT64_C(1000000)

/* "0.1.0" */
const char *mps_version(void);

/* ------------------------------------------------------------------------------------------------------ processes */

struct mps_args;
struct mps_process;

/* What a process runs: its result is the exit status. The arguments are its own, and freed for it. */
typedef int mps_target(struct mps_args *args);

enum mps_start_method {
	MPS_START_DEFAULT, /* what mps_set_start_method() says; without it MPS_START_SPAWN */
	MPS_START_SPAWN,   /* a fresh image of this program, or the command */
	MPS_START_FORK, /* a copy of this process as it is. Refused (-EBUSY) while it has other threads, but if forced */
	MPS_START_FORKSERVER, /* a copy of a process that has started as this one and run the preload function */
};

/*
 * Makes a function one that a process of any start method can run: in the fresh image it is found by its name. At file
 * scope, once a function: MPS_TARGET(worker);
 */
struct mps_target_row {
	const char *name;
	mps_target *function;
	struct mps_target_row *next;
};
void mps_target_add(struct mps_target_row *row);
#define MPS_TARGET(function_)                                                                      \
	static struct mps_target_row mps_target_row_##function_ = { #function_, function_, NULL }; \
	__attribute__((constructor)) static void mps_target_add_##function_(void)                  \
	{                                                                                          \
		mps_target_add(&mps_target_row_##function_);                                       \
	}                                                                                          \
	struct mps_target_row

/*
 * First thing in main(). In an image that was made to run a target, or to be the forkserver, it does so and does not
 * return. 0; -EPERM: somebody has asked a set-user-ID program for that. Without it there is no MPS_START_SPAWN or
 * MPS_START_FORKSERVER of a target, and what children have started stays when this process is killed.
 */
int mps_init(int *argc, char ***argv);
/* mps_init(), then body, then the end of all processes as exit(3) brings it: a whole main(). Returns body's result. */
int mps_main(int argc, char **argv, int (*body)(int argc, char **argv));

/* Once a process (-EALREADY), but if `force`. -EINVAL for no such method. Before the first start. */
int mps_set_start_method(enum mps_start_method method, bool force);
enum mps_start_method mps_get_start_method(void);
/* What the forkserver runs once, before anything else; a target. Before its first start (-EALREADY). */
int mps_set_forkserver_preload(mps_target *preload);

/* A row of the child's descriptor table: `child` is a copy of our `fd`. */
struct mps_process_fd {
	int child;
	int fd;
};

struct mps_process_options {
	const char *name; /* NULL = process-1, process-1:2 (its child) ... */
	enum mps_start_method method;
	/* One of the two: a function, or a program (argv[0] is looked for in PATH). */
	mps_target *target;
	char *const *argv;
	struct mps_args *args; /* for a target; NULL = none. Stays the caller's */
	char *const *env;      /* NULL = ours */
	const char *cwd;       /* NULL = ours */
	const struct mps_process_fd
		*fds; /* beside 0, 1 and 2, which it has from us; nothing else is open */
	size_t n_fds;
	/* mps exit: it is ended when this process exits; otherwise it is waited for. */
	bool daemon;
	/* It goes on when this process dies by a signal; otherwise it, and all that it has started, is ended then. */
	bool outlives;
	bool force;    /* MPS_START_FORK in spite of threads */
	int64_t grace; /* between SIGTERM and SIGKILL in mps_process_terminate(), ns; 0 = 10 s */
};
#define MPS_PROCESS_OPTIONS_INIT                                                                   \
	{                                                                                          \
		0                                                                                  \
	}

/*
 * Starts a process, and knows how the start went: 0 with *ret (mps_process_free()), or -errno, of the step that
 * mps_process_failure() names: -ENOENT (no such program, or the target is not known by MPS_TARGET), -EACCES, -EAGAIN,
 * -EBUSY (fork beside threads), -ECANCELED (the preload function has failed), -EPERM (mps_init() was not called), -EMFILE
 * (more than 60 descriptors) ...
 */
int mps_process_start(const struct mps_process_options *options, struct mps_process **ret);
/* Of the last start that failed in this thread: "exec /bin/x: No such file or directory". Never NULL. */
const char *mps_process_failure(void);

pid_t mps_process_pid(const struct mps_process *p);
const char *mps_process_name(const struct mps_process *p);
/* Readable when it has ended; stays the process'. pidfd_open(2). */
int mps_process_sentinel(const struct mps_process *p);
bool mps_process_is_alive(struct mps_process *p);
/*
 * Waits for its end, and not a moment past the timeout, whatever it has done with its descriptors. 0; -ETIMEDOUT. Also when
 * somebody else has reaped it.
 */
int mps_process_join(struct mps_process *p, int64_t timeout);
/* 0 with the exit status in *ret_code, or -N for signal N; -EBUSY while it lives; -ENODATA when somebody else has reaped it. */
int mps_process_exitcode(struct mps_process *p, int *ret_code);
/*
 * SIGTERM to it; when it has ended, or the grace is over, SIGKILL to all of its tree. Returns when nothing of it is left: 0;
 * -ETIMEDOUT if that takes longer than the timeout (then the killing has been done all the same).
 */
int mps_process_terminate(struct mps_process *p, int64_t timeout);
/* The same with SIGKILL at once. */
int mps_process_kill(struct mps_process *p, int64_t timeout);
/* One signal to it alone. 0, also when it has ended. */
int mps_process_signal(struct mps_process *p, int signal);
/* Lets go of the handle. -EBUSY while it lives. NULL is allowed. */
int mps_process_free(struct mps_process *p);

/*
 * Those that this process has started and that live. Reaps the others. Up to n into list (which may be NULL with 0);
 * returns how many there are.
 */
size_t mps_active_children(struct mps_process **list, size_t n);
/* Of a process that was started by a target: its name and who started it (0 = nobody: the first one). */
const char *mps_current_name(void);
pid_t mps_parent_pid(void);
/*
 * Readable when who started this process has ended; stays the library's. pidfd_open(2). -ECHILD: nobody has, or this is a copy by
 * fork(2) of the one that was started; -ENOSYS: the kernel has no pidfds.
 */
int mps_parent_sentinel(void);

/*
 * What a target is called with: a list, made by the parent with mps_args_add_*() (each returns its index, or -errno; bytes are
 * copied, descriptors duplicated), read by the child. What it gives out is freed with it, but what mps_args_take_fd()
 * has taken.
 */
struct mps_shm;
struct mps_queue;
struct mps_connection;
int mps_args_new(struct mps_args **ret);
void mps_args_free(struct mps_args *args);
int mps_args_add(struct mps_args *args, const void *p, size_t n);
int mps_args_add_text(struct mps_args *args, const char *text);
int mps_args_add_int(struct mps_args *args, int64_t value);
int mps_args_add_fd(struct mps_args *args, int fd);
int mps_args_add_shm(struct mps_args *args, const struct mps_shm *shm);
int mps_args_add_queue(struct mps_args *args, const struct mps_queue *queue);
int mps_args_add_connection(struct mps_args *args, const struct mps_connection *connection);
size_t mps_args_count(const struct mps_args *args);
/* NULL, or 0 (mps_args_int), or -1 (mps_args_fd) where there is none of that kind at that place. */
const void *mps_args_bytes(const struct mps_args *args, size_t i, size_t *ret_n);
const char *mps_args_text(const struct mps_args *args, size_t i);
int64_t mps_args_int(const struct mps_args *args, size_t i);
int mps_args_fd(const struct mps_args *args, size_t i);
int mps_args_take_fd(struct mps_args *args, size_t i);
struct mps_shm *mps_args_shm(struct mps_args *args, size_t i);
struct mps_queue *mps_args_queue(struct mps_args *args, size_t i);
struct mps_connection *mps_args_connection(struct mps_args *args, size_t i);

/* ---------------------------------------------------------------------------------------------------- connections */

/* The longest message that is taken or sent; mps_connection_set_limit() for another. */
#define MPS_MESSAGE_MAX ((size_t)1 << 30)

/*
 * Two ends: a socket pair both of which send and receive, or a pipe of which *ret_a receives and *ret_b sends. Messages are those of
 * Python's multiprocessing.connection (send_bytes, recv_bytes). Descriptors are close-on-exec. One thread may send while
 * another receives, and several may send over one end, also children by fork: message after message. (One that was opened by its
 * descriptor, or came in the arguments of a process, has one sender.)
 */
int mps_pipe(bool duplex, struct mps_connection **ret_a, struct mps_connection **ret_b);
/* Takes over a descriptor of that protocol: a pipe or stream socket (-EINVAL). On error it stays the caller's. */
int mps_connection_open(int fd, struct mps_connection **ret);
/*
 * One message of 0 bytes or more. -EPIPE when nobody can receive it, -EBADF on a receiving end, -EMSGSIZE: longer than the limit; after
 * -ETIMEDOUT within a message, which only one that does not fit into the kernel's buffer can come to, the connection
 * sends no more (-EPIPE).
 */
int mps_send(struct mps_connection *c, const void *p, size_t n, int64_t timeout);
/*
 * The next message, in memory that is valid until the next call that receives or polls. 0; -ENODATA: the other side has closed;
 * -EPROTO: it has died within a message, or has sent what is none: nothing more comes; -EMSGSIZE: the message is longer than
 * the limit (likewise); -ETIMEDOUT: what there is of it is kept for the next call; -EBADMSG: a descriptor comes
 * next, for mps_recv_fd().
 */
int mps_recv(struct mps_connection *c, const void **ret_p, size_t *ret_n, int64_t timeout);
/* The same into the caller's buffer. -ENOBUFS: it is too small, *ret_n is the size; the message stays to be received. */
int mps_recv_into(struct mps_connection *c, void *p, size_t size, size_t *ret_n, int64_t timeout);
/* 1: mps_recv() would not wait: all of a message is here, or the end; 0: it would, still after the timeout. -errno. */
int mps_connection_poll(struct mps_connection *c, int64_t timeout);
/* Messages are read ahead, so it may not be readable although some are there: receive until mps_connection_poll(c, 0) is 0. */
int mps_connection_fileno(const struct mps_connection *c);
void mps_connection_set_limit(struct mps_connection *c, size_t bytes);
/*
 * A descriptor of ours becomes one of theirs (sockets only: -EOPNOTSUPP). SCM_RIGHTS; reduction.send_handle's protocol.
 * -EBADMSG: a message comes next; -EMFILE: it is lost, there is no room in our table.
 */
int mps_send_fd(struct mps_connection *c, int fd, int64_t timeout);
int mps_recv_fd(struct mps_connection *c, int *ret_fd, int64_t timeout);
/* Closes and frees; NULL is allowed. */
void mps_connection_close(struct mps_connection *c);

/* One of the three is set. */
struct mps_waitable {
	struct mps_connection *connection;
	struct mps_process *process;
	int fd;	    /* where the others are NULL */
	bool ready; /* out: mps_connection_poll() is 1, the process has ended, fd is readable */
};
/* Waits until at least one is ready: how many are; 0 after the timeout. -errno. */
int mps_wait(struct mps_waitable *list, size_t n, int64_t timeout);

struct mps_listener;
struct mps_address_options {
	const void *authkey; /* NULL = none is asked for and none is shown */
	size_t authkey_size;
	bool allow_md5;	   /* speak with Python up to 3.11 */
	int backlog;	   /* of a listener; 0 = SOMAXCONN */
	int64_t handshake; /* at most, ns; 0 = 5 s */
};
#define MPS_ADDRESS_OPTIONS_INIT                                                                   \
	{                                                                                          \
		0                                                                                  \
	}
/*
 * Address: "unix:/path" (created 0600, removed at the close; one that nobody listens on is replaced), "abstract:name",
 * "tcp:host:port" (port 0: any; "tcp:[::1]:80"). NULL: a unix socket in a private folder. Options NULL: none. Without a key
 * a unix socket lets in only processes of the same user, and root's. -EINVAL for none of these, -EADDRINUSE.
 */
int mps_listen(const char *address, const struct mps_address_options *options,
	       struct mps_listener **ret);
/* In the form above, with the port that it has got. */
const char *mps_listener_address(const struct mps_listener *l);
/* Readable when mps_listener_accept() has something to do. */
int mps_listener_fileno(const struct mps_listener *l);
/*
 * The next peer that has shown the key. Handshakes go on side by side, so one that is silent or wrong holds up nobody: it
 * is dropped when its time is over, or when another one needs its place. -ETIMEDOUT; -EMFILE: our table of descriptors
 * is full, and who came has been refused.
 */
int mps_listener_accept(struct mps_listener *l, struct mps_connection **ret, int64_t timeout);
/*
 * Who came last: "tcp:host:port"; "unix:/path" or "abstract:name" of one that has bound its socket; "" of one that has not, and while
 * nobody has come. Until the next one is accepted.
 */
const char *mps_listener_last_accepted(const struct mps_listener *l);
void mps_listener_close(struct mps_listener *l);
/* The other side. -EACCES: the key is wrong, theirs or ours; -ECONNRESET: it has closed; -ECONNREFUSED, -ENOENT ... */
int mps_connect(const char *address, const struct mps_address_options *options,
		struct mps_connection **ret, int64_t timeout);

/* --------------------------------------------------------------------------------------------------------- queues */

struct mps_queue_options {
	uint32_t max_items; /* 0 = as many as fit into the ring */
	/*
	 * Bytes; 0 = 64 KiB, else 4 KiB to 1 GiB. Items longer than a quarter of it go by reference: two at any time, more
	 * (up to 64) as long as they are not more than 4 MiB or the ring.
	 */
	size_t ring_size;
	size_t max_item;  /* bytes; 0 = 1 GiB */
	const char *name; /* NULL = none: memory without a name */
	bool joinable;	  /* count what mps_queue_task_done() is still due for */
};
#define MPS_QUEUE_OPTIONS_INIT                                                                     \
	{                                                                                          \
		0                                                                                  \
	}
/*
 * A FIFO of items of bytes for any number of processes at both sides, in shared memory. An item is there for others when
 * mps_queue_put() has returned; nothing is left to be flushed. Who is killed within a put or a get loses at most the item
 * in its hands, and holds up nobody. 0; -ENOSPC (no memory), -EEXIST, -EINVAL.
 */
int mps_queue_new(const struct mps_queue_options *options, struct mps_queue **ret);
/* One that has a name. -ENOENT; -EBADMSG: there is something else behind the name. */
int mps_queue_open(const char *name, struct mps_queue **ret);
int mps_queue_unlink(const char *name);
/* The handle of this process. NULL is allowed. */
void mps_queue_free(struct mps_queue *q);
/* -EMSGSIZE: longer than max_item; -EPIPE: closed; -ENOSPC: no memory for a long one; -EBADMSG: the segment is damaged. */
int mps_queue_put(struct mps_queue *q, const void *p, size_t n, int64_t timeout);
/*
 * The first item into the caller's buffer. -EPIPE: closed, and empty; -ENOBUFS: it is too small, *ret_n is the size, the item stays
 * the first.
 */
int mps_queue_get(struct mps_queue *q, void *p, size_t size, size_t *ret_n, int64_t timeout);
/* The same into memory of its size: free(3). */
int mps_queue_get_new(struct mps_queue *q, void **ret_p, size_t *ret_n, int64_t timeout);
/* As many as there is room for, at least one, at most 512: how many. Items after each other in one lock, one wake-up. */
struct mps_item {
	void *p;
	size_t n; /* of a get: in: room; out: size */
};
int mps_queue_put_many(struct mps_queue *q, const struct mps_item *items, size_t n,
		       int64_t timeout);
int mps_queue_get_many(struct mps_queue *q, struct mps_item *items, size_t n, int64_t timeout);
/* Exact at some moment within the call. */
size_t mps_queue_size(const struct mps_queue *q);
/* For all processes: no more puts; gets go on until it is empty. */
int mps_queue_close(struct mps_queue *q);
/* Of a joinable queue (-EOPNOTSUPP): one of the items is done with (-EINVAL: more than were put). */
int mps_queue_task_done(struct mps_queue *q);
/* Waits until that has been said of all. */
int mps_queue_join(struct mps_queue *q, int64_t timeout);

/* ---------------------------------------------------------------------------------------------------------- locks */

/*
 * All of these lie in shared memory. Holders are threads, as the kernel knows them, and are known by it when they die: locks
 * do not work between PID namespaces. set_robust_list(2).
 */
struct mps_lock {
	char opaque[48] __attribute__((aligned(8)));
};
/*
 * Not recursive (-EDEADLK). Acquired: 0, or EOWNERDEAD (positive): the lock is held, but the one who held it before died
 * holding it: what it protects may be half changed. That is told once; who dies before having repaired it leaves the
 * same to the next. -ETIMEDOUT.
 */
int mps_lock_init(struct mps_lock *lock);
int mps_lock_acquire(struct mps_lock *lock, int64_t timeout);
/* -EPERM: not held by this thread. */
int mps_lock_release(struct mps_lock *lock);

/* The same, and who holds it may acquire it again; each acquire needs its release. */
struct mps_rlock {
	char opaque[48] __attribute__((aligned(8)));
};
int mps_rlock_init(struct mps_rlock *lock);
int mps_rlock_acquire(struct mps_rlock *lock, int64_t timeout);
int mps_rlock_release(struct mps_rlock *lock);

#define MPS_SEMAPHORE_HOLDERS_MAX 120
enum {
	MPS_SEMAPHORE_BOUNDED = 1 << 0, /* a release beyond the first value is -EOVERFLOW */
	/*
	 * Units belong to nobody: anyone may release, and nothing comes back when somebody dies (a signal, a count of things). Without
	 * it a unit belongs to the thread that acquired it until it releases it (-EPERM for others), and comes back when that
	 * ends, however it does.
	 */
	MPS_SEMAPHORE_UNOWNED = 1 << 1,
};
/* About 8 KiB: who holds how many. At most so many threads hold units at once (-EAGAIN) unless UNOWNED; those need a value. */
struct mps_semaphore {
	char opaque[128 + 64 * MPS_SEMAPHORE_HOLDERS_MAX] __attribute__((aligned(64)));
};
int mps_semaphore_init(struct mps_semaphore *s, uint32_t value, unsigned flags);
int mps_semaphore_acquire(struct mps_semaphore *s, int64_t timeout);
int mps_semaphore_release(struct mps_semaphore *s, uint32_t n);
uint32_t mps_semaphore_value(struct mps_semaphore *s);

/*
 * Waiting for what a lock protects. No notifier waits for anybody, so the dead hold up nobody. A wait may end without a
 * notification: check in a loop what is waited for, or use mps_condition_wait_for().
 */
struct mps_condition {
	char opaque[16] __attribute__((aligned(8)));
};
int mps_condition_init(struct mps_condition *c);
/* With the lock held, which is held again afterwards, also after -ETIMEDOUT: 0 or EOWNERDEAD as of the lock. -EPERM. */
int mps_condition_wait(struct mps_condition *c, struct mps_lock *lock, int64_t timeout);
/* The lock is released as often as it is held, and acquired so often again. */
int mps_condition_wait_rlock(struct mps_condition *c, struct mps_rlock *lock, int64_t timeout);
/* Until is_so(user) says true. EOWNERDEAD ends the wait, too. */
int mps_condition_wait_for(struct mps_condition *c, struct mps_lock *lock,
			   bool (*is_so)(void *user), void *user, int64_t timeout);
int mps_condition_wait_for_rlock(struct mps_condition *c, struct mps_rlock *lock,
				 bool (*is_so)(void *user), void *user, int64_t timeout);
/* Wakes up to n; UINT32_MAX = all. The lock should be held. Async-signal-safe. */
int mps_condition_notify(struct mps_condition *c, uint32_t n);

/* A flag to wait for. All of it is async-signal-safe but the wait. */
struct mps_event {
	char opaque[16] __attribute__((aligned(8)));
};
int mps_event_init(struct mps_event *e);
/* All who wait at that moment go on, even if it is cleared at once. */
int mps_event_set(struct mps_event *e);
int mps_event_clear(struct mps_event *e);
bool mps_event_is_set(const struct mps_event *e);
int mps_event_wait(struct mps_event *e, int64_t timeout);

/*
 * So many wait for each other, again and again. When one of them dies waiting, its time is over, or mps_barrier_abort() is
 * called, it is broken: all get -EPIPE until mps_barrier_reset().
 */
#define MPS_BARRIER_PARTIES_MAX 120
struct mps_barrier {
	char opaque[128 + 2 * 48 * MPS_BARRIER_PARTIES_MAX] __attribute__((aligned(64)));
};
int mps_barrier_init(struct mps_barrier *b, uint32_t parties);
/* 0 to parties - 1, each once; the last to come gets 0. -ETIMEDOUT to the one whose time is over, -EPIPE to the others. */
int mps_barrier_wait(struct mps_barrier *b, int64_t timeout);
int mps_barrier_abort(struct mps_barrier *b);
int mps_barrier_reset(struct mps_barrier *b);
uint32_t mps_barrier_waiting(struct mps_barrier *b);
bool mps_barrier_is_broken(struct mps_barrier *b);

/* --------------------------------------------------------------------------------------------------------- memory */

/*
 * A segment: zeroed memory that is really there (-ENOSPC at the creation, no SIGBUS later). Without a name it is a memfd,
 * which cannot be shrunk under anybody, and is gone with its last user. With one it is known to the resource
 * tracker before it exists, and opening never makes it the opener's. Names are those of shm_open(3): up to 250 bytes without
 * '/', but for one at the front, which may be missing. -EINVAL for others, and for 0 bytes; -EEXIST.
 */
int mps_shm_create(const char *name, size_t size, struct mps_shm **ret);
/* -ENOENT: there is none, or it is not ready: it has no bytes yet. */
int mps_shm_open(const char *name, bool writable, struct mps_shm **ret);
/* Takes over the descriptor of a memfd or of a file of /dev/shm. On error (-EINVAL: neither) it stays the caller's. */
int mps_shm_from_fd(int fd, struct mps_shm **ret);
/* -ENOENT when it is gone. */
int mps_shm_unlink(const char *name);
/* All of it, mapped, as long as it was then; NULL: it had no bytes. */
void *mps_shm_data(const struct mps_shm *shm);
/* Bytes as of now. */
size_t mps_shm_size(const struct mps_shm *shm);
const char *mps_shm_name(const struct mps_shm *shm); /* "/name"; NULL = none, or not known */
int mps_shm_fileno(const struct mps_shm *shm);
/*
 * Checks that it is so long now (-ERANGE), and maps it anew where others have made it longer: what mps_shm_data() gave
 * before stays valid. offset need not be aligned.
 */
int mps_shm_map(struct mps_shm *shm, size_t offset, size_t n, void **ret_p);
/*
 * Longer (-ENOSPC) or, with a name, shorter. Pointers into it are not valid any more, and no other thread is within a call
 * with this handle. -EPERM: sealed; -EACCES: opened to be read.
 */
int mps_shm_resize(struct mps_shm *shm, size_t size);
/*
 * Of a memfd (-EOPNOTSUPP): nobody can change its size, nor (writes) its bytes any more; -EBUSY while another process, or
 * another handle, has it mapped to write. Pointers stay valid, to be read.
 */
int mps_shm_seal(struct mps_shm *shm, bool writes);
void mps_shm_close(struct mps_shm *shm);

/*
 * Numbers that processes share. Types are the codes of Python's array module: b B h H i I l L q Q f d, u (wchar_t) and w
 * (char32_t); c for a char (0 to 255), ? for a bool (0 or 1). With MPS_RAW there is no lock and each call is as atomic as the machine's load and store.
 */
struct mps_array;
enum { MPS_RAW = 1 << 0 };
int mps_array_new(char type, size_t length, unsigned flags, struct mps_array **ret);
/* In a segment with a name, for mps_shm_open() and mps_shm_unlink(); -EEXIST. NULL: without. */
int mps_array_create(const char *name, char type, size_t length, unsigned flags,
		     struct mps_array **ret);
/*
 * What another process has made, in its segment, which stays the caller's, and open. -EBADMSG: it is none; -ENOENT: nothing
 * has been made there yet; -EACCES: it can only be read, and is not raw.
 */
int mps_array_open(struct mps_shm *shm, struct mps_array **ret);
struct mps_shm *mps_array_shm(struct mps_array *a);
void mps_array_free(struct mps_array *a);
size_t mps_array_length(const struct mps_array *a);
char mps_array_type(const struct mps_array *a);
/* The numbers themselves: hold the lock while using them. */
void *mps_array_data(struct mps_array *a);
/* NULL with MPS_RAW. */
struct mps_rlock *mps_array_lock(struct mps_array *a);
/*
 * -ERANGE: no such place, or the number does not fit the type; -EINVAL: get_int of f and d, set_double of whole numbers.
 * EOWNERDEAD (positive): done, but see mps_lock_acquire().
 */
int mps_array_get_int(struct mps_array *a, size_t i, int64_t *ret);
int mps_array_set_int(struct mps_array *a, size_t i, int64_t value);
int mps_array_get_double(struct mps_array *a, size_t i, double *ret);
int mps_array_set_double(struct mps_array *a, size_t i, double value);
/* n numbers from place i on, as they lie in memory. */
int mps_array_read(struct mps_array *a, size_t i, size_t n, void *p);
int mps_array_write(struct mps_array *a, size_t i, size_t n, const void *p);
/*
 * Of whole numbers (-EINVAL; a bool has no sum), without the lock: one atomic instruction. A sum wraps around. *ret_old may be NULL; of L and Q it is
 * the same bits.
 */
int mps_array_add(struct mps_array *a, size_t i, int64_t delta, int64_t *ret_old);
int mps_array_exchange(struct mps_array *a, size_t i, int64_t value, int64_t *ret_old);

/* The same with one number. */
struct mps_value;
int mps_value_new(char type, unsigned flags, struct mps_value **ret);
int mps_value_create(const char *name, char type, unsigned flags, struct mps_value **ret);
int mps_value_open(struct mps_shm *shm, struct mps_value **ret);
struct mps_shm *mps_value_shm(struct mps_value *v);
void mps_value_free(struct mps_value *v);
void *mps_value_data(struct mps_value *v);
struct mps_rlock *mps_value_lock(struct mps_value *v);
int mps_value_get_int(struct mps_value *v, int64_t *ret);
int mps_value_set_int(struct mps_value *v, int64_t value);
int mps_value_get_double(struct mps_value *v, double *ret);
int mps_value_set_double(struct mps_value *v, double value);
int mps_value_add(struct mps_value *v, int64_t delta, int64_t *ret_old);
int mps_value_exchange(struct mps_value *v, int64_t value, int64_t *ret_old);

/*
 * An allocator in a segment, for any process that has it. Blocks are named by their offset, which is the same in all of them;
 * 0 is none. A block belongs to the process that allocated it until mps_arena_keep(), and is free again when that
 * dies before; a process that is killed within a call leaves the arena whole.
 */
struct mps_arena;
int mps_arena_new(size_t size, struct mps_arena **ret);
/* In a segment with a name, for mps_shm_open() and mps_shm_unlink(); -EEXIST. NULL: without. */
int mps_arena_create(const char *name, size_t size, struct mps_arena **ret);
/* -EBADMSG: no arena, or a damaged one; -ENOENT: not made yet. The segment stays the caller's. */
int mps_arena_open(struct mps_shm *shm, struct mps_arena **ret);
struct mps_shm *mps_arena_shm(struct mps_arena *a);
void mps_arena_close(struct mps_arena *a);
/* n bytes, aligned to 16, not zeroed. -ENOMEM. */
int mps_arena_alloc(struct mps_arena *a, size_t n, uint64_t *ret_offset);
/* -EINVAL: no block begins there. */
int mps_arena_free(struct mps_arena *a, uint64_t offset);
/* From now on it is nobody's: it stays until it is freed. */
int mps_arena_keep(struct mps_arena *a, uint64_t offset);
/* NULL: not within the arena. */
void *mps_arena_at(struct mps_arena *a, uint64_t offset);
uint64_t mps_arena_offset(struct mps_arena *a, const void *p);
/* Frees what the dead have left; also done when there is no room. How many blocks, or -errno. */
int mps_arena_sweep(struct mps_arena *a);
/* Bytes that blocks have, bytes that could be had. */
int mps_arena_usage(struct mps_arena *a, size_t *ret_used, size_t *ret_free);

/* ---------------------------------------------------------------------------------------------------------- pools */

/*
 * A pool of worker processes that tasks are handed to. A task function is a target (MPS_TARGET): its arguments are the items
 * of the task (mps_args_bytes(), in memory that is there until it returns), its result is set by mps_args_reply(), and what it
 * returns is 0, or its failure.
 *
 * The death of a worker is the outcome of the one task that it was at, or that is tried again; tasks that were done stay done,
 * and those that it had not begun are for another one. A pool may be used by several threads; not by a copy of the process
 * (-ECHILD). It has one thread of its own for deaths, time limits and callbacks.
 */
struct mps_pool;
struct mps_future;
struct mps_imap;

#define MPS_POOL_WORKERS_MAX 1024

/* What has become of a task: 0, or */
enum {
	MPS_POOL_E_FAILED = 1,	/* its function has returned something else than 0: the code */
	MPS_POOL_E_WORKER_DIED, /* in the middle of it; code: exit status, or -N for signal N */
	MPS_POOL_E_TIMEOUT,	/* it took longer than task_timeout, and was killed */
	MPS_POOL_E_CANCELLED,	/* mps_future_cancel(), fail_fast, mps_pool_terminate() */
	MPS_POOL_E_BROKEN,	/* the pool has failed: mps_pool_failure() */
};

struct mps_result {
	int outcome;
	int code;
	pid_t pid;	/* of the worker that ran it, or died at it; 0 = none */
	uint32_t tries; /* how often it was begun, as far as that is known */
	size_t index;	/* which one it is of the tasks that it was handed over with, from 0 on */
	void *p;	/* what the task has replied; NULL = nothing */
	size_t n;
};

struct mps_pool_options {
	const char *name;	      /* of the processes; NULL = pool */
	uint32_t workers;	      /* 0 = as many as CPUs may be used: affinity, cgroup quota */
	enum mps_start_method method; /* MPS_START_FORK: in a process without other threads */
	/* What a worker runs first, and its arguments, which stay the caller's. It succeeds by returning 0. */
	mps_target *initializer;
	struct mps_args *args;
	uint32_t init_retries; /* in a row, of a worker that does not get through it */
	/* A worker's own loop, with the arguments of the initializer: see mps_worker_next(). */
	mps_target *worker;
	uint32_t max_tasks;   /* after which a worker is replaced; 0 = never */
	uint32_t retries;     /* of a task whose worker has died; not after task_timeout */
	int64_t task_timeout; /* of each task, ns; 0 = none */
	size_t ring_size; /* of each direction of each worker, bytes, 4 KiB to 64 MiB; 0 = 64 KiB */
};
#define MPS_POOL_OPTIONS_INIT                                                                      \
	{                                                                                          \
		0                                                                                  \
	}
/*
 * Starts the workers, and returns when all are ready: 0 with *ret; -ECANCELED: an initializer has failed, or a worker died in
 * it; -EINVAL; -ENOENT: a target is not known by MPS_TARGET; -ELOOP: pools within workers of pools ... eight deep;
 * -errno of mps_process_start(). mps_pool_failure(NULL) says why.
 */
int mps_pool_new(const struct mps_pool_options *options, struct mps_pool **ret);
/* Why the pool has failed; "" = it has not. Of NULL: the last mps_pool_new() of this thread that did. Never NULL. */
const char *mps_pool_failure(const struct mps_pool *pool);
/*
 * One task of so many items, and its result: the outcome (also in *ret), or -errno. ret->p is the caller's: free(3). After -ETIMEDOUT
 * the task is cancelled, if no worker has it yet. `function` is NULL where workers have their own loop. -ENOENT: it is not
 * known; -EPIPE: the pool was closed; -ECANCELED: it has failed; -EMSGSIZE: more than 1 GiB; -EDEADLK: in a callback.
 */
int mps_pool_apply(struct mps_pool *pool, mps_target *function, const struct mps_item *items,
		   size_t arity, struct mps_result *ret, int64_t timeout);
/* The same without waiting. What the items point to is copied. */
int mps_pool_apply_async(struct mps_pool *pool, mps_target *function, const struct mps_item *items,
			 size_t arity, struct mps_future **ret);

struct mps_map_options {
	size_t arity;	/* items of each task, which lie one after the other; 0 = 1 */
	size_t chunk;	/* tasks that a worker gets at a time; 0 = n / (4 * workers), rounded up */
	bool fail_fast; /* when one fails those that no worker has are cancelled */
};
#define MPS_MAP_OPTIONS_INIT                                                                       \
	{                                                                                          \
		0                                                                                  \
	}
/*
 * n tasks. The future is that of all of them, also after a failure of some; of mps_pool_map() all are done. 0, the outcome of the
 * first that is not good, or -errno, then there is no future. After -ETIMEDOUT they are cancelled as far as possible.
 */
int mps_pool_map(struct mps_pool *pool, mps_target *function, const struct mps_item *items,
		 size_t n, const struct mps_map_options *options, struct mps_future **ret,
		 int64_t timeout);
int mps_pool_map_async(struct mps_pool *pool, mps_target *function, const struct mps_item *items,
		       size_t n, const struct mps_map_options *options, struct mps_future **ret);

/*
 * Waits for all tasks of it. The outcome of the first one that is not good, or 0; *ret (may be NULL) is that one's result, or that
 * of the first of all. -ETIMEDOUT; -EDEADLK: it is not done, and this is a callback. What results point to is the
 * future's.
 */
int mps_future_get(struct mps_future *f, struct mps_result *ret, int64_t timeout);
bool mps_future_ready(struct mps_future *f);
size_t mps_future_count(const struct mps_future *f);
/* Of one task: its outcome; -EBUSY: it has none yet; -ERANGE. */
int mps_future_result(struct mps_future *f, size_t i, struct mps_result *ret);
/* Tasks that no worker has yet are not run: how many. The others go on. */
int mps_future_cancel(struct mps_future *f);
/*
 * Once (-EALREADY): called by the pool's thread when all tasks are done, also if they are now. It may use the pool, and free the
 * future, but not wait for tasks.
 */
int mps_future_callback(struct mps_future *f, void (*function)(struct mps_future *f, void *user),
			void *user);
/* At any time: what is not done then goes on, and its results are dropped. NULL is allowed. */
void mps_future_free(struct mps_future *f);

/*
 * Tasks of which there may be no end. input() is called by mps_imap_next(), in its thread, and never for more than `prefetch` tasks
 * that were not given out yet: 1 with the items of the next task, which are copied before it is called again; 0: there
 * are no more; -errno: likewise, and mps_imap_next() returns that in its turn.
 */
struct mps_imap_options {
	int (*input)(void *user, struct mps_item *items);
	void *user;
	size_t arity;	 /* items of each task; 0 = 1 */
	size_t chunk;	 /* tasks that a worker gets at a time; 0 = 1 */
	size_t prefetch; /* 0 = 64 chunks for each worker */
	bool unordered;	 /* as they are done, not as they came */
};
int mps_pool_imap(struct mps_pool *pool, mps_target *function,
		  const struct mps_imap_options *options, struct mps_imap **ret);
/*
 * The next result: its outcome; -ENODATA: that was all; -ETIMEDOUT. What it points to is valid until the next call.
 * One thread at a time.
 */
int mps_imap_next(struct mps_imap *im, struct mps_result *ret, int64_t timeout);
/* What no worker has yet is cancelled. NULL is allowed. */
void mps_imap_free(struct mps_imap *im);

/* So many workers from now on: others are started, or end when they have done what they have. At once: 0, -EINVAL. */
int mps_pool_resize(struct mps_pool *pool, uint32_t workers);
/* Those that live: up to n into list (which may be NULL with 0); returns how many there are. */
size_t mps_pool_pids(struct mps_pool *pool, pid_t *list, size_t n);
/* No more tasks; workers end when all are done. 0. */
int mps_pool_close(struct mps_pool *pool);
/*
 * Ends it now: tasks that are not done are cancelled, the workers and all that they have started killed. 0; -ETIMEDOUT: done all
 * the same, but not over. In a callback it does not wait for that.
 */
int mps_pool_terminate(struct mps_pool *pool, int64_t timeout);
/* Until all workers have ended. 0, -ETIMEDOUT, -EBUSY: neither closed nor terminated; -EDEADLK: in a callback. */
int mps_pool_join(struct mps_pool *pool, int64_t timeout);
/* Terminates it unless it has ended. Futures stay, and can be read. NULL is allowed. */
void mps_pool_free(struct mps_pool *pool);

/*
 * In a task function: its result, of which the last is taken; it is copied. -EMSGSIZE: more than 1 GiB; -EOPNOTSUPP: these
 * are not the arguments of a task.
 */
int mps_args_reply(struct mps_args *args, const void *p, size_t n);
/*
 * In a worker's own loop: waits for the next task. 0; -ENODATA: there will be none, return. The one before is done with by
 * that, if mps_worker_done() has not been called: well if the code is 0.
 */
int mps_worker_next(struct mps_args **ret_task);
int mps_worker_done(int code);

/* -------------------------------------------------------------------------------------------------------- tracker */

/*
 * Tells the resource tracker of something that is to be removed when this process, or the supervised program that it belongs
 * to, is gone: call it before making it. Type: semaphore, shared_memory, mqueue, file, folder ... as of mpsup-tracker(7). Under
 * a supervisor it is the supervisor's; else one is started as a child of this process, for it and all its descendants.
 * What this library itself gives names to is told by it. 0 when it is written down; -EINVAL for no such type or name.
 */
int mps_track_register(const char *type, const char *name);
int mps_track_unregister(const char *type, const char *name);

/* -------------------------------------------------------------------------------------------------------- manager */

/*
 * A server process that holds objects for everyone: dict, list, namespace, queue, joinable_queue, lock, rlock, semaphore,
 * bounded_semaphore, condition, event, barrier, value, array, counter, and types of the program's own. Clients are on this
 * machine or others. What they pass and get are values: MessagePack (nil, bool, int, float, str, bin, array, map). Of clients of
 * the same user on the same machine, all of these types but the first three and a program's own are in shared memory, and
 * cost what the objects above cost; nothing else tells the difference.
 */
struct mps_manager; /* a connection of this process to a server; for all of its threads */
struct mps_object;  /* a reference to an object; likewise */

struct mps_manager_options {
	const char *address; /* as of mps_listen(); NULL: a unix socket in a private folder */
	const void *authkey; /* over TCP there has to be one */
	size_t authkey_size;
	/* Of a server: dicts, lists and queues with names are kept in this file over a restart; NULL = not. */
	const char *snapshot;
	/* Of mps_manager_serve(): is told what a person should know, in a line without its end: that the snapshot cannot be written ... */
	void (*say)(const char *text);
	int64_t handshake;   /* at most, ns; 0 = 5 s */
	size_t objects_max;  /* of one client; 0 = 10,000 */
	size_t bytes_max;    /* of values that one client has put there; 0 = 1 GiB */
	size_t requests_max; /* of one client, not answered; 0 = 1,024 */
	/* Of a client: when the server is gone, or not there yet, wait for the next one at the address, and attach by name again. */
	bool reconnect;
	bool remote; /* of a client: no shared memory */
};
#define MPS_MANAGER_OPTIONS_INIT                                                                   \
	{                                                                                          \
		0                                                                                  \
	}

/* Starts a server as a child of this process, which it ends with, and connects to it. -EPERM: mps_init() was not called. */
int mps_manager_start(const struct mps_manager_options *options, struct mps_manager **ret);
/*
 * Is a server until SIGTERM or SIGINT, or mps_manager_shutdown() from a client: 0. A line "ready" and its address are written to ready_fd when clients can
 * come (-1 = nobody wants to know). Single-threaded callers only. -errno with text in *ret_why, which stays this library's.
 */
int mps_manager_serve(const struct mps_manager_options *options, int ready_fd,
		      const char **ret_why);
/*
 * One descriptor a process, however many threads call. -EBUSY: the server has no room; -EACCES: the key is wrong, theirs or ours; -ECONNREFUSED, -ENOENT ...
 * A child by fork has to make its own: of its parent's managers and objects all calls but the closing ones are -EINVAL.
 */
int mps_manager_connect(const char *address, const struct mps_manager_options *options,
			struct mps_manager **ret, int64_t timeout);
const char *mps_manager_address(const struct mps_manager *m);
/* The server ends; 0 when it has heard of it. */
int mps_manager_shutdown(struct mps_manager *m, int64_t timeout);
/* All references of this process to its objects are gone then; struct mps_object of it are only to be closed. NULL is allowed. */
void mps_manager_close(struct mps_manager *m);

enum {
	MPS_OBJECT_KEEP = 1 << 0,     /* it stays without references, until mps_object_remove() */
	MPS_OBJECT_EXISTING = 1 << 1, /* one of that name and type is taken as it is */
};
/*
 * name NULL: none. args: what the type takes, packed (mps_pack()): a queue its max_items (and the bytes of its ring, 1 MiB), a semaphore its value (and MPS_SEMAPHORE_UNOWNED), a barrier its parties, a value its
 * typecode and number, an array its typecode and length or numbers, the others nothing, or what is to be in them. -EEXIST, -EINVAL, -EDQUOT: more than this client may have.
 */
int mps_object_create(struct mps_manager *m, const char *type, const char *name, unsigned flags,
		      const void *args, size_t n, struct mps_object **ret, int64_t timeout);
/* -ENOENT. type may be NULL; -EPROTOTYPE: it is of another. */
int mps_object_attach(struct mps_manager *m, const char *type, const char *name,
		      struct mps_object **ret, int64_t timeout);
/* Its name is free again; who has a reference keeps it. */
int mps_object_remove(struct mps_manager *m, const char *name, int64_t timeout);
/*
 * For another process, which takes it up by mps_object_take() within `lease` ns: meanwhile it does not vanish, whatever happens to this one. token: 32 hexadecimal digits and NUL.
 */
int mps_object_lend(struct mps_object *o, int64_t lease, char token[33], int64_t timeout);
int mps_object_take(struct mps_manager *m, const char *token, struct mps_object **ret,
		    int64_t timeout);
const char *mps_object_type(const struct mps_object *o);
void mps_object_close(struct mps_object *o);

/*
 * Calls a method with its arguments, a packed array (NULL = none). *ret_p: the value that it returns, free(3). Methods are in
 * mpsup-manager(7). Outcomes that are no values are as of the objects above: -ETIMEDOUT, EOWNERDEAD, -EPIPE, -EPERM ...
 * -ENOENT: no such key, -ERANGE: no such place; -ENOSYS: no such method; -EINVAL: those are no arguments of it;
 * -ECONNRESET: the server is gone (it may have been done); -ESTALE: it is another server now, that does not have the object;
 * -EBUSY: the server has no room for more of us; -EDQUOT.
 */
int mps_object_call(struct mps_object *o, const char *method, const void *args, size_t n,
		    void **ret_p, size_t *ret_n, int64_t timeout);
/*
 * Sends a call, and asks for its outcome later: many at a time in one message. The timeout is that of the call; of an object in shared memory
 * what would have to wait is done when its outcome is asked for. mps_object_result() ends it, also with -ETIMEDOUT. The object is open until then.
 */
struct mps_pending;
int mps_object_send(struct mps_object *o, const char *method, const void *args, size_t n,
		    struct mps_pending **ret, int64_t timeout);
int mps_object_result(struct mps_pending *pending, void **ret_p, size_t *ret_n, int64_t timeout);

/*
 * The same without packing, for what is called most: of the types that have such a method (-ENOSYS). Holders are threads, of remote clients, too.
 * -ENOLCK, of a condition's wait: its time is over, and somebody else has the lock, so it is not held.
 */
int mps_object_acquire(struct mps_object *o, int64_t timeout); /* locks and semaphores, condition */
int mps_object_release(struct mps_object *o);
int mps_object_put(struct mps_object *o, const void *value, size_t n,
		   int64_t timeout); /* queues: a packed value */
int mps_object_get(struct mps_object *o, void **ret_value, size_t *ret_n,
		   int64_t timeout); /* free(3) */
int mps_object_wait(struct mps_object *o,
		    int64_t timeout);	  /* event, barrier (its number), condition */
int mps_object_set(struct mps_object *o); /* event */
int mps_object_add(struct mps_object *o, int64_t delta, int64_t *ret_new); /* counter, value */

/*
 * Values from C and back. format, one letter a value: n nil, t bool (int), i int64_t, d double, s text (const char *), b bytes (const void *, size_t), v a packed
 * value (const void *, size_t); [ ] and { } around the values of an array or map. "[" and "{" count for themselves. mps_pack(): *ret_p is the
 * caller's, free(3). mps_unpack() with pointers to these types; text and bytes point into p (text with its size_t after it: it has no NUL); -EINVAL where
 * what is there is something else.
 */
int mps_pack(void **ret_p, size_t *ret_n, const char *format, ...);
int mps_unpack(const void *p, size_t n, const char *format, ...);

/*
 * A type of the program's own, registered in the server's image before it serves: methods run in the server, one at a time, and
 * shall not wait. They return 0 or -errno, or a positive outcome; -EAGAIN: not now, ask me again when something of this object has been called or
 * the time of the call is over.
 */
struct mps_call;
struct mps_method {
	const char *name;
	int (*call)(void *self, struct mps_call *call);
};
struct mps_type {
	const char *name;
	int (*create)(struct mps_call *call, void **ret_self);
	void (*destroy)(void *self);
	const struct mps_method *methods;
	size_t n_methods;
	struct mps_type *next;
};
void mps_type_add(struct mps_type *type);
/* The arguments: a packed array; mps_unpack() with its format. */
const void *mps_call_args(const struct mps_call *call, size_t *ret_n);
/* What the method returns: a packed value, copied. Without it: nil. */
int mps_call_reply(struct mps_call *call, const void *value, size_t n);
/* Who calls: a number for each connection, never the same again. */
uint64_t mps_call_session(const struct mps_call *call);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif

#endif
