/*
 * Making room for another supervisor that the keeper starts from disk: who asked for it is answered by that one, or by us
 * when it does not come up. What it takes over is in takeover_uv.c.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/fd.h"
#include "base/sig.h"
#include "base/xalloc.h"
#include "sup/control.h"
#include "sup/sup_uv.h"

void upgrade_retire(struct sup *s)
{
	/* Its successor reads what is written here, and the keeper what is in the socket. */
	keeper_link_flush(s);
	activity_flush(&s->log);
	_exit(0);
}

enum { WORDS_MAX = 4096 }; /* of what the candidate has to say */

static char *read_words(struct sup *s)
{
	AUTO_BUF b = BUF_INIT;
	ssize_t n;
	char *to;

	while (s->upgrade_fd >= 0 && b.len < WORDS_MAX) {
		to = buf_reserve(&b, 1024);
		n = to != NULL ? read(s->upgrade_fd, to, 1024) : -1;
		if (n <= 0)
			break;
		b.len += (size_t)n;
		b.p[b.len] = '\0';
	}
	while (b.len > 0 && b.p[b.len - 1] == '\n')
		b.p[--b.len] = '\0';
	return xbuf_take(&b);
}

void upgrade_on_refused(struct sup *s, const struct keeper_message *m)
{
	AUTO_FREE char *words = read_words(s);
	AUTO_BUF how = BUF_INIT;
	struct request *r = s->upgrade;

	if (m->code == 0)
		buf_addf(&how, "could not be started: %s", strerror((int)m->status));
	else if (m->code == CLD_EXITED)
		buf_addf(&how, "has exited with status %u", m->status);
	else
		buf_addf(&how, "was ended by SIG%s%s", sig_name((int)m->status),
			 m->status == SIGKILL ? ", perhaps because it was not ready in time" : "");
	activity_log(&s->log, SVC_LOG_WARN, "upgrade: the new supervisor %s; this one goes on%s%s",
		     how.p, words[0] != '\0' ? ": " : "", words);
	fd_close(&s->upgrade_fd);
	s->upgrade = NULL;
	s->upgrading = false;
	sup_later(s); /* a reload has waited for this */
	if (r == NULL)
		return;
	request_fail(r, FAULT_FAILED, "the new supervisor %s; the old one goes on%s%s", how.p,
		     words[0] != '\0' ? "\n" : "", words);
	request_end(r);
}

int upgrade_begin(struct sup *s, struct request *r)
{
	const struct keeper_message m = { .type = KEEPER_UPGRADE };
	AUTO_CLOSE int out = -1;
	int ends[2], error;

	if (s->upgrading)
		return -EBUSY;
	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	out = ends[1];
	fd_set_nonblock(ends[0], true);
	error = keeper_link_send(s, &m, NULL, &out, 1);
	if (error < 0) {
		close(ends[0]);
		return error;
	}
	s->upgrade_fd = ends[0];
	s->upgrade = r;
	s->upgrading = true;
	return 0;
}

void upgrade_forget(struct request *r)
{
	if (r->sup->upgrade == r)
		r->sup->upgrade = NULL;
}
