/*
 * The state that a supervisor leaves, with bytes of it written over. Its successor refuses it or goes on with it; a
 * record that makes no sense is none, and one that is taken does no harm whatever happens next.
 */
#include <stdint.h>
#include <sys/stat.h>

#include "poke.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/err.h"
#include "base/wire.h"
#include "conf/conf.h"
#include "sup/state.h"
#include "sup/sup_uv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char text[] = "[program:a]\ncommand=x\nautorestart=true\nrestart_delay=1\n"
			   "restart_limit=3/10\n"
			   "[program:b]\ncommand=y\nnumprocs=2\n"
			   "process_name=%(process_num)d\n";
static const char *const names[] = { "a", "b:0", "b:1" };

static char path[] = "/tmp/mpsup-fuzz.XXXXXX"; /* of a file that is no more */

/* The configuration as a supervisor has recorded it, read from the file once. */
static const struct buf *record(void)
{
	static struct buf b;
	struct conf_options o = { .record = &b };
	struct conf *conf;
	int fd;

	if (b.len > 0)
		return &b;
	fd = mkstemp(path);
	MUST(fd >= 0 && write(fd, text, sizeof(text) - 1) == sizeof(text) - 1);
	close(fd);
	conf_free(conf_load(path, &o));
	unlink(path);
	o = (struct conf_options){ .replay = b.p, .replay_size = b.len };
	conf = conf_load(path, &o);
	MUST(conf->n_procs == ARRAY_SIZE(names) && conf->n_errors == 0);
	conf_free(conf);
	return &b;
}

static void fill(struct state *st)
{
	struct err err = ERR_INIT;
	AUTO_BUF texts = BUF_INIT;

	MUST(state_create(st, 8, &err) == 0);
	state_encode_text(&texts, STATE_CONF, 0, record()->p, record()->len);
	state_encode_text(&texts, STATE_FDS, 0, NULL, 0);
	state_encode_text(&texts, STATE_ERROR, 1, "no", 2);
	MUST(state_replace_texts(st, &texts) == 0);
	for (uint32_t i = 0; i < ARRAY_SIZE(names); i++) {
		const struct svc_record none = { .name = svc_name_hash(names[i]) };
		struct svc svc = { .gen = 1, .state = (enum svc_state)(SVC_RUNNING + i) };
		struct svc_record r;

		svc.stop_asked = svc.state == SVC_STOPPING;
		svc_save(&svc, &none, &r, NULL);
		r.n_history = r.n_limited = i;
		state_put(st, i + 1, &r);
	}
	state_put_whole(st, &(struct state_whole){ .next_id = 4 });
}

/* ------------------------------------------------------------------------------------------------- a world of nothing */

static void ignore_start(struct svc *s)
{
	(void)s;
}

static void ignore_signal(struct svc *s, int sig, enum svc_scope scope)
{
	(void)s;
	(void)sig;
	(void)scope;
}

static void ignore_timer(struct svc *s, struct mps_time at)
{
	(void)s;
	(void)at;
}

static void ignore_state(struct svc *s, enum svc_state from)
{
	(void)s;
	(void)from;
}

static void ignore_log(struct svc *s, enum svc_level level, const char *line)
{
	(void)s;
	(void)level;
	(void)line;
}

static uint32_t no_random(struct svc *s)
{
	(void)s;
	return 0;
}

static const struct svc_ops ops = {
	.start = ignore_start,
	.signal = ignore_signal,
	.timer = ignore_timer,
	.on_state = ignore_state,
	.log = ignore_log,
	.random = no_random,
};

/* ------------------------------------------------------------------------------------------------------ the successor */

static void read_info(const struct svc *s, struct mps_time now)
{
	AUTO_FREE char *info = svc_info(s, now, now);

	MUST(info != NULL);
}

static void live_on(struct state *st, uint32_t id, const struct conf_proc *conf, struct input *in)
{
	const struct svc_rings rings = state_rings(st, id);
	struct mps_time now = { 1000 * MPS_NS_PER_S };
	struct svc_record r, next;
	struct svc s;

	svc_init(&s, id, names[id - 1], conf, &ops, NULL);
	state_get(st, id, &r);
	svc_restore(&s, &r, &rings);
	read_info(&s, now);
	for (unsigned i = 0; i < 8; i++) {
		unsigned b = byte(in);
		struct svc_arg arg = { .pid = 42, .exit = { .code = CLD_EXITED, .wall.ns = 1 } };

		arg.exit.tree_left = b & 128;
		now.ns += (b >> 4 & 7) * MPS_NS_PER_S;
		svc_event(&s, (enum svc_event)((b & 15) % N_SVC_EVENTS), &arg, now);
		read_info(&s, now);
	}
	svc_save(&s, &r, &next, &rings);
	svc_fini(&s);
}

/* Units get numbers within the state, each its own. */
static void make_units(struct state *st, struct conf *conf)
{
	struct sup s = { .conf = conf, .state = *st };
	struct err err = ERR_INIT;
	uv_loop_t *loop = &s.loop;

	MUST(uv_loop_init(loop) == 0);
	if (units_make(&s, &err) == 0)
		for (size_t i = 0; i < s.n_units; i++) {
			uint32_t id = s.units[i]->svc.id;

			MUST(id > 0 && id < st->capacity && s.by_id[id] == s.units[i]);
		}
	for (size_t i = 0; i < s.n_units; i++)
		unit_close(s.units[i]);
	uv_run(loop, UV_RUN_DEFAULT);
	MUST(uv_loop_close(loop) == 0);
	units_free(&s);
}

static void take_over(struct state *st, struct input *in)
{
	struct conf_options o = { 0 };
	AUTO_FREE char *texts = NULL;
	struct wire w = { 0 };
	enum state_kind kind;
	struct conf *conf;
	const char *p;
	uint32_t id;
	size_t n;

	if (state_read_texts(st, &texts, &w.n) < 0)
		return;
	w.p = texts;
	while (state_next_text(&w, &kind, &id, &p, &n))
		if (kind == STATE_CONF && n > 0) {
			o.replay = p;
			o.replay_size = n;
		}
	if (o.replay == NULL)
		return;
	conf = conf_load(path, &o);
	make_units(st, conf);
	for (id = 1; id <= ARRAY_SIZE(names) && id < st->capacity; id++)
		if (conf->n_procs > 0)
			live_on(st, id, &conf->procs[0], in);
	conf_free(conf);
	MUST(state_add_text(st, STATE_ERROR, 1, "yes", 3) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	struct err err = ERR_INIT;
	struct state st, next;
	struct region regions[5] = { { 0, 256 }, { 4096, 1024 } };
	int fd;

	fill(&st);
	regions[2] = (struct region){ (char *)state_rings(&st, 0).history - (char *)st.head, 1024 };
	regions[3] = (struct region){ (char *)state_rings(&st, 0).limited - (char *)st.head, 4096 };
	regions[4] = (struct region){ (off_t)st.size, 1024 };
	poke(st.fd, &in, regions, ARRAY_SIZE(regions));
	if (byte(&in) & 1) /* cut off */
		MUST(ftruncate(st.fd, (off_t)byte(&in) << 16 | byte(&in)) == 0);
	fd = dup(st.fd);
	if (state_open(&next, fd, &err) < 0) {
		MUST(next.head == NULL && err.text[0] != '\0');
		close(fd);
	} else {
		take_over(&next, &in);
		state_close(&next);
	}
	state_close(&st);
	return 0;
}
