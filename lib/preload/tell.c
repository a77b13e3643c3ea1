/*
 * The connection to the tracker: opened when there is something to say for the first time, shared with all forks, at a
 * number where it is in nobody's way. The program may close it, or put something of its own there: it is looked at before
 * each use. System calls are raw ones: neither points of cancellation nor anything that somebody else has replaced.
 */
#include "preload/tell.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "preload/note.h"

_Static_assert(sizeof(long) == 8, "struct stat is the kernel's, open64 is open");

enum {
	TEXT_MAX = 1000,     /* on a signal handler's stack; any name of 255 ASCII bytes fits */
	PATIENCE_MS = 1000,  /* for a tracker that does not read; then none until it does */
	RECONNECT_MS = 1000, /* after a connection has failed */
	STUCK_MS = 1,
};

static const char variable[] = "MPSUP_TRACKER=";

static struct sockaddr_un address;
static atomic_uint address_size; /* 0: there is none */
static atomic_bool begun;

/* Its descriptor, and the low half of its inode above that: one word, so that threads never see two halves. 0: none. */
static _Atomic uint64_t connection;
static _Atomic uint64_t socket_device; /* one for all sockets */
static _Atomic int64_t connect_after_ms;
static atomic_bool stuck;

/* --------------------------------------------------------------------------------------------------- address */

static const char *find_variable(void)
{
	for (char **e = environ; e != NULL && *e != NULL; e++) {
		size_t i = 0;

		while (i < sizeof(variable) - 1 && (*e)[i] == variable[i])
			i++;
		if (i == sizeof(variable) - 1)
			return *e + i;
	}
	return NULL;
}

/* Kept, since programs write over their environment (setproctitle). Twice at a time does no harm. */
void tell_begin(void)
{
	const char *path;
	unsigned n = 0;

	if (atomic_load_explicit(&begun, memory_order_acquire))
		return;
	path = find_variable();
	for (; path != NULL && path[n] != '\0' && n < sizeof(address.sun_path); n++)
		address.sun_path[n] = n == 0 && path[0] == '@' ? '\0' : path[n];
	address.sun_family = AF_UNIX;
	if (n > 0 && n < sizeof(address.sun_path))
		atomic_store(&address_size, (unsigned)offsetof(struct sockaddr_un, sun_path) + n);
	atomic_store_explicit(&begun, true, memory_order_release);
}

bool tell_wanted(void)
{
	tell_begin();
	return atomic_load_explicit(&address_size, memory_order_relaxed) > 0;
}

/* ------------------------------------------------------------------------------------------------ connection */

static int64_t now_ms(void)
{
	struct timespec t = { 0 };

	syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int fd_of(uint64_t c)
{
	return (int)(uint32_t)c;
}

/* What this descriptor would be as a connection; 0: it is none. */
static uint64_t look_at(int fd)
{
	struct stat st;

	if (syscall(SYS_fstat, fd, &st) < 0 || !S_ISSOCK(st.st_mode))
		return 0;
	if (atomic_load(&socket_device) == 0)
		atomic_store(&socket_device, st.st_dev);
	if (atomic_load(&socket_device) != st.st_dev)
		return 0;
	return (uint64_t)st.st_ino << 32 | (uint32_t)fd;
}

static void limit_waiting(int fd, int option, int ms)
{
	struct timeval limit = { ms / 1000, ms % 1000 * 1000 };

	syscall(SYS_setsockopt, fd, SOL_SOCKET, option, &limit, sizeof(limit));
}

/*
 * Where the program would not count on a number being free. Below 64, with which a table of
 * descriptors begins: one that threads share grows only after a grace period of RCU, 12 ms. -1:
 * nowhere.
 */
static int move_up(int fd)
{
	static const int from[] = { 48, 16 };
	long high = -1;

	for (unsigned i = 0; i < 2 && high < 0; i++)
		high = syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, from[i]);
	syscall(SYS_close, fd);
	return (int)high;
}

static bool connect_to_tracker(int fd)
{
	bool was_stuck = atomic_load(&stuck);
	int64_t end = now_ms() + PATIENCE_MS;
	long r;

	limit_waiting(fd, SO_SNDTIMEO, was_stuck ? STUCK_MS : PATIENCE_MS);
	do
		r = syscall(SYS_connect, fd, &address, (long)atomic_load(&address_size));
	while (r < 0 && errno == EINTR && now_ms() < end);
	if (r < 0 && errno == EAGAIN)
		atomic_store(&stuck, true);
	if (r == 0 && was_stuck)
		limit_waiting(fd, SO_SNDTIMEO, PATIENCE_MS);
	return r == 0;
}

/* 0: not now. */
static uint64_t open_connection(void)
{
	int fd;

	if (now_ms() < atomic_load(&connect_after_ms))
		return 0;
	fd = (int)syscall(SYS_socket, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd >= 0)
		fd = move_up(fd);
	if (fd >= 0 && connect_to_tracker(fd))
		return look_at(fd);
	if (fd >= 0)
		syscall(SYS_close, fd);
	atomic_store(&connect_after_ms, now_ms() + RECONNECT_MS);
	return 0;
}

/* The connection as it is now, perhaps a new one; 0: there is none to be had. */
static uint64_t take_connection(void)
{
	uint64_t c = atomic_load(&connection), anew;

	if (c != 0 && look_at(fd_of(c)) == c)
		return c;
	anew = open_connection();
	if (anew == 0 || atomic_compare_exchange_strong(&connection, &c, anew))
		return anew;
	syscall(SYS_close, fd_of(anew)); /* another thread was faster */
	return c;
}

static void drop_connection(uint64_t c)
{
	uint64_t was = c;

	if (atomic_compare_exchange_strong(&connection, &was, 0) && look_at(fd_of(c)) == c)
		syscall(SYS_close, fd_of(c));
}

/* --------------------------------------------------------------------------------------------------- sending */

/* False: this connection is dead. A tracker that is stuck makes the program wait once, not each time. */
static bool send_text(uint64_t c, const char *text, size_t n)
{
	int flags = MSG_NOSIGNAL | (atomic_load(&stuck) ? MSG_DONTWAIT : 0);
	int64_t end = 0;

	while (syscall(SYS_sendto, fd_of(c), text, n, flags, NULL, 0) < 0) {
		if (errno != EINTR && errno != EAGAIN)
			return false;
		if (end == 0)
			end = now_ms() + PATIENCE_MS;
		if (errno == EAGAIN || now_ms() >= end) {
			atomic_store(&stuck, true);
			return true;
		}
	}
	if (flags & MSG_DONTWAIT)
		atomic_store(&stuck, false);
	return true;
}

/*
 * It could not be noted: what was said is safe when the tracker has answered. Who shares the connection may take our
 * answer for his, and we his, which matters to nobody but in the moment of a kill.
 */
static void wait_for_tracker(uint64_t c)
{
	static const char probe[] = "PROBE:0:noop\n";
	char answer[sizeof(probe)];
	int64_t end = now_ms() + PATIENCE_MS;
	long r;

	if (atomic_load(&stuck) || !send_text(c, probe, sizeof(probe) - 1))
		return;
	limit_waiting(fd_of(c), SO_RCVTIMEO, PATIENCE_MS);
	do
		r = syscall(SYS_recvfrom, fd_of(c), answer, sizeof(answer), 0, NULL, NULL);
	while (r < 0 && errno == EINTR && now_ms() < end);
	if (r < 0 && errno == EAGAIN)
		atomic_store(&stuck, true);
	else if (r <=
		 0) /* it is dead, and we shall be: whatever we made now nobody would know of */
		syscall(SYS_poll, NULL, 0L, (long)PATIENCE_MS);
}

struct text {
	size_t n; /* more than there is room for: too long */
	char p[TEXT_MAX];
};

static void put(struct text *t, char c)
{
	if (t->n < sizeof(t->p))
		t->p[t->n] = c;
	t->n++;
}

static void put_word(struct text *t, const char *word)
{
	while (*word != '\0')
		put(t, *word++);
}

static bool is_plain(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '-' || c == '.' || c == '_' || c == '~' || c == '/';
}

static void put_name(struct text *t, const char *name)
{
	static const char digits[] = "0123456789ABCDEF";

	for (; *name != '\0' && t->n <= sizeof(t->p); name++) {
		if (is_plain(*name)) {
			put(t, *name);
			continue;
		}
		put(t, '%');
		put(t, digits[(unsigned char)*name >> 4]);
		put(t, digits[*name & 15]);
	}
}

/* Behind the line, where the tracker finds it too. */
static void put_place(struct text *t, int place)
{
	unsigned unit = 100;

	put_word(t, "SLATE:");
	while (unit > 1 && (unsigned)place < unit)
		unit /= 10;
	for (; unit > 0; unit /= 10)
		put(t, (char)('0' + (unsigned)place / unit % 10));
	put_word(t, ":noop\n");
}

static void put_line(struct text *t, enum word word, const struct object *object)
{
	static const char *const words[] = { "REGISTER", "UNREGISTER", "ATTEMPT", "RETRACT",
					     "REMOVED" };

	put_word(t, words[word]);
	put(t, ':');
	put_word(t, object->prefix);
	put_name(t, object->name);
	put(t, ':');
	put_word(t, object->type);
	put(t, '\n');
}

static void say(enum word word, struct object *object, const struct object *gone)
{
	struct note *note = &object->note;
	int kept = errno;
	struct text t;

	t.n = 0;
	put_line(&t, word, object);
	if (word == RETRACT)
		note_wipe(note);
	note->place = NOTE_NONE;
	if ((word == REGISTER || word == ATTEMPT) && t.n <= sizeof(t.p) && tell_wanted())
		*note = note_line(&address, t.p, t.n);
	if (gone != NULL)
		put_line(&t, UNREGISTER, gone);
	if (note->place >= 0)
		put_place(&t, note->place);
	for (int i = 0; i < 2 && t.n <= sizeof(t.p); i++) {
		uint64_t c = take_connection();

		if (c == 0)
			break;
		if (send_text(c, t.p, t.n)) {
			if (note->place == NOTE_FULL)
				wait_for_tracker(c);
			break;
		}
		drop_connection(c);
	}
	errno = kept;
}

void tell(enum word word, struct object *object)
{
	say(word, object, NULL);
}

void tell_instead(struct object *made, const struct object *of)
{
	say(REGISTER, made, of);
}
