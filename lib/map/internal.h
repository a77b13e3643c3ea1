/*
 * What the files of this floor share. See map.h for who does what.
 */
#ifndef MAP_INTERNAL_H
#define MAP_INTERNAL_H

#include <signal.h>

#include "base/buf.h"
#include "base/lines.h"
#include "map/input.h"
#include "map/joblog.h"
#include "map/map.h"
#include "map/drain.h"
#include "map/spill.h"
#include "map/template.h"
#include "proc/spawn.h"
#include "proc/tree.h"

/* Bytes that wait: those in `mem` come behind those in the file. */
struct result {
	struct buf mem;
	size_t from;   /* of mem: what was taken */
	uint64_t size; /* of all that was ever added */
	struct extent *parts;
	size_t first, n_parts;
};

/* A portion of the input that one process gets: one task, or some for a worker. From its hand-out until it is written. */
struct batch {
	struct batch *prev, *next; /* in the order of the input */
	struct batch *next_again;  /* in the list of those to be handed out again */
	struct batch
		*next_ready; /* in the list of those to be written, where order does not matter */
	bool is_ready, done;
	uint64_t seq; /* of its first task, from 1 */
	uint32_t n, answered;
	unsigned tries; /* of its first task, that have failed */
	struct buf in;	/* tasks with their delimiters or heads */
	size_t at;	/* where in it the task number at_task of it begins */
	uint32_t at_task;
	struct result out;
};

enum place_state {
	PLACE_FREE,
	PLACE_RUNNING,
	PLACE_LEFT, /* its process is over, what that has left is not */
};

enum { FLIGHT_MAX = 2 }; /* one that it works on, and the next */

struct place {
	unsigned number; /* from 1 */
	enum place_state state;
	bool orphans; /* found in this sweep */
	pid_t pid;
	unsigned gen;
	siginfo_t end;
	struct template_room command;
	/* The child's until it is over: it shares our memory until its exec. */
	struct mps_spawn spawn;
	struct mps_fd fds[3];
	char **entry_argv; /* an entry's, with room in front */
	int birth; /* tells how its start goes; until it has, pid may be 0; -1 = it has, or does otherwise */
	bool by_shell;
	char *found; /* the path, where each task has its own */
	void *stack;
	struct mps_failure *failure;

	int in, out, err;	  /* our ends; in: a worker's */
	int child_out, child_err; /* kept open for the next task, which gets the same */
	struct mps_time deadline; /* for its first task, ns 0 = none */
	struct mps_time kill_at;  /* ns 0 = it need not end */
	bool killed, timed_out;
	struct pids told;  /* orphans that have had a TERM */
	struct lines said; /* on standard error */

	struct batch *flight[FLIGHT_MAX];
	unsigned n_flight;
	struct mps_time since, started_wall; /* its first task is being worked on */

	/* A worker's. */
	bool closing, is_full; /* its input is closed; it takes nothing now */
	bool closed, too_much, too_long;
	unsigned writing;   /* the batch in flight that is being written */
	size_t written;	    /* of that */
	uint64_t fed;	    /* bytes that this process was given */
	struct buf answers; /* not whole yet */
	size_t looked;
	uint64_t asked, got; /* tasks of this process */
	double pace;	     /* seconds a task, 0 = not known */
	struct mps_time measured_from;
};

/* The forkserver, our child as what it forks. */
struct forker {
	pid_t pid; /* 0 = none */
	int sock, exec_fd;
	bool ready;	 /* it has loaded the object */
	char *why;	 /* it is not */
	unsigned asked;	 /* starts that are not answered */
	unsigned unborn; /* in a row that came to nothing */
};

struct map {
	const struct map_options *o;
	bool per_task;
	char delimiter;
	struct map_outcome outcome;
	struct input input;
	int input_error;
	struct drain out, err;
	bool err_waits_for_out;
	struct joblog joblog;
	bool joblog_said, different_said, spill_said, silence_said;
	bool answered; /* a worker has */
	struct spill spill;
	size_t held; /* bytes of results in memory */

	struct place *places;
	unsigned n_places, n_running; /* processes that are ours to reap */
	unsigned n_left;	      /* places in PLACE_LEFT */
	unsigned hint;		      /* no place before it is free */
	unsigned unstarted;	      /* workers in a row that ended before they read a task */
	void *stacks;
	size_t stacks_size;
	struct mps_spawn spawn;
	bool by_shell;
	char *shell_argv0;
	struct forker forker;

	uint64_t seq; /* of the last task that was read */
	struct batch *first, *last, *again, *last_again, *ready, *last_ready, *spare;
	unsigned n_batches;

	uint64_t retried;
	bool ending;	  /* nothing new begins, what runs is ended */
	bool hard;	  /* .. at once */
	bool starved;	  /* no process can be made until one ends */
	bool idle_wanted; /* a place is free, for which nothing is there */
	int epoll, signals, children;
	bool watches_input, watches_out, watches_err;
	bool is_quiet; /* nobody takes what tasks say: no more of it is read */
	sigset_t taken;
	uint32_t id; /* for marks */
	struct pids orphans;
	struct mps_time begun, drawn;
	struct buf scratch, line;
	int no_input; /* /dev/null */
};

/* result.c */
struct batch *batch_new(struct map *m);
/* Behind `before` in the order; NULL = at the end. */
void batch_link(struct map *m, struct batch *b, struct batch *before);
/* It is to be handed out once more. */
void batch_again(struct map *m, struct batch *b);
/* Before all others. */
void batch_first_again(struct map *m, struct batch *b);
struct batch *batch_take_again(struct map *m);
/* Bytes of its result, which may be written as soon as it is its turn. */
void batch_add(struct map *m, struct batch *b, const void *p, size_t n);
void batch_ready(struct map *m, struct batch *b);
/* No more will come. */
void batch_done(struct map *m, struct batch *b);
/* All of its result, at most `max` bytes of it, is moved to the buffer. True where it was cut. */
bool batch_take_result(struct map *m, struct batch *b, size_t max, struct buf *to);
void batch_forget_result(struct map *m, struct batch *b);
/* Its task number i, which is not before the one asked for last. */
const char *batch_task(const struct map *m, struct batch *b, uint32_t i, size_t *ret_n);
/* Where it begins with its head, in b->in. i may be b->n. */
size_t batch_offset(const struct map *m, struct batch *b, uint32_t i);
/* It was not linked yet. */
void batch_spare(struct map *m, struct batch *b);
/* Moves what may be written to the drain, as far as that has room. */
void results_feed(struct map *m);
void results_fini(struct map *m);

/* schedule.c */
void schedule(struct map *m);
/* Is all over that was begun, and will nothing begin? */
bool schedule_is_over(const struct map *m);
/* What became of one task of a batch: told to the log and the lists. b->answered is its number within. */
struct verdict {
	const struct map_failure *failure; /* NULL = it is good */
	const char *answer; /* a worker's; NULL: the result of the batch is what it wrote */
	size_t n_answer;
	pid_t pid;
	struct mps_time since, wall;
};
void settle_task(struct map *m, struct place *s, struct batch *b, const struct verdict *v);
/* The first task that is not answered has failed with its process: it is tried again or settled, the others go on. */
void settle_broken(struct map *m, struct place *s, struct batch *b, struct map_failure *why);

/* All that was asked of its process is over, or nobody's. */
void settle_flight(struct map *m, struct place *s);
/* True where its process could not begin, and that says nothing of its tasks: then it is dealt with. */
bool settle_unstarted(struct map *m, struct place *s);
/* Its process is over, a process a task. */
void settle_process(struct map *m, struct place *s);
/* How it has ended; false where all is well. */
bool place_failure(const struct place *s, struct map_failure *ret);

/* place.c */
int places_init(struct map *m, struct err *err);
void places_fini(struct map *m);
/* 0, or -errno: it is free. */
int place_start(struct map *m, struct place *s, struct batch *b);
void place_read_out(struct map *m, struct place *s);
void place_read_err(struct map *m, struct place *s);
/* Does not read what they say on standard error, or does again. */
void places_hush(struct map *m, bool hush);
/* Its process is reaped, and nothing of it is left: it is free. */
void place_over(struct map *m, struct place *s);

/* place_end.c */
void places_reap(struct map *m);
/* TERM, after the grace KILL; at once where it is `hard`. */
void place_end(struct map *m, struct place *s, bool hard);
void places_signal(struct map *m, int sig);
/* Those whose time is over; the next time at which to call again, ns 0 = none. */
struct mps_time places_on_time(struct map *m, struct mps_time now);
/* Its process is over; what it has left may not be. */
void place_left(struct map *m, struct place *s);
/* Its number is known, and what it was to get before that. */
void place_born(struct place *s, pid_t pid);

/* birth.c */
/* Where a forkserver is to do it. 0, or -errno with err. */
int births_begin(struct map *m, struct err *err);
void births_fini(struct map *m);
/* Can an entry be started now? */
bool births_are_possible(const struct map *m);
/* 0 or -errno; *ret_pid 0: it is asked for. s->birth tells. */
int birth_start(struct map *m, struct place *s, pid_t *ret_pid);
/* What s->birth tells. */
void birth_read(struct map *m, struct place *s);
void births_read(struct map *m);
void birth_on_word(struct map *m);
/* Was it the forkserver that has ended? */
bool birth_on_exit(struct map *m, const siginfo_t *si);
/* A start came to nothing: nobody is there for its tasks, which go to others. */
void settle_unborn(struct map *m, struct place *s);
/* What is asked for need not come any more. */
void births_end(struct map *m);

/* worker.c */
void worker_write(struct map *m, struct place *s);
void worker_close_input(struct map *m, struct place *s);
/* New bytes stand behind s->answers. */
void worker_on_answers(struct map *m, struct place *s);
void worker_on_over(struct map *m, struct place *s);
/* How many tasks it may get now. */
uint32_t worker_room(const struct map *m, const struct place *s);
void worker_give(struct map *m, struct place *s, struct batch *b);

/* json.c: the object of a task, with its newline. */
void json_task(struct map *m, struct batch *b, const struct verdict *v, const char *out,
	       size_t n_out, bool cut, struct buf *to);

/* map.c */
void map_say(struct map *m, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void map_end(struct map *m, bool hard);
/* It cannot go on; ends all. */
void map_give_up(struct map *m);
enum watch {
	WATCH_SIGNALS,
	WATCH_INPUT,
	WATCH_STDOUT,
	WATCH_STDERR,
	WATCH_OUT,
	WATCH_ERR,
	WATCH_IN,
	WATCH_BIRTH,
	WATCH_FORKER
};
int map_watch(struct map *m, int fd, unsigned events, enum watch what, unsigned place);
void map_unwatch(struct map *m, int fd);

#endif
