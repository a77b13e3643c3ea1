/*
 * Placeholders. See template.h.
 */
#include "map/template.h"

#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/strv.h"
#include "base/xalloc.h"

struct part {
	const char *p;
	size_t n;
};

/* Behind the last slash. */
static struct part base_of(struct part t)
{
	const char *slash = memrchr(t.p, '/', t.n);

	if (slash == NULL)
		return t;
	return (struct part){ slash + 1, t.n - (size_t)(slash + 1 - t.p) };
}

/* Before the last slash; "." where there is none, as dirname(1). */
static struct part folder_of(struct part t)
{
	const char *slash = memrchr(t.p, '/', t.n);

	if (slash == NULL)
		return (struct part){ ".", 1 };
	return slash == t.p ? (struct part){ "/", 1 } : (struct part){ t.p, (size_t)(slash - t.p) };
}

/* Without the dot of the last name and what is behind it; a name that begins with its dot is none. */
static struct part stem_of(struct part t)
{
	struct part base = base_of(t);
	const char *dot = memrchr(base.p, '.', base.n);

	if (dot == NULL || dot == base.p)
		return t;
	return (struct part){ t.p, (size_t)(dot - t.p) };
}

static struct part base_stem_of(struct part t)
{
	return stem_of(base_of(t));
}

static struct part all_of(struct part t)
{
	return t;
}

static const struct placeholder {
	const char *text;
	struct part (*of)(struct part task); /* NULL: a number */
	bool is_place;
} placeholders[] = {
	{ "{}", all_of, false },      { "{.}", stem_of, false },       { "{/}", base_of, false },
	{ "{//}", folder_of, false }, { "{/.}", base_stem_of, false }, { "{#}", NULL, false },
	{ "{%}", NULL, true },
};

static const struct placeholder *at(const char *p)
{
	for (size_t i = 0; i < ARRAY_SIZE(placeholders); i++)
		if (str_is_prefix(placeholders[i].text, p))
			return &placeholders[i];
	return NULL;
}

bool template_has_placeholder(const char *arg)
{
	while ((arg = strchr(arg, '{')) != NULL)
		if (at(arg++) != NULL)
			return true;
	return false;
}

static void put(const struct placeholder *h, const struct template_task *task, struct buf *to)
{
	struct part t;

	if (h->of == NULL) {
		buf_addf(to, "%llu",
			 h->is_place ? (unsigned long long)task->place
				     : (unsigned long long)task->seq);
		return;
	}
	t = h->of((struct part){ task->p, task->n });
	buf_add(to, t.p, t.n);
}

static void expand_one(const char *arg, const struct template_task *task, struct buf *to)
{
	while (*arg != '\0') {
		const struct placeholder *h = *arg == '{' ? at(arg) : NULL;
		size_t n = h == NULL ? 1 + strcspn(arg + 1, "{") : strlen(h->text);

		if (h != NULL)
			put(h, task, to);
		else
			buf_add(to, arg, n);
		arg += n;
	}
	buf_addc(to, '\0');
}

void template_expand(char *const *argv, const struct template_task *task, struct template_room *r)
{
	size_t n = strv_length(argv), at_byte = 0;
	/* No argument has a NUL in it. */
	const struct template_task clean = { task->p, strnlen(task->p, task->n), task->seq,
					     task->place };

	if (r->cap < n + 1) {
		r->cap = n + 1;
		r->argv = xrealloc(r->argv, r->cap * sizeof(*r->argv));
	}
	buf_reset(&r->text);
	for (size_t i = 0; i < n; i++)
		expand_one(argv[i], &clean, &r->text);
	/* Not before all is there: it may have moved. */
	for (size_t i = 0; i < n; i++) {
		r->argv[i] = r->text.p + at_byte;
		at_byte += strlen(r->text.p + at_byte) + 1;
	}
	r->argv[n] = NULL;
}

void template_room_fini(struct template_room *r)
{
	buf_fini(&r->text);
	free(r->argv);
	*r = (struct template_room){ 0 };
}

void template_add(char *const *argv, struct buf *to)
{
	for (size_t i = 0; argv[i] != NULL; i++) {
		if (i > 0)
			buf_addc(to, ' ');
		buf_adds(to, argv[i]);
	}
}
