/*
 * A keeper of one command: in place of a supervisor there is the front, our parent, which shares terminal, session and
 * process group with the command. We are the command's parent and so hear when it stops, which whoever started the front
 * must see on the front.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "keeper/tracker.h"
#include "proc/close.h"

/* What outlives the front has so long at most. */
enum { GONE_GRACE_MS = 500 };

/*
 * The command's descriptors are its own business: a pipe of which we hold an end would never end. All but standard error,
 * where the front has its own word to say, and we may have. A session of our own,
 * because the kernel takes a process group for orphaned (and ignores the stop character there) by where parents are, and
 * so that what ends or stops the job as a whole does not hit us. Not before the fork: the command has our session.
 */
static void leave_job(struct keeper *k)
{
	for (int fd = 0; fd < STDERR_FILENO; fd++)
		dup2(k->null, fd);
	close_inherited(STDERR_FILENO + 1);
	setsid();
}

int front_start(struct keeper *k)
{
	const struct keeper_front *front = k->options->front;
	const struct keeper_start start = {
		.instance = KEEPER_FRONT_INSTANCE,
		.gen = 1,
		.leftovers = KEEPER_LEFT_END,
		.grace = front->grace,
		.name = k->options->name,
		.cleanup = KEEPER_CLEAN_EXIT,
		.scan = front->scan,
	};
	struct mps_spawn spawn = *front->command;
	int r;

	k->boss.sock = front->sock;
	k->boss.greeted = k->greeted = true;
	k->orphan_grace = front->grace;
	r = keeper_watch(k, k->boss.sock, EPOLLIN, WATCH_SOCK, NO_SLOT, 0);
	if (r < 0)
		return r;
	if (front->dir != NULL)
		track_open(k, front->dir);
	slot_start(k, &start, &spawn, true);
	/* While the command begins: /proc takes its time. */
	k->children = children_open(k->pid, k->pid);
	leave_job(k);
	slot_flush_reports(k);
	return 0;
}

static void tell(struct keeper *k, int sig)
{
	const struct keeper_message m = {
		.type = KEEPER_STOPPED,
		.instance = KEEPER_FRONT_INSTANCE,
		.gen = 1,
		.signal = (uint32_t)sig,
		.count = k->conts,
	};

	buf_reset(&k->out);
	keeper_encode(&m, &k->out);
	keeper_send(k, NULL, 0);
}

/*
 * The kernel tells how it is now, not each change. It may go on before the front has stopped for our last word: so the
 * front is first told, and then gets a SIGCONT, which wakes it up or keeps it from stopping.
 */
void front_on_stop(struct keeper *k)
{
	const struct keeper_front *front = k->options->front;
	const struct slot *s =
		k->n_slots > KEEPER_FRONT_INSTANCE ? &k->slots[KEEPER_FRONT_INSTANCE] : NULL;
	siginfo_t si = { 0 };

	if (front == NULL || s == NULL || (s->state != SLOT_EXEC && s->state != SLOT_ALIVE) ||
	    waitid(P_PID, (id_t)s->pid, &si, WSTOPPED | WCONTINUED | WNOHANG) < 0 || si.si_pid == 0)
		return;
	tell(k, si.si_code == CLD_STOPPED ? si.si_status : 0);
	if (si.si_code == CLD_CONTINUED && getppid() == front->pid)
		kill(front->pid, SIGCONT);
}

void front_on_end(struct keeper *k)
{
	if (k->options->front != NULL)
		end_begin(k, 0);
}

void front_on_gone(struct keeper *k)
{
	const struct mps_time latest = { mps_now().ns + GONE_GRACE_MS * MPS_NS_PER_MS };

	if (k->options->front == NULL)
		return;
	end_begin(k, 1);
	keeper_earliest(&k->finish_deadline, latest);
}

void front_leave(const struct keeper *k)
{
	const struct keeper_front *front = k->options->front;

	if (front != NULL && front->dir != NULL && getppid() != front->pid)
		rmdir(front->dir);
}
