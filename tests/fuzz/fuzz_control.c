/*
 * Bytes are what a client of the control socket sends: real connections and methods, services without processes.
 * 0xff is where one write ends and the next begins; 0xfe and a byte after it are something that happens to a service.
 * Every answer must be a JSON object on a line, and after the client has gone nothing of it may be left.
 */
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "base/fd.h"
#include "sup/control.h"
#include "sup/sup_uv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { UNITS = 4 };

static struct sup sup = { .link.fd = -1,
			  .phase = SUP_RUNNING,
			  .kept_listener = -1,
			  .kept_notify = -1,
			  .upgrade_fd = -1,
			  .start_dir = -1 };
static struct unit units[UNITS], *list[UNITS];
static struct svc *services[UNITS];
static struct conf_proc procs[UNITS];
static struct conf conf;
static char path[64];

static void on_start(struct svc *s)
{
	(void)s;
}

static void on_signal(struct svc *s, int sig, enum svc_scope scope)
{
	(void)s, (void)sig, (void)scope;
}

static void on_timer(struct svc *s, struct mps_time at)
{
	(void)s, (void)at;
}

static void on_state(struct svc *s, enum svc_state from)
{
	control_on_state(s->user, from);
}

static void on_log(struct svc *s, enum svc_level level, const char *text)
{
	(void)s, (void)level, (void)text;
}

static uint32_t on_random(struct svc *s)
{
	(void)s;
	return 4;
}

static const struct svc_ops ops = {
	.start = on_start,
	.signal = on_signal,
	.timer = on_timer,
	.on_state = on_state,
	.log = on_log,
	.random = on_random,
};

static void check(bool good)
{
	if (!good)
		abort();
}

static void init_once(void)
{
	static const char *const names[UNITS] = { "web", "db", "w:0", "w:1" };
	static const char *const groups[UNITS] = { "web", "db", "w", "w" };
	static char *argv[] = { (char *)"x", NULL };
	static const struct sup_options options = { .name = "fuzz", .dir = "/" };

	if (sup.conf != NULL)
		return;
	signal(SIGPIPE, SIG_IGN); /* as in the supervisor; we may be dropped while we write */
	conf.path = (char *)"/f.conf";
	conf.supervisord.identifier = (char *)"fuzz";
	sup.conf = &conf;
	sup.options = &options;
	sup.units = list;
	sup.n_units = UNITS;
	check(uv_loop_init(&sup.loop) == 0);
	uv_timer_init(&sup.loop, &sup.later);
	sup.later.data = &sup;
	uv_timer_init(&sup.loop, &sup.report);
	sup.report.data = &sup;
	snprintf(path, sizeof(path), "/tmp/mpsup-fuzz.%d", getpid());
	sup.socket_path = path;
	for (int i = 0; i < UNITS; i++) {
		procs[i] = (struct conf_proc){ .program = (char *)groups[i],
					       .name = (char *)names[i],
					       .group = (char *)groups[i],
					       .command = (char *)"x",
					       .argv = argv,
					       .startsecs = 1,
					       .startretries = 1,
					       .autostart = i % 2,
					       .stopsignal = 15,
					       .restart_delay = CONF_UNSET,
					       .restart_delay_max = CONF_UNSET };
		list[i] = &units[i];
		services[i] = &units[i].svc;
	}
}

static void begin(void)
{
	struct err err = ERR_INIT;

	sup.phase = SUP_RUNNING;
	sup.stop_from = sup.level_left = 0;
	sup.events = (struct events){ 0 };
	for (uint32_t i = 0; i < UNITS; i++) {
		units[i] = (struct unit){ .sup = &sup };
		svc_init(&units[i].svc, i, procs[i].name, &procs[i], &ops, &units[i]);
	}
	sup.index = order_index_new(services, UNITS);
	check(control_open(&sup, &err) == 0);
	unlink(path);
}

static void end(void)
{
	uv_timer_stop(&sup.later);
	uv_timer_stop(&sup.report);
	control_close(&sup);
	uv_run(&sup.loop, UV_RUN_DEFAULT);
	check(sup.events.first == NULL);
	for (int i = 0; i < UNITS; i++) {
		check(units[i].waiters == NULL);
		svc_fini(&units[i].svc);
	}
	order_index_free(sup.index);
}

static void happen(unsigned b)
{
	struct svc_arg arg = { .pid = 7, .text = "because" };
	struct unit *u = &units[b % UNITS];

	arg.exit = (struct svc_exit){ b & 64 ? CLD_KILLED : CLD_EXITED, (int)(b >> 5 & 3),
				      (b & 128) != 0, mps_wall() };
	svc_event(&u->svc, (enum svc_event)(b / UNITS % N_SVC_EVENTS), &arg, mps_now());
}

/* What has been answered so far; the end of a line may still be on its way. */
static void read_answers(int fd, struct buf *in)
{
	char text[4096], *end;
	ssize_t n;

	while ((n = read(fd, text, sizeof(text))) > 0)
		buf_add(in, text, (size_t)n);
	while (in->len > 0 && (end = memchr(in->p, '\n', in->len)) != NULL) {
		json_t *line = json_loadb(in->p, (size_t)(end - in->p), 0, NULL);

		check(json_is_object(line));
		json_decref(line);
		buf_drop(in, (size_t)(end - in->p) + 1);
	}
}

static void turn(int fd, struct buf *in)
{
	uv_run(&sup.loop, UV_RUN_NOWAIT);
	read_answers(fd, in);
}

static void play(int fd, const uint8_t *data, size_t size)
{
	AUTO_BUF in = BUF_INIT;
	size_t at = 0;

	while (at < size) {
		size_t n = 0;

		while (at + n < size && data[at + n] < 0xfe)
			n++;
		if (n > 0 && write(fd, data + at, n) != (ssize_t)n)
			return; /* dropped, or full */
		at += n;
		if (at < size && data[at] == 0xfe && at + 1 < size)
			happen(data[++at]);
		at++;
		turn(fd, &in);
	}
	shutdown(fd, SHUT_WR);
	turn(fd, &in);
	turn(fd, &in);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int fds[2];

	if (size > 65536)
		return 0;
	init_once();
	check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) == 0);
	begin();
	check(control_add_client(&sup, fds[0]) == 0);
	play(fds[1], data, size);
	close(fds[1]);
	uv_run(&sup.loop, UV_RUN_NOWAIT);
	end();
	return 0;
}
