/*
 * What the supervisor's files share. sup_uv.c: life of the whole. signals_uv.c: what it is told by signals. unit_uv.c: one service's effects; unit_start_uv.c:
 * its start; units_uv.c: the list of them. keeper_uv.c: the socket to the keeper. capture_uv.c: log pipes; outlet_uv.c:
 * where they go. pipes_uv.c: pipes between programs. notify_uv.c, channel_uv.c: what programs say (said.h).
 * control_uv.c: the control socket; connection_uv.c: its connections; method_uv.c, status_uv.c, change_uv.c: requests.
 * events_uv.c: who is told of what happens. reload_uv.c: another configuration. takeover_save_uv.c: what outlives us;
 * takeover_uv.c: following another; upgrade_uv.c: making room. runtime_uv.c: the runtime directory. worker.c: from a
 * configured program to a struct mps_spawn. activity.c: the activity log.
 * ipc_uv.c: what programs leave behind in /dev/shm and elsewhere.
 */
#ifndef SUP_SUP_UV_H
#define SUP_SUP_UV_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

#include "base/buf.h"
#include "base/mtime.h"
#include "conf/conf.h"
#include "keeper/message.h"
#include "sup/activity.h"
#include "sup/events.h"
#include "sup/logs.h"
#include "sup/order.h"
#include "sup/servers.h"
#include "sup/sockets.h"
#include "sup/state.h"
#include "sup/sup.h"
#include "sup/svc.h"
#include "sup/worker.h"

struct sup;
struct by_name;
struct channel;
struct notify;
struct said;
struct capture;
struct pipe;
struct request;
struct takeover;
struct waiter;

/* A service and what belongs to it in this process. */
struct unit {
	struct svc svc;
	struct sup *sup;
	uv_timer_t timer;
	struct capture *out, *err; /* NULL where the bytes pass us by */
	char *auto_out, *auto_err; /* paths of AUTO files, once made; owned */
	struct waiter *waiters;	   /* requests that wait for its state */
	const void *listed;	   /* the request that has just listed it */
	char *failure; /* a start failed before it reached the keeper: told at the next turn */
	bool failure_passes;
	struct unit *next_failed;
	const struct conf_proc *next_conf; /* of a reload: in force once it has no process */
	bool next_logs;			   /* and its output goes elsewhere then */
	bool leaving;			   /* a reload removes it, and it is not at rest yet */
	bool removed;			   /* a reload removes it: no name means it any more */
	uint32_t reload;	/* the number of the last whose configuration it has taken */
	bool left_over;		/* it is gone, but for output that waits for room */
	bool start_later;	/* a reload has added it, and starts it at its end */
	struct unit *next_busy; /* list of those that wait for a resource */
	bool in_busy;
	struct unit *next_start; /* list of those whose start waits for room in the socket */
	bool in_start;
	int exit_status;	       /* of the last end; 128+n for a signal */
	bool ended;		       /* as counted in n_active */
	uint32_t saved_error;	       /* hash of the spawn_error that is in the state */
	uint32_t saved_said;	       /* the same of what its program has said */
	uint32_t restored_gen;	       /* as the supervisor before us left it */
	bool reconciled;	       /* with what the keeper knows, or made by us */
	struct said *said;	       /* NULL = nothing yet */
	struct channel *channel;       /* NULL = it has none */
	uint32_t n_objects, n_cleaned; /* that it holds; that were unlinked after it */
	bool stop_counted; /* one of those that the present level of a shutdown waits for */
};

/* The socket to the keeper. Messages that it does not take wait in line. */
struct link {
	uv_poll_t poll;
	uv_timer_t retry;     /* armed while the kernel refuses descriptors */
	uv_prepare_t prepare; /* before the loop waits, what was said in this turn goes out */
	struct buf batch;     /* short messages of this turn, one behind the other */
	int fd;
	struct queued *first, *last;
	bool writing;
};

enum sup_phase { SUP_STARTING, SUP_RUNNING, SUP_STOPPING, SUP_DONE };

struct sup {
	const struct sup_options *options;
	struct conf *conf; /* in force; ours */
	uv_loop_t loop;
	struct link link;
	struct servers servers; /* the keeper's */
	int signal_fd;
	uv_poll_t signals;
	uint32_t signalled[STATE_SIGNALS]; /* how many of each the keeper has told of .. */
	uint32_t heard[STATE_SIGNALS];	   /* .. and how many of these were heard */
	uv_timer_t later;		   /* armed for 0 ms when `failed` is not empty */
	uv_timer_t report;		   /* armed while all is being stopped */
	struct control *control;
	struct events events;
	struct runtime *runtime;
	struct reload *reload; /* at work */
	uint32_t n_reloads;    /* its number, or that of the last */
	bool reload_over; /* the last with daemon=no has ended by itself while a reload is at work */
	bool reload_again; /* a signal asked for another meanwhile, or while we took over */
	int start_dir;	   /* where we stood at the start */
	struct activity log;
	struct worker_base base;
	struct logs logs;
	int kept_logs[3];	/* an earlier supervisor's memfd and mid of that; -1 = none */
	uv_timer_t trim;	/* armed while windows of the logs hold memory */
	struct outlet *outlets; /* uthash, by file */
	struct outlet *paths;	/* the same, by name; of files */
	struct outlet *log_file, *echo; /* of the activity log, two of them; NULL = none */
	size_t echo_lost;		/* lines that the echo had no room for */

	struct unit **units; /* in the order of starting */
	size_t cap_units;
	struct unit **by_id; /* by the instance's number; 0 is the supervisor's own at the keeper */
	size_t n_ids, cap_ids;
	struct free_id *free_ids; /* of units that have gone */
	size_t n_free_ids, cap_free_ids;
	size_t name_width;	   /* of the longest name, for prefixes */
	struct socket_of *sockets; /* of fcgi programs */
	struct pipe *pipes;	   /* uthash, by name */
	struct pipe *pipes_by_id;  /* the same, by number at the keeper */
	size_t n_units;
	size_t n_left_over; /* of them, and of old_confs, which these still use */
	struct conf **old_confs;
	size_t n_old_confs;
	struct order_index *index;
	struct unit *failed;
	struct unit *busy_first, *busy_last;
	struct unit *start_first, *start_last;

	enum sup_phase phase;
	pid_t keeper_pid;
	uint32_t keeper_id;
	struct mps_time started, started_wall;
	size_t n_active;	    /* not ended */
	size_t n_active_foreground; /* of these, daemon = no */
	bool has_foreground;
	size_t stop_from;  /* units[stop_from..] have been told to stop */
	size_t level_left; /* of the level that stops now */
	int exit_status;
	char *socket_path, *pidfile; /* owned; pidfile NULL = none */
	uint32_t n_strange_words;    /* of strangers to the tracker, or beyond its limits */
	bool keeper_lost;
	bool asked_to_end; /* by a signal or a request: somebody waits for it */
	bool kill_all;	   /* a second TERM came */
	bool captures_ended;
	bool told_ready;	   /* whoever started us knows that we are there */
	struct mps_time finishing; /* when only readers were left to wait for; 0 = not yet */

	struct state state;
	struct takeover *takeover; /* while we follow another */
	int *handed; /* what was kept for instance 0 beside the state, until it is known what each is */
	size_t n_handed;
	struct notify *notify; /* the socket on which programs tell how they are */
	int kept_notify;       /* the same, from the supervisor before; -1 = none */
	int kept_listener;     /* of the control socket, from the one before; -1 = none */
	bool upgrading;
	struct request *upgrade; /* who asked for it, if he is still there */
	int upgrade_fd;		 /* what the next one says to standard error */
};

/* sup_uv.c */
/* Stops level after level, then tells the keeper; idempotent. */
void sup_shutdown(struct sup *s, int exit_status);
/* What does not stop at once is killed. */
void sup_kill_all(struct sup *s);
void sup_on_welcome(struct sup *s, const struct keeper_message *m);
/* What the keeper has to know. Again when it has changed. */
void sup_say_hello(struct sup *s);
/* A daemon's keeper writes its last words there. Again when the log is another file. */
void sup_tell_log(struct sup *s);
/* The sockets and the units of the configuration; what is in s->sockets is used before others are opened. 0 or -errno. */
int sup_make_programs(struct sup *s, struct err *err);
/* Starts what is to be started, for the first time. */
void sup_begin(struct sup *s);
/* Starts what is to be started by itself and never was. */
void sup_start_new(struct sup *s);
/* Goes on with a shutdown that a supervisor before us has begun. */
void sup_resume_shutdown(struct sup *s);
/* Puts conf in force, which is ours from then on; the one before it is handed back. */
struct conf *sup_use_conf(struct sup *s, struct conf *conf);
/* Ends the whole where exit_on or mpsup run wants it, since nothing runs. In the middle of a reload, which starts some, it waits for that. */
void sup_check_all_ended(struct sup *s, bool by_request);
void sup_on_state(struct unit *u, enum svc_state from);
void sup_defer(struct sup *s, struct unit *u, char *failure, bool passes);
/* What waits for the next turn is looked at then. */
void sup_later(struct sup *s);

/* signals_uv.c */
/* Those for us wait in the kernel from here on. 0 or -errno. */
int signals_open(struct sup *s, struct err *err);
/* We are in charge: they are heard. */
void signals_serve(struct sup *s);
/* SIGNALLED. */
void signals_on_told(struct sup *s, const struct keeper_message *m);
void signals_close(struct sup *s);

/* units_uv.c */
/* Those of s->conf, as the supervisor before us has left them; none is started. 0, or -EPROTO with err. */
int units_make(struct sup *s, struct err *err);
struct unit *units_add(struct sup *s, const struct conf_proc *conf);
/* A number at the keeper that nobody has; gen goes with it, and back by units_free_id(). */
uint32_t units_take_id(struct sup *s, uint32_t *ret_gen);
/* n more numbers could be taken. */
bool units_have_room(const struct sup *s, size_t n);
/*
 * After additions, or a change of what orders them: brings lists, index and counters up to date. Units that are removed
 * are out of the index at once, and when they are no longer leaving they are taken away and closed.
 */
void units_arrange(struct sup *s);
/* No unit has this number any more, and the keeper no process: the next may have it, whose starts count on from gen. */
void units_free_id(struct sup *s, uint32_t id, uint32_t gen);
/* Tells the keeper when no program of the configuration is started by that forkserver. */
void units_drop_server(struct sup *s, const char *name);
/* The lists only: the units are closed by then. */
void units_free(struct sup *s);

/* reload_uv.c */
void reload_on_signal(struct sup *s);
void reload_on_state(struct unit *u);
/* At a turn of its own: finishes what has come to rest. */
void reload_go_on(struct sup *s);
void reload_free(struct sup *s);
/* Configurations that no unit uses any more. */
void reload_free_old(struct sup *s);
/*
 * Goes on with one that the supervisor before us has begun: `record` is of the configuration that it brings in. Before
 * the units hear what has happened; `kept` are sockets. 0, or -errno with err.
 */
int reload_resume(struct sup *s, const char *record, size_t n, const struct socket_of *kept,
		  struct err *err);
/* They have heard it. */
void reload_resumed(struct sup *s);
/* Programs with daemon=no have ended by themselves: when it is through, that counts if none has been started. */
void reload_put_off_end(struct sup *s);
/* Is a process still to be started by it that has this end of the pipe? */
bool reload_brings(const struct sup *s, const char *pipe, enum conf_side side);
/* The files of the configuration that a reload at work brings in, else NULL. */
const struct buf *reload_record(const struct sup *s);
/* Of the configuration before, while a reload is at work; else NULL. */
const struct socket_of *reload_old_sockets(const struct sup *s);

/* unit_uv.c */
/* As people write it: "web", "web:web_00". Heap string. */
char *unit_name(const struct conf_proc *conf);
struct unit *unit_new(struct sup *s, uint32_t id, const struct conf_proc *conf);
void unit_close(struct unit *u);
/* Its settings from here on; the old ones are not looked at again. */
void unit_use_conf(struct unit *u, const struct conf_proc *conf);
/* Its log pipes are let go, also by the keeper: it has no process, and the next may log elsewhere. */
void unit_close_logs(struct unit *u);
void unit_event(struct unit *u, enum svc_event event, const struct svc_arg *arg);
/* A start failed before or in the keeper. */
void unit_fail(struct unit *u, const char *text, bool passes);
/* Its program says that pid, one of its own, is its main process. The keeper looks, and MAIN is the answer. */
void unit_name_main(struct unit *u, pid_t pid);
void unit_on_message(struct sup *s, const struct keeper_message *m);
/* The log pipes that were kept for it: takes those that it wants, and leaves -1. */
void unit_adopt(struct unit *u, int *fds, size_t n);
/* Makes good what has happened since its record was written; m is INSTANCE, or all zero: it was never started. */
void unit_reconcile(struct unit *u, const struct keeper_message *m);
/* It waits for a resource, as others do. */
void unit_join_busy(struct unit *u);
/* One of those may try again. */
void unit_relief(struct sup *s);

/* unit_start_uv.c */
/* Its process is to be made; a failure is told at the next turn. */
void unit_start(struct unit *u);
/* There is room in the socket again. */
void unit_start_waiting(struct sup *s);
/* After capture_reopen(): warns of each program that has the file itself and goes on writing to one that was moved. */
void unit_tell_moved(const struct sup *s);

/* ipc_uv.c */
/* What keepers that are dead have left: before ours writes a journal of its own. */
void ipc_sweep_dead(struct sup *s);
/* Ours is dead, and all programs have ended. */
void ipc_sweep_own(struct sup *s);
void ipc_on_unlinked(struct sup *s, const struct keeper_message *m);
void ipc_on_objects(struct sup *s, const struct keeper_message *m);

/* keeper_uv.c */
int keeper_link_open(struct sup *s, int fd);
/* 0, or -errno when the message could neither be sent nor kept (one with descriptors or a long rest only). */
int keeper_link_send(struct sup *s, const struct keeper_message *m, const struct buf *rest,
		     const int *fds, size_t n_fds);
/* What is said and not sent yet goes out, and waits for it. */
void keeper_link_flush(struct sup *s);
void keeper_link_close(struct sup *s);

/* capture_uv.c */
/*
 * The memory of the logs: new, or that of an earlier supervisor (s->kept_logs), whose unfinished work it finishes; and the
 * activity log, from here on in its place. Before any other function here. 0, 1 = what was kept is of no use and a new
 * one was made, or -errno with err.
 */
int capture_open(struct sup *s, struct err *err);
/* A pipe of its own. NULL with errno. */
struct capture *capture_new(struct unit *u, bool is_err);
/*
 * With the pipe of an earlier supervisor: what that had read is still there, in the memory of the logs. u->auto_out and
 * u->auto_err are set before. A program that has ended meanwhile needs a capture_drain(c, true). A file that cannot be
 * opened now is waited for. On failure (NULL with errno) the descriptors stay the caller's.
 */
struct capture *capture_adopt(struct unit *u, bool is_err, const int ends[2]);
int capture_write_end(const struct capture *c);
int capture_read_end(const struct capture *c);
/* Takes what is in the pipe now. is_end: who wrote it is gone, so a last line that has no end gets one. */
void capture_drain(struct capture *c, bool is_end);
/* Its program is gone for good: so many bytes wait for room that its log does not have. */
size_t capture_leave(struct capture *c);
void capture_close(struct capture *c);
/* The settings of its unit, or the width of the names, have changed. */
void capture_reconfigure(struct capture *c);
/* Those of the activity log have. */
void capture_use_conf(struct sup *s);
/* All files again, after somebody has moved them away. */
void capture_reopen(struct sup *s);
/* Nothing is written any more: what the pipes hold is the last. Idempotent. */
void capture_end_all(struct sup *s);
/* Something is left for a reader who may still take it. */
bool capture_is_pending(const struct sup *s);
/* Waits until that is no longer so; for when the loop has ended. */
void capture_finish(struct sup *s);
void capture_close_sinks(struct sup *s);

/* control_uv.c */
int control_open(struct sup *s, struct err *err);
/* Listens at s->socket_path, which is made anew; who is connected stays so. */
int control_listen(struct sup *s, struct err *err);
/* The keeper is known: those who came too early are let in. */
void control_serve(struct sup *s);
/* The listening socket, -1 if there is none. */
int control_listener(const struct sup *s);
void control_close(struct sup *s);
/* Serves a connected stream socket like one that was accepted, and takes it over. 0, or -errno: then fd is the caller's. */
int control_add_client(struct sup *s, int fd);
void control_on_state(struct unit *u, enum svc_state from);
/* A subscriber has not taken all events yet. */
bool control_has_untold(const struct sup *s);
/* No request holds a unit that is removed and no longer leaving any more. */
void control_forget_removed(struct sup *s);

/* runtime_uv.c */
/* From here on the lock and the control socket are made again when somebody removes them. */
void runtime_open(struct sup *s);
void runtime_close(struct sup *s);

/* takeover_save_uv.c */
/* Makes the state and gives it to the keeper, before HELLO. */
int takeover_open(struct sup *s, struct err *err);
/* To be called whenever a unit has changed, before the keeper is told of it. */
void takeover_save(struct unit *u);
void takeover_save_auto(struct unit *u, bool is_err);
/* What its program has said, if that is other than before. */
void takeover_save_said(struct unit *u);
/* A unit is gone, which was started `gen` times: its number is free. */
void takeover_save_gone(struct sup *s, uint32_t id, uint32_t gen);
/* The same for the supervisor as a whole. */
void takeover_save_whole(struct sup *s);
/* All texts anew; conf: another configuration is in force, NULL = the same. 0 or -errno. */
int takeover_write_texts(struct sup *s, const struct buf *conf);
/* The configuration that a reload brings in, before it begins. 0 or -errno. */
int takeover_save_next(struct sup *s, const struct buf *conf);
/* Where the supervisor before us was killed in the middle of a reload: goes on with it. 0, or -errno with err. */
int takeover_resume_reload(struct sup *s, const struct socket_of *kept, struct err *err);
/* The listening sockets are others: the keeper gets them. */
void takeover_keep(struct sup *s);

/* takeover_uv.c */
/* WELCOME, in one that follows another. */
int takeover_begin(struct sup *s, const struct keeper_message *welcome);
/* The numbers of units by name; takeover_find() answers 0 for a name that is new. Heap. */
struct by_name *takeover_index(const struct sup *s, size_t *ret_n);
uint32_t takeover_find(const struct by_name *list, size_t n, const char *name);
/* Of a new unit: what its record says. */
void takeover_restore(struct unit *u);
/* What it takes of fds it replaces by -1. */
void takeover_on_kept(struct sup *s, const struct keeper_message *m, int *fds, size_t n);
void takeover_on_instance(struct sup *s, const struct keeper_message *m);
/* EXITED or GONE of an instance that is no unit's. */
void takeover_on_unknown(struct sup *s, const struct keeper_message *m);

/* upgrade_uv.c */
/* 0: the request is answered later, if at all. -EBUSY: one is under way. */
int upgrade_begin(struct sup *s, struct request *r);
/* The next one is there. Does not return. */
void upgrade_retire(struct sup *s) __attribute__((noreturn));
/* The next one did not come up. */
void upgrade_on_refused(struct sup *s, const struct keeper_message *m);
void upgrade_forget(struct request *r);

#endif
