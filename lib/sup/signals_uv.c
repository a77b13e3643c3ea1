/*
 * What the supervisor is told by signals. Those that the keeper got come as messages that count them, and the state says
 * how many were heard: whatever dies when, each is heard once. Those that somebody sends to us ourselves wait in the
 * kernel until they are read; from there the keeper takes what we have not read when we die.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/fd.h"
#include "base/sig.h"
#include "sup/sup_uv.h"

/* Their order is that of state_whole.heard. */
static const int handled[] = { SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2 };
_Static_assert(ARRAY_SIZE(handled) == STATE_SIGNALS, "each has its place in the state");

static void on_end_signal(struct sup *s, int sig)
{
	activity_log(&s->log, SVC_LOG_WARN, "received SIG%s indicating exit request",
		     sig_name(sig));
	s->asked_to_end = true;
	if (s->phase == SUP_STOPPING)
		sup_kill_all(s);
	else
		sup_shutdown(s, 0);
}

/* What it means is in the state when this returns. */
static void act(struct sup *s, int sig)
{
	if (sig == SIGUSR2) {
		activity_log(&s->log, SVC_LOG_INFO,
			     "received SIGUSR2 indicating log reopen request");
		capture_reopen(s);
		unit_tell_moved(s);
		activity_log(&s->log, SVC_LOG_INFO, "supervisord logreopen");
		takeover_save_whole(s);
	} else if (sig == SIGHUP) {
		activity_log(&s->log, SVC_LOG_INFO, "received SIGHUP indicating reload request");
		reload_on_signal(s);
	} else if (sig == SIGUSR1) {
		activity_log(&s->log, SVC_LOG_INFO, "received SIGUSR1: nothing to do");
		takeover_save_whole(s);
	} else {
		on_end_signal(s, sig);
	}
}

static void catch_up(struct sup *s)
{
	for (size_t i = 0; i < ARRAY_SIZE(handled); i++)
		while (s->heard[i] != s->signalled[i]) {
			s->heard[i]++;
			act(s, handled[i]);
		}
}

void signals_on_told(struct sup *s, const struct keeper_message *m)
{
	for (size_t i = 0; i < ARRAY_SIZE(handled); i++)
		if ((uint32_t)handled[i] == m->signal)
			s->signalled[i] = m->count;
	/* One that takes over must first know what there is. */
	if (s->phase != SUP_STARTING && s->takeover == NULL)
		catch_up(s);
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
	struct sup *s = poll->data;
	struct signalfd_siginfo si;

	(void)status;
	(void)events;
	while (read(s->signal_fd, &si, sizeof(si)) == sizeof(si))
		act(s, (int)si.ssi_signo);
}

int signals_open(struct sup *s, struct err *err)
{
	sigset_t set;
	int r;

	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN); /* EFBIG is as good as a full disk */
	sigemptyset(&set);
	for (size_t i = 0; i < ARRAY_SIZE(handled); i++)
		sigaddset(&set, handled[i]);
	sigprocmask(SIG_BLOCK, &set, NULL);
	s->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	r = s->signal_fd < 0 ? -errno : uv_poll_init(&s->loop, &s->signals, s->signal_fd);
	if (r < 0) {
		fd_close(&s->signal_fd);
		return err_set(err, r, "signalfd: %s", strerror(-r));
	}
	s->signals.data = s;
	return 0;
}

void signals_serve(struct sup *s)
{
	uv_poll_start(&s->signals, UV_READABLE, on_readable);
	catch_up(s);
}

void signals_close(struct sup *s)
{
	if (s->signal_fd < 0)
		return;
	uv_close((uv_handle_t *)&s->signals, NULL);
	fd_close(&s->signal_fd);
}
