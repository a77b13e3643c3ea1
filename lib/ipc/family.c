/*
 * The children of this process: a list, their reaping, and what becomes of them when the process ends.
 */
#include "ipc/family.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static struct {
	pthread_mutex_t lock; /* for a moment: who joins waits for it, whatever his time */
	pthread_mutex_t servers;
	struct mps_process *children;
	uint32_t counter;
	bool ends_at_exit; /* a copy ends without the handlers of its original: it needs its own */
	const char *identity;
	void (*before_end)(void);
} family = { .lock = PTHREAD_MUTEX_INITIALIZER,
	     .servers = PTHREAD_MUTEX_INITIALIZER,
	     .identity = "" };

/* Of the thread that forks, where no function is needed to find it. */
static _Thread_local bool forks __attribute__((tls_model("initial-exec")));

static void lock(void)
{
	pthread_mutex_lock(&family.lock);
}

static void unlock(void)
{
	pthread_mutex_unlock(&family.lock);
}

void servers_lock(void)
{
	pthread_mutex_lock(&family.servers);
}

void servers_unlock(void)
{
	pthread_mutex_unlock(&family.servers);
}

/*
 * Nobody who held a lock is in a copy of the process. Our children are not the copy's: see reap(). Each page that a copy
 * runs through or writes to costs it more than ten of these lines, so this calls nothing that it need not.
 */
static void on_fork(void)
{
	family.lock = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
	family.servers = (pthread_mutex_t)PTHREAD_MUTEX_INITIALIZER;
	family.counter = 0;
	family.ends_at_exit = false;
	guard_forget(!forks);
	forker_forget(!forks);
	forks = false;
}

void family_forks(bool is_so)
{
	forks = is_so;
}

static void set_up(void)
{
	pthread_atfork(NULL, NULL, on_fork);
}

void family_before_end(void (*function)(void))
{
	lock();
	family.before_end = function;
	unlock();
}

void family_set_identity(const char *identity)
{
	family.identity = identity;
}

int family_number(struct birth_number *ret)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, set_up);
	lock();
	ret->n = ++family.counter;
	if (!family.ends_at_exit)
		family.ends_at_exit = atexit(family_end) == 0;
	unlock();
	snprintf(ret->identity, sizeof(ret->identity), "%.52s%s%u", family.identity,
		 family.identity[0] != '\0' ? ":" : "", ret->n);
	return 0;
}

void family_add(struct mps_process *p)
{
	lock();
	p->owner = getpid();
	p->next = family.children;
	family.children = p;
	unlock();
}

void family_remove(struct mps_process *p)
{
	lock();
	for (struct mps_process **at = &family.children; *at != NULL; at = &(*at)->next)
		if (*at == p) {
			*at = p->next;
			break;
		}
	unlock();
}

/* ------------------------------------------------------------------------------------------------- reaping */

static bool reap(struct mps_process *p)
{
	siginfo_t si = { .si_pid = 0 };
	int r;

	if (p->ended || p->owner != getpid())
		return true;
	do
		r = waitid(p->has_pidfd ? P_PIDFD : P_PID,
			   (id_t)(p->has_pidfd ? p->sentinel : p->pid), &si, WEXITED | WNOHANG);
	while (r < 0 && errno == EINTR);
	if (r == 0 && si.si_pid == 0)
		return false;
	p->ended = true;
	p->is_known = r == 0;
	p->code = si.si_code == CLD_EXITED ? si.si_status : -si.si_status;
	return true;
}

bool family_reap(struct mps_process *p)
{
	bool ended;

	lock();
	ended = reap(p);
	unlock();
	return ended;
}

void family_reap_all(void)
{
	lock();
	for (struct mps_process *p = family.children; p != NULL; p = p->next)
		reap(p);
	unlock();
}

size_t mps_active_children(struct mps_process **list, size_t n)
{
	size_t alive = 0;

	lock();
	for (struct mps_process *p = family.children; p != NULL; p = p->next) {
		if (reap(p))
			continue;
		if (alive < n)
			list[alive] = p;
		alive++;
	}
	unlock();
	return alive;
}

/* --------------------------------------------------------------------------------------------------- the end */

/* The next that lives; those are started in their turn while others end. */
static struct mps_process *next_alive(bool daemon)
{
	struct mps_process *p;

	lock();
	for (p = family.children; p != NULL; p = p->next)
		if (p->daemon == daemon && !reap(p))
			break;
	unlock();
	return p;
}

static void ask_daemons(void)
{
	lock();
	for (struct mps_process *p = family.children; p != NULL; p = p->next)
		if (p->daemon && !reap(p))
			process_ask_to_end(p);
	unlock();
}

void family_end(void)
{
	const struct mps_time never = { INT64_MAX };
	int64_t began = mps_now().ns;
	void (*before_end)(void);
	struct mps_process *p;

	lock();
	before_end = family.before_end;
	unlock();
	if (before_end != NULL)
		before_end();
	ask_daemons();
	while ((p = next_alive(true)) != NULL)
		process_end(p, (struct mps_time){ began + p->grace }, never);
	while ((p = next_alive(false)) != NULL)
		mps_process_join(p, MPS_FOREVER);
	servers_lock();
	forker_end();
	guard_dismiss();
	servers_unlock();
}
