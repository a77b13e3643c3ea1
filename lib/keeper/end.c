/*
 * The end of the keeper: everything is told to end, what does not is killed, and when nothing is left the files that the
 * supervisor named go.
 */
#include <errno.h>
#include <signal.h>
#include <unistd.h>

#include "base/wire.h"
#include "keeper/internal.h"
#include "proc/pidfd.h"

static void signal_mains(struct keeper *k, int sig)
{
	for (uint32_t i = 0; i < k->n_slots; i++) {
		if (k->slots[i].state == SLOT_IDLE)
			continue;
		if (sig == SIGKILL) {
			slot_signal(k, i, SIGKILL, KEEPER_SCOPE_TREE);
			continue;
		}
		heir_drop(k, &k->slots[i]); /* each gets it */
		slot_signal(k, i, sig, KEEPER_SCOPE_MAIN);
		slot_signal(k, i, SIGCONT, KEEPER_SCOPE_MAIN);
	}
}

void end_begin(struct keeper *k, int status)
{
	if (k->finishing)
		return;
	k->finishing = true;
	k->exit_status = status;
	k->finish_deadline.ns = mps_now().ns + k->orphan_grace.ns;
	k->sweep = true;
	boss_close_ready(k);
	if (k->next.pid > 0)
		pidfd_signal(k->next.pidfd, k->next.pid, SIGKILL);
	server_end_all(k);
	signal_mains(k, SIGTERM);
}

void end_hard(struct keeper *k)
{
	if (k->finish_kill)
		return;
	k->finish_kill = true;
	k->sweep = true;
	signal_mains(k, SIGKILL);
	boss_kill(k);
}

bool end_reached(const struct keeper *k)
{
	return k->finishing && !k->sweep && k->boss.pid == 0 && k->next.pid == 0 &&
	       k->n_live == 0 && !server_any(k) && stray_count(k) == 0 &&
	       k->first_ending == NO_SLOT;
}

void end_unlink(const struct keeper *k)
{
	struct wire w = { k->unlink_list, k->unlink_size, false };
	uint32_t n = wire_u32(&w);
	const char *path;

	while (n-- > 0 && (path = wire_str(&w)) != NULL)
		if (unlink(path) < 0 && errno == EISDIR)
			rmdir(path);
}
