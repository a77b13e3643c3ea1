/*
 * The terminal in full. See screen.h. It is given back in one place, leave(), which atexit(3) calls too; signals come
 * through a signalfd, so that none of them finds us half way.
 */
#include "mpsup/screen.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/fd.h"
#include "mpsup/terminal.h"

/* The alternate screen, no cursor, lines cut and not wrapped; and back. */
static const char enter_text[] = "\033[?1049h\033[?25l\033[?7l";
static const char leave_text[] = "\033[0m\033[?7h\033[?25h\033[?1049l";

static struct {
	bool entered;
	bool has_keys;
	struct termios before;
	sigset_t mask; /* before screen_open() */
	char in[64];   /* keys not yet taken */
	size_t n_in;
} the;

static void leave(void)
{
	if (!the.entered)
		return;
	the.entered = false;
	fd_write_all(STDOUT_FILENO, leave_text, sizeof(leave_text) - 1);
	if (the.has_keys)
		tcsetattr(STDIN_FILENO, TCSADRAIN, &the.before);
}

/* In the background it stops us here (SIGTTOU) until we are in front. */
static void enter(void)
{
	struct termios raw = the.before;

	if (the.has_keys) {
		raw.c_lflag &= ~(tcflag_t)(ICANON | ECHO);
		raw.c_cc[VMIN] = 1;
		raw.c_cc[VTIME] = 0;
		tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
	}
	the.entered = true;
	fd_write_all(STDOUT_FILENO, enter_text, sizeof(enter_text) - 1);
}

static void set_of_signals(sigset_t *set)
{
	static const int signals[] = {
		SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGCONT, SIGWINCH
	};

	sigemptyset(set);
	for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
		sigaddset(set, signals[i]);
}

int screen_open(struct screen *s)
{
	static bool registered;
	sigset_t set;

	set_of_signals(&set);
	s->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (s->signals < 0)
		return -errno;
	if (!registered)
		atexit(leave);
	registered = true;
	sigprocmask(SIG_BLOCK, &set, &the.mask);
	the.n_in = 0;
	the.has_keys = tcgetattr(STDIN_FILENO, &the.before) == 0;
	enter();
	s->keys = the.has_keys ? STDIN_FILENO : -1;
	return 0;
}

void screen_close(struct screen *s)
{
	leave();
	sigprocmask(SIG_SETMASK, &the.mask, NULL);
	fd_close(&s->signals);
}

/* As if it had never been blocked; returns if it does nothing, or after SIGCONT. */
static void take_signal(int sig)
{
	sigset_t one, before;

	sigemptyset(&one);
	sigaddset(&one, sig);
	raise(sig);
	sigprocmask(SIG_UNBLOCK, &one, &before);
	sigprocmask(SIG_SETMASK, &before, NULL);
}

void screen_signal(struct screen *s)
{
	struct signalfd_siginfo info;

	while (read(s->signals, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		int sig = (int)info.ssi_signo;

		if (sig != SIGWINCH && sig != SIGCONT) {
			leave();
			take_signal(sig);
		}
		if (sig != SIGWINCH)
			enter(); /* whoever had the terminal meanwhile has set it for itself */
	}
}

void screen_draw(const struct buf *text)
{
	const char *at = text->p != NULL ? text->p : "";
	AUTO_BUF out = BUF_INIT;

	buf_adds(&out, "\033[H");
	for (unsigned left = terminal_height();;) {
		size_t n = strcspn(at, "\n");

		buf_adds(&out,
			 "\033[K"); /* not behind the text, where it would take the last column */
		buf_add(&out, at, n);
		if (at[n] == '\0' || --left == 0)
			break;
		buf_addc(&out, '\n');
		at += n + 1;
	}
	buf_adds(&out, "\033[J");
	fd_write_all(STDOUT_FILENO, out.p, out.len);
}

/* Takes n bytes from the front of what was read. */
static void drop(size_t n)
{
	the.n_in -= n;
	memmove(the.in, the.in + n, the.n_in);
}

int screen_key(void)
{
	static const struct {
		const char *text;
		int key;
	} keys[] = {
		{ "\033[A", SCREEN_UP },       { "\033OA", SCREEN_UP },
		{ "\033[B", SCREEN_DOWN },     { "\033OB", SCREEN_DOWN },
		{ "\033[5~", SCREEN_PAGE_UP }, { "\033[6~", SCREEN_PAGE_DOWN },
		{ "\033[H", SCREEN_HOME },     { "\033OH", SCREEN_HOME },
		{ "\033[1~", SCREEN_HOME },    { "\033[F", SCREEN_END },
		{ "\033OF", SCREEN_END },      { "\033[4~", SCREEN_END },
	};
	int key;

	if (the.n_in == 0)
		return -EAGAIN;
	/* Of a key that sends several characters there may be only the first as yet. */
	for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
		size_t n = strlen(keys[i].text), have = n < the.n_in ? n : the.n_in;

		if (memcmp(the.in, keys[i].text, have) != 0)
			continue;
		if (have < n)
			return -EAGAIN;
		drop(n);
		return keys[i].key;
	}
	key = (unsigned char)the.in[0];
	drop(1);
	return key == '\033' ? 0 : key;
}

int screen_read(struct screen *s)
{
	ssize_t n = read(s->keys, the.in + the.n_in, sizeof(the.in) - the.n_in);

	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		return -EIO;
	if (n > 0)
		the.n_in += (size_t)n;
	return 0;
}
