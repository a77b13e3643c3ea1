/*
 * Lines out of pieces.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/limits.h"
#include "base/lines.h"

static void on_line(const char *line, size_t n, void *user)
{
	struct buf *b = user;

	buf_addc(b, '[');
	buf_add(b, line, n);
	buf_addc(b, ']');
}

Test(lines, however_the_text_is_cut_the_lines_are_the_same)
{
	static const char text[] = "one\n\ntwo words\r\n\nthe last has no end";

	for (size_t step = 1; step < sizeof(text); step++) {
		struct lines l = { 0 };
		AUTO_BUF got = BUF_INIT;

		for (size_t at = 0; at < sizeof(text) - 1; at += step)
			lines_feed(&l, text + at,
				   step < sizeof(text) - 1 - at ? step : sizeof(text) - 1 - at,
				   on_line, &got);
		cr_expect_str_eq(got.p, "[one][][two words\r][]", "in steps of %zu", step);
		lines_end(&l, on_line, &got);
		lines_end(&l, on_line, &got);
		cr_expect_str_eq(got.p, "[one][][two words\r][][the last has no end]");
		lines_fini(&l);
	}
}

struct sizes {
	size_t all[8];
	size_t n;
};

static void on_size(const char *line, size_t n, void *user)
{
	struct sizes *s = user;

	(void)line;
	if (s->n < ARRAY_SIZE(s->all))
		s->all[s->n] = n;
	s->n++;
}

Test(lines, one_that_is_too_long_comes_in_pieces_and_nothing_is_added)
{
	static char text[3 * LINE_HELD_MAX];
	static const struct {
		size_t length;
		struct sizes want;
	} rows[] = {
		{ LINE_HELD_MAX - 1, { { LINE_HELD_MAX - 1 }, 1 } },
		{ LINE_HELD_MAX, { { LINE_HELD_MAX }, 1 } },
		{ LINE_HELD_MAX + 1, { { LINE_HELD_MAX, 1 }, 2 } },
		{ 2 * LINE_HELD_MAX, { { LINE_HELD_MAX, LINE_HELD_MAX }, 2 } },
		{ 2 * LINE_HELD_MAX + 5, { { LINE_HELD_MAX, LINE_HELD_MAX, 5 }, 3 } },
	};
	static const size_t steps[] = { sizeof(text), 65536, 1000 };

	for (size_t i = 0; i < ARRAY_SIZE(rows) * ARRAY_SIZE(steps); i++) {
		size_t length = rows[i / ARRAY_SIZE(steps)].length;
		size_t step = steps[i % ARRAY_SIZE(steps)];
		const struct sizes *want = &rows[i / ARRAY_SIZE(steps)].want;
		struct sizes got = { 0 };
		struct lines l = { 0 };

		memset(text, 'x', length);
		text[length] = '\n';
		for (size_t at = 0; at <= length; at += step)
			lines_feed(&l, text + at, step < length + 1 - at ? step : length + 1 - at,
				   on_size, &got);
		lines_end(&l, on_size, &got);
		cr_expect_eq(got.n, want->n, "%zu in steps of %zu: %zu", length, step, got.n);
		cr_expect_eq(memcmp(got.all, want->all, sizeof(got.all)), 0);
		lines_fini(&l);
	}
}
