/*
 * mpsup graph: draws the programs of a configuration and the pipes between them, for people or for graphviz.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/utf8.h"
#include "base/xalloc.h"
#include "conf/conf.h"
#include "mpsup/cmd.h"
#include "mpsup/terminal.h"
#include "mpsup/verbs.h"

struct node {
	const char
		*program; /* the configuration's one copy of the name: equal ones are one pointer */
	char *label;	  /* "worker x4" */
	size_t n_procs;
	size_t n_in, n_out; /* edges that are not drawn yet */
	bool wired;
};

struct edge {
	const struct conf_pipe *pipe;
	struct node *from, *to;
	bool drawn;
};

struct graph {
	struct node *nodes;
	size_t n_nodes;
	struct edge *edges;
	size_t n_edges;
};

static bool dot;

static int on_option(const struct cmd_option *o, const char *value, struct err *err)
{
	(void)o;
	(void)value;
	(void)err;
	dot = true;
	return 0;
}

/* ------------------------------------------------------------------------------------------------- the graph */

static struct node *find_node(struct graph *g, const char *program)
{
	for (size_t i = 0; i < g->n_nodes; i++)
		if (strcmp(g->nodes[i].program, program) == 0)
			return &g->nodes[i];
	return NULL;
}

/* The processes of a program stand together. */
static void add_nodes(struct graph *g, const struct conf *conf)
{
	struct node *n = NULL;

	g->nodes = xcalloc(conf->n_procs + 1, sizeof(*g->nodes));
	for (size_t i = 0; i < conf->n_procs; i++) {
		const char *program = conf->procs[i].program;

		if (n == NULL || strcmp(n->program, program) != 0) {
			n = &g->nodes[g->n_nodes++];
			n->program = program;
		}
		n->n_procs++;
	}
	for (size_t i = 0; i < g->n_nodes; i++) {
		AUTO_BUF b = BUF_INIT;

		n = &g->nodes[i];
		utf8_add_clean(&b, n->program, strlen(n->program));
		if (n->n_procs > 1)
			buf_addf(&b, " x%zu", n->n_procs);
		n->label = xbuf_take(&b);
	}
}

static void add_edge(struct graph *g, const struct conf_pipe *pipe, struct node *from,
		     struct node *to)
{
	if (g->n_edges % 64 == 0)
		g->edges = xrealloc(g->edges, (g->n_edges + 64) * sizeof(*g->edges));
	g->edges[g->n_edges++] = (struct edge){ pipe, from, to, false };
	from->n_out++;
	to->n_in++;
	from->wired = to->wired = true;
}

static void add_edges(struct graph *g, const struct conf_pipe *pipe)
{
	for (size_t i = 0; i < pipe->n_ends[CONF_FROM]; i++) {
		struct node *from = find_node(g, pipe->ends[CONF_FROM][i].program);

		for (size_t k = 0; k < pipe->n_ends[CONF_TO]; k++)
			add_edge(g, pipe, from, find_node(g, pipe->ends[CONF_TO][k].program));
	}
}

static void graph_init(struct graph *g, const struct conf *conf)
{
	*g = (struct graph){ 0 };
	add_nodes(g, conf);
	for (size_t i = 0; i < conf->n_pipes; i++)
		add_edges(g, &conf->pipes[i]);
}

static void graph_fini(struct graph *g)
{
	for (size_t i = 0; i < g->n_nodes; i++)
		free(g->nodes[i].label);
	free(g->nodes);
	free(g->edges);
}

/* -------------------------------------------------------------------------------------------------- as text */

/* A chain of boxes: three lines that grow together. */
struct chain {
	struct buf lines[3];
	unsigned width;
};

static void fill(struct buf *b, char c, unsigned n)
{
	while (n-- > 0)
		buf_addc(b, c);
}

static void chain_box(struct chain *c, const struct node *n)
{
	unsigned width = (unsigned)utf8_width(n->label, strlen(n->label));

	for (int i = 0; i < 3; i += 2) {
		buf_addc(&c->lines[i], '+');
		fill(&c->lines[i], '-', width + 2);
		buf_addc(&c->lines[i], '+');
	}
	buf_addf(&c->lines[1], "| %s |", n->label);
	c->width += width + 4;
}

static void add_arrow(struct buf *b, const struct conf_pipe *pipe)
{
	static const char *const shapes[][2] = {
		[CONF_PIPE_STREAM] = { "--", "-->" },
		[CONF_PIPE_PACKET] = { "==", "==>" },
		[CONF_PIPE_DUPLEX] = { "<--", "-->" },
	};

	buf_addf(b, " %s %s %s ", shapes[pipe->mode][0], pipe->name, shapes[pipe->mode][1]);
}

static void chain_arrow(struct chain *c, const struct conf_pipe *pipe)
{
	size_t before = c->lines[1].len;
	unsigned width;

	add_arrow(&c->lines[1], pipe);
	width = (unsigned)(c->lines[1].len - before);
	fill(&c->lines[0], ' ', width);
	fill(&c->lines[2], ' ', width);
	c->width += width;
}

static void chain_print(struct chain *c)
{
	for (int i = 0; i < 3; i++) {
		printf("%s\n", c->lines[i].p);
		buf_reset(&c->lines[i]);
	}
	c->width = 0;
}

static struct edge *next_edge(struct graph *g, const struct node *from)
{
	for (size_t i = 0; i < g->n_edges; i++)
		if (!g->edges[i].drawn && g->edges[i].from == from)
			return &g->edges[i];
	return NULL;
}

static unsigned width_of(const struct edge *e)
{
	AUTO_BUF b = BUF_INIT;

	add_arrow(&b, e->pipe);
	return (unsigned)(b.len + utf8_width(e->to->label, strlen(e->to->label))) + 4;
}

/* As far as the pipes lead; where the line is full the last box is the first of another. */
static void print_chain(struct graph *g, struct node *n, unsigned width)
{
	struct chain c = { 0 };
	struct edge *e;

	chain_box(&c, n);
	while ((e = next_edge(g, n)) != NULL) {
		if (c.width > 0 && c.width + width_of(e) > width &&
		    c.width > utf8_width(n->label, strlen(n->label)) + 4) {
			chain_print(&c);
			chain_box(&c, n);
		}
		e->drawn = true;
		e->from->n_out--;
		e->to->n_in--;
		n = e->to;
		chain_arrow(&c, e->pipe);
		chain_box(&c, n);
	}
	chain_print(&c);
	for (int i = 0; i < 3; i++)
		buf_fini(&c.lines[i]);
}

/* Where something begins; in a circle, anywhere. */
static struct node *next_start(struct graph *g)
{
	struct node *any = NULL;

	for (size_t i = 0; i < g->n_nodes; i++) {
		struct node *n = &g->nodes[i];

		if (n->n_out > 0 && n->n_in == 0)
			return n;
		if (n->n_out > 0 && any == NULL)
			any = n;
	}
	return any;
}

static void print_others(const struct graph *g, unsigned width)
{
	unsigned at = 0;

	for (size_t i = 0; i < g->n_nodes; i++) {
		const struct node *n = &g->nodes[i];
		unsigned need = (unsigned)utf8_width(n->label, strlen(n->label)) + 2;

		if (n->wired)
			continue;
		if (at == 0)
			at = (unsigned)printf("without pipes: ");
		else if (at + need > width)
			at = (unsigned)printf(",\n  ") - 2;
		else
			printf(", ");
		printf("%s", n->label);
		at += need;
	}
	if (at > 0)
		printf("\n");
}

static void print_text(struct graph *g)
{
	unsigned width = terminal_width();
	struct node *n;

	while ((n = next_start(g)) != NULL)
		print_chain(g, n, width > 0 ? width : 80);
	print_others(g, width > 0 ? width : 80);
}

/* --------------------------------------------------------------------------------------------------- as dot */

static void print_quoted(const char *s)
{
	putchar('"');
	for (; *s != '\0'; s++) {
		if (*s == '"' || *s == '\\')
			putchar('\\');
		putchar(*s);
	}
	putchar('"');
}

static void print_dot(const struct graph *g)
{
	static const char *const styles[] = {
		[CONF_PIPE_STREAM] = "",
		[CONF_PIPE_PACKET] = ", style=dashed",
		[CONF_PIPE_DUPLEX] = ", dir=both",
	};

	printf("digraph mpsup {\n\trankdir=LR;\n\tnode [shape=box];\n");
	for (size_t i = 0; i < g->n_nodes; i++) {
		printf("\tn%zu [label=", i);
		print_quoted(g->nodes[i].label);
		printf("];\n");
	}
	for (size_t i = 0; i < g->n_edges; i++) {
		const struct edge *e = &g->edges[i];

		printf("\tn%td -> n%td [label=", e->from - g->nodes, e->to - g->nodes);
		print_quoted(e->pipe->name);
		printf("%s];\n", styles[e->pipe->mode]);
	}
	printf("}\n");
}

static int run(struct cmd_context *ctx)
{
	AUTO_FREE char *path = NULL;
	struct err err = ERR_INIT;
	struct conf *conf;
	struct graph g;

	if (cmd_takes_nothing(ctx, "graph") != EXIT_OK)
		return EXIT_USAGE;
	if (cmd_config_path(ctx, &path, &err) < 0)
		return cmd_fail(EXIT_USAGE, &err);
	conf = conf_load(path, &(struct conf_options){ .insecure = ctx->insecure });
	if (conf->n_errors > 0) {
		err_set(&err, 0, "%s has mistakes; mpsup check tells them", path);
		conf_free(conf);
		return cmd_fail(EXIT_GENERIC, &err);
	}
	if (conf->n_procs == 0)
		fprintf(stderr, "mpsup: %s: no programs (such as [program:web])\n", path);
	graph_init(&g, conf);
	if (dot)
		print_dot(&g);
	else
		print_text(&g);
	graph_fini(&g);
	conf_free(conf);
	return EXIT_OK;
}

static const struct cmd_option options[] = {
	{ 0, "dot", NULL, "for graphviz: mpsup graph --dot | dot -Tsvg" },
	{ 0 },
};

const struct cmd cmd_graph = {
	.name = "graph",
	.args = "",
	.summary = "draw the programs and the pipes between them",
	.help = "As the configuration has them, whether they run or not. --name--> is a stream,\n"
		"==name==> packets, <--name--> goes both ways; x4 are four processes.",
	.flags = CMD_CONFIG,
	.options = options,
	.on_option = on_option,
	.run = run,
};
