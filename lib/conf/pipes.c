/*
 * [pipe:NAME]: reads them, and tells each program which ends it has and at which numbers. What a pipe says about
 * programs is checked when all of both are known.
 */
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/guess.h"
#include "base/limits.h"
#include "base/strv.h"
#include "base/xalloc.h"
#include "conf/load.h"

#define NO_FD (-1) /* any that is free */

/* A program, and the ends that pipes have given it. */
struct wired {
	UT_hash_handle hh;
	char *program;		 /* the configuration's */
	struct conf_proc *procs; /* its processes stand together */
	size_t n_procs;
	struct ini_section *section;
	struct conf_wire *wires;
	size_t n_wires;
};

struct pipes {
	struct loader *l;
	struct wired *programs; /* uthash */
	size_t cap;
};

/* ---------------------------------------------------------------------------------- programs */

static struct ini_section *section_of(struct loader *l, const struct conf_proc *p)
{
	AUTO_FREE char *name = xasprintf("%s:%s", conf_kind_word(p->kind), p->program);

	return ini_find(&l->ini, name);
}

static void know_programs(struct pipes *all)
{
	struct conf *conf = all->l->conf;
	struct wired *w = NULL;

	for (size_t i = 0; i < conf->n_procs; i++) {
		struct conf_proc *p = &conf->procs[i];

		if (w != NULL && w->program == p->program) {
			w->n_procs++;
			continue;
		}
		w = xcalloc(1, sizeof(*w));
		w->program = p->program;
		w->procs = p;
		w->n_procs = 1;
		w->section = section_of(all->l, p);
		HASH_ADD_KEYPTR(hh, all->programs, w->program, strlen(w->program), w);
	}
}

static void forget_programs(struct pipes *all)
{
	struct wired *w, *tmp;

	HASH_ITER (hh, all->programs, w, tmp) {
		HASH_DEL(all->programs, w);
		free(w->wires);
		free(w);
	}
}

/* A section of that name is there, and was told what is wrong with it, or makes no process. */
static bool has_section(const struct loader *l, const char *program)
{
	for (const struct section_kind *k = section_kinds; k->name; k++) {
		AUTO_FREE char *name = xasprintf("%s:%s", k->name, program);

		if ((k->kind & SECTION_PROC) && ini_find(&l->ini, name))
			return true;
	}
	return false;
}

static const char *nearest(const struct pipes *all, const char *name)
{
	struct guess g = guess_begin(name);

	for (const struct wired *w = all->programs; w; w = w->hh.next)
		guess_try(&g, w->program, w->program);
	return g.best;
}

/* ---------------------------------------------------------------------------------- one end */

static const char *const side_keys[] = { [CONF_FROM] = "from", [CONF_TO] = "to" };

/* "program", "program:3", "program:none": cuts the text at the colon. False after a message. */
static bool parse_fd(struct scope *s, const struct ini_entry *e, enum conf_side side, char *text,
		     int *ret_fd)
{
	char *colon = strrchr(text, ':');
	int64_t n;

	*ret_fd = side == CONF_FROM ? 1 : 0;
	if (colon == NULL)
		return true;
	if (strcmp(colon + 1, "none") == 0) {
		*ret_fd = NO_FD;
	} else if (type_integer(colon + 1, &n) == 0 && n >= 0 && n <= CONF_PIPE_FD_MAX) {
		*ret_fd = (int)n;
	} else {
		section_say(s, CONF_ERROR, e, side_keys[side],
			    "'%.60s': what follows the : must be a descriptor from 0 to %d, or "
			    "none (such as web:3)",
			    text, CONF_PIPE_FD_MAX);
		return false;
	}
	*colon = '\0';
	return true;
}

static struct wired *find_program(struct pipes *all, struct scope *s, const struct ini_entry *e,
				  enum conf_side side, const char *name)
{
	const char *near;
	struct wired *w;

	HASH_FIND_STR(all->programs, name, w);
	if (w != NULL || has_section(all->l, name))
		return w;
	near = nearest(all, name);
	if (near)
		section_say(s, CONF_ERROR, e, side_keys[side],
			    "there is no [program:%.60s] (did you mean %s?)", name, near);
	else
		section_say(s, CONF_ERROR, e, side_keys[side], "there is no [program:%.60s]", name);
	return NULL;
}

/* What stands at this number of a program before any pipe does; NULL = nothing. */
static const char *held_by(const struct conf_proc *p, int fd)
{
	if (p->kind == CONF_FCGI_PROGRAM && fd == 0)
		return "its listening socket";
	if (p->kind == CONF_EVENTLISTENER && (fd == 0 || fd == 1))
		return "the event protocol";
	if (p->redirect_stderr && fd == 2)
		return "its standard output (redirect_stderr=true)";
	return NULL;
}

static const char *taken(const struct wired *w, const struct conf_pipe *pipe, int fd,
			 struct buf *text)
{
	const char *held = held_by(w->procs, fd);

	for (size_t i = 0; i < w->n_wires; i++) {
		const struct conf_wire *wire = &w->wires[i];

		if (wire->pipe == pipe->name) {
			buf_addf(text, "'%s' is at this pipe already (line %d)", w->program,
				 wire->place.line);
			return text->p;
		}
		if (fd == NO_FD || wire->fd != fd)
			continue;
		buf_addf(text, "descriptor %d of '%s' is taken by [pipe:%s] (%s:%d)", fd,
			 w->program, wire->pipe, wire->place.file, wire->place.line);
		return text->p;
	}
	if (held == NULL || fd == NO_FD)
		return NULL;
	buf_addf(text, "descriptor %d of '%s' is taken by %s", fd, w->program, held);
	return text->p;
}

static void add_end(struct pipes *all, struct scope *s, struct conf_pipe *pipe, enum conf_side side,
		    const struct ini_entry *e, const char *written)
{
	AUTO_FREE char *text = xstrdup(written);
	AUTO_BUF why = BUF_INIT;
	struct wired *w;
	int fd;

	if (!parse_fd(s, e, side, text, &fd))
		return;
	w = find_program(all, s, e, side, text);
	if (w == NULL)
		return;
	if (taken(w, pipe, fd, &why) != NULL) {
		section_say(s, CONF_ERROR, e, side_keys[side], "%s", why.p);
		return;
	}
	if (w->n_wires == CONF_WIRES_MAX) {
		section_say(s, CONF_ERROR, e, side_keys[side], "'%s' is at more than %d pipes",
			    w->program, CONF_WIRES_MAX);
		return;
	}
	w->wires = xrealloc(w->wires, (w->n_wires + 1) * sizeof(*w->wires));
	w->wires[w->n_wires++] = (struct conf_wire){
		.pipe = pipe->name,
		.variable = pipe->variable,
		.mode = pipe->mode,
		.side = side,
		.fd = fd,
		.place = { e->file, e->line },
	};
	pipe->ends[side][pipe->n_ends[side]++] = (struct conf_end){ w->program, fd };
}

static size_t count_processes(struct pipes *all, const struct conf_pipe *pipe, enum conf_side side)
{
	size_t n = 0;

	for (size_t i = 0; i < pipe->n_ends[side]; i++) {
		struct wired *w;

		HASH_FIND_STR(all->programs, pipe->ends[side][i].program, w);
		n += w->n_procs;
	}
	return n;
}

static void add_side(struct pipes *all, struct scope *s, const struct slots *slots,
		     struct conf_pipe *pipe, enum conf_side side)
{
	const struct ini_entry *e = slot_of(slots, s, side_keys[side]);
	size_t n = strv_length(pipe->texts[side]);

	if (e == NULL)
		return;
	if (n == 0)
		section_say(s, CONF_ERROR, e, side_keys[side], "names no program (such as web:3)");
	pipe->ends[side] = store_alloc(all->l->conf->store, (n + 1) * sizeof(struct conf_end));
	for (size_t i = 0; i < n; i++)
		add_end(all, s, pipe, side, e, pipe->texts[side][i]);
	n = count_processes(all, pipe, side);
	if (n > 1 && pipe->mode == CONF_PIPE_DUPLEX)
		section_say(s, CONF_ERROR, e, side_keys[side],
			    "%zu processes at one end of a duplex pipe would take each other's "
			    "answers: there must be one",
			    n);
	else if (n > 1 && pipe->mode == CONF_PIPE_STREAM && side == CONF_TO)
		section_say(s, CONF_NOTE, e, side_keys[side],
			    "%zu processes read one stream: each gets bytes from anywhere in it; "
			    "mode=packet keeps messages whole",
			    n);
}

/* ---------------------------------------------------------------------------------- one pipe */

/* Letters, digits and _, since it becomes a part of a variable; NULL after a message. */
static char *check_pipe_name(struct scope *s, const char *name)
{
	char *clean = load_check_name(s, name);

	for (const char *p = clean; p && *p; p++)
		if (!isascii((unsigned char)*p) || !(isalnum((unsigned char)*p) || *p == '_')) {
			section_say(s, CONF_ERROR, NULL, NULL,
				    "'%.60s' is no name of a pipe: it becomes a variable "
				    "(MPSUP_PIPE_...), so letters, digits and _ only",
				    clean);
			return NULL;
		}
	return clean;
}

static char *variable_of(struct loader *l, const char *name)
{
	AUTO_FREE char *variable = xasprintf("MPSUP_PIPE_%s", name);

	for (char *p = variable; *p; p++)
		*p = (char)toupper((unsigned char)*p);
	return store_str(l->conf->store, variable);
}

static bool is_new(struct pipes *all, struct scope *s, const struct conf_pipe *pipe)
{
	const struct conf *conf = all->l->conf;

	for (size_t i = 0; i < conf->n_pipes; i++) {
		const struct conf_pipe *other = &conf->pipes[i];

		if (other->variable != pipe->variable)
			continue;
		section_say(s, CONF_ERROR, NULL, NULL,
			    "its variable %s is that of [pipe:%s] too (%s:%d)", pipe->variable,
			    other->name, other->place.file, other->place.line);
		return false;
	}
	if (conf->n_pipes < CONF_PIPES_MAX)
		return true;
	section_say(s, CONF_ERROR, NULL, NULL, "more than %d pipes", CONF_PIPES_MAX);
	return false;
}

static void check_size(struct scope *s, const struct slots *slots, const struct conf_pipe *pipe)
{
	if (pipe->size < 0 || pipe->size > INT_MAX)
		section_say(s, CONF_ERROR, slot_of(slots, s, "size"), "size",
			    "must be from 1 to %d bytes (such as 1MB)", INT_MAX);
}

static void load_pipe(struct pipes *all, struct scope *s, const char *name)
{
	struct conf *conf = all->l->conf;
	struct conf_pipe pipe = { .place = s->section->place };
	struct slots slots;

	section_defaults(all->l, SECTION_PIPE, &pipe);
	section_collect(s, &slots);
	pipe.name = check_pipe_name(s, name);
	if (section_require(s, &slots) + section_apply_all(s, &slots, &pipe) > 0 ||
	    pipe.name == NULL)
		return;
	pipe.variable = variable_of(all->l, pipe.name);
	check_size(s, &slots, &pipe);
	if (!is_new(all, s, &pipe))
		return;
	add_side(all, s, &slots, &pipe, CONF_FROM);
	add_side(all, s, &slots, &pipe, CONF_TO);
	if (conf->n_pipes == all->cap) {
		all->cap = 2 * all->cap + 16;
		conf->pipes = xrealloc(conf->pipes, all->cap * sizeof(*conf->pipes));
	}
	conf->pipes[conf->n_pipes++] = pipe;
}

/* ---------------------------------------------------------------------------------- all */

static const struct conf_wire *wire_at(const struct wired *w, int fd)
{
	for (size_t i = 0; i < w->n_wires; i++)
		if (w->wires[i].fd == fd)
			return &w->wires[i];
	return NULL;
}

/* Those that have no number of their own get the lowest that are free. */
static void number_wires(struct loader *l, struct wired *w)
{
	int fd = 3;

	for (size_t i = 0; i < w->n_wires; i++) {
		struct conf_wire *wire = &w->wires[i];
		AUTO_FREE char *variable = NULL;

		if (wire->fd == NO_FD) {
			while (wire_at(w, fd) != NULL)
				fd++;
			wire->fd = fd;
		}
		variable = xasprintf("%s=%d", wire->variable, wire->fd);
		wire->variable = store_str(l->conf->store, variable);
	}
}

static void number_ends(struct pipes *all)
{
	struct conf *conf = all->l->conf;

	for (struct wired *w = all->programs; w; w = w->hh.next)
		number_wires(all->l, w);
	for (size_t i = 0; i < 2 * conf->n_pipes; i++) {
		struct conf_pipe *pipe = &conf->pipes[i / 2];

		for (size_t k = 0; k < pipe->n_ends[i % 2]; k++) {
			struct conf_end *end = &pipe->ends[i % 2][k];
			struct wired *w;

			HASH_FIND_STR(all->programs, end->program, w);
			for (size_t n = 0; n < w->n_wires; n++)
				if (w->wires[n].pipe == pipe->name)
					end->fd = w->wires[n].fd;
		}
	}
}

static int compare_fds(const void *a, const void *b)
{
	return ((const struct conf_wire *)a)->fd - ((const struct conf_wire *)b)->fd;
}

static void say_log(struct pipes *all, const struct wired *w, const struct conf_wire *wire,
		    const char *key, const char *instead)
{
	const struct ini_entry *e = ini_get(&all->l->ini, w->section, key);
	struct scope s = { .l = all->l, .section = w->section };

	section_say(&s, CONF_ERROR, e, key,
		    "cannot be: this stream goes into [pipe:%s] (%s:%d); %s would do", wire->pipe,
		    wire->place.file, wire->place.line, instead);
}

/* The stream of a process that goes into a pipe is logged nowhere; who asks for that is wrong. */
static void check_stream(struct pipes *all, const struct wired *w, struct conf_proc *p, int fd)
{
	const struct conf_wire *wire = conf_wire_at(p, fd);
	struct conf_log *log = fd == 1 ? &p->out : &p->err;

	if (wire == NULL)
		return;
	if (log->kind == CONF_LOG_FILE && p == w->procs)
		say_log(all, w, wire, fd == 1 ? "stdout_logfile" : "stderr_logfile", "NONE");
	if (log->syslog && p == w->procs)
		say_log(all, w, wire, fd == 1 ? "stdout_syslog" : "stderr_syslog", "false");
	log->kind = CONF_LOG_NONE;
	log->path = NULL;
}

static void check_stdin(struct pipes *all, const struct wired *w)
{
	const struct ini_entry *e = ini_get(&all->l->ini, w->section, "stdin");
	struct scope s = { .l = all->l, .section = w->section };

	if (conf_wire_at(w->procs, 0) && e)
		section_say(&s, CONF_WARNING, e, "stdin",
			    "is not used, because standard input is [pipe:%s]",
			    conf_wire_at(w->procs, 0)->pipe);
}

static void hand_out(struct pipes *all, struct wired *w)
{
	struct conf_wire *wires;
	size_t size = w->n_wires * sizeof(*wires);

	if (w->n_wires == 0)
		return;
	qsort(w->wires, w->n_wires, sizeof(*wires), compare_fds);
	wires = store_alloc(all->l->conf->store, size);
	memcpy(wires, w->wires, size);
	for (size_t i = 0; i < w->n_procs; i++) {
		struct conf_proc *p = &w->procs[i];

		p->wires = wires;
		p->n_wires = w->n_wires;
		check_stream(all, w, p, 1);
		check_stream(all, w, p, 2);
	}
	check_stdin(all, w);
}

void load_pipes(struct loader *l)
{
	struct pipes all = { .l = l };

	know_programs(&all);
	for (struct ini_section *sec = l->ini.sections; sec; sec = sec->hh.next) {
		struct scope s = { .l = l, .section = sec };
		const char *name;

		s.kind = section_find(sec->name, &name);
		if (s.kind && s.kind->kind == SECTION_PIPE)
			load_pipe(&all, &s, name);
	}
	number_ends(&all);
	for (struct wired *w = all.programs; w; w = w->hh.next)
		hand_out(&all, w);
	forget_programs(&all);
}
