/*
 * UTF-8 for terminals. See utf8.h. The libc's wcwidth() would need a locale, which containers rarely have.
 */
#include "base/utf8.h"

#include "base/buf.h"
#include "base/cleanup.h"

uint32_t utf8_next(const char **at, const char *end)
{
	static const uint32_t least[] = { 0, 0x80, 0x800, 0x10000 };
	const unsigned char *s = (const unsigned char *)*at;
	size_t left = (size_t)(end - *at), more = 0;
	uint32_t c = s[0];

	if (c >= 0xf0 && c < 0xf5)
		more = 3;
	else if (c >= 0xe0 && c < 0xf0)
		more = 2;
	else if (c >= 0xc2 && c < 0xe0)
		more = 1;
	else if (c >= 0x80)
		goto bad;
	if (more >= left)
		goto bad;
	if (more > 0)
		c &= 0x3fu >> more;
	for (size_t i = 1; i <= more; i++) {
		if ((s[i] & 0xc0) != 0x80)
			goto bad;
		c = c << 6 | (s[i] & 0x3f);
	}
	if (c < least[more] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
		goto bad;
	*at += more + 1;
	return c;
bad:
	*at += 1;
	return UTF8_BAD;
}

struct range {
	uint32_t first, last;
};

static const struct range zero_wide[] = {
	{ 0x0300, 0x036f },   { 0x0483, 0x0489 },   { 0x0591, 0x05bd }, { 0x0610, 0x061a },
	{ 0x064b, 0x065f },   { 0x0900, 0x0902 },   { 0x093c, 0x093c }, { 0x0941, 0x0948 },
	{ 0x0e31, 0x0e31 },   { 0x0e34, 0x0e3a },   { 0x0e47, 0x0e4e }, { 0x1ab0, 0x1aff },
	{ 0x1dc0, 0x1dff },   { 0x200b, 0x200f },   { 0x202a, 0x202e }, { 0x2060, 0x2064 },
	{ 0x20d0, 0x20f0 },   { 0xfe00, 0xfe0f },   { 0xfe20, 0xfe2f }, { 0xfeff, 0xfeff },
	{ 0x1f3fb, 0x1f3ff }, { 0xe0100, 0xe01ef },
};

static const struct range two_wide[] = {
	{ 0x1100, 0x115f },   { 0x231a, 0x231b },   { 0x23e9, 0x23ec },	  { 0x25fd, 0x25fe },
	{ 0x2614, 0x2615 },   { 0x2648, 0x2653 },   { 0x26a1, 0x26a1 },	  { 0x26bd, 0x26be },
	{ 0x2705, 0x2705 },   { 0x274c, 0x274c },   { 0x2753, 0x2755 },	  { 0x2e80, 0x303e },
	{ 0x3041, 0x33ff },   { 0x3400, 0x4dbf },   { 0x4e00, 0x9fff },	  { 0xa000, 0xa4cf },
	{ 0xa960, 0xa97f },   { 0xac00, 0xd7a3 },   { 0xf900, 0xfaff },	  { 0xfe30, 0xfe6f },
	{ 0xff00, 0xff60 },   { 0xffe0, 0xffe6 },   { 0x1f300, 0x1f3fa }, { 0x1f400, 0x1f64f },
	{ 0x1f680, 0x1f6ff }, { 0x1f900, 0x1faff }, { 0x20000, 0x3fffd },
};

static int in_ranges(uint32_t c, const struct range *ranges, size_t n)
{
	size_t low = 0, high = n;

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (c > ranges[mid].last)
			low = mid + 1;
		else if (c < ranges[mid].first)
			high = mid;
		else
			return 1;
	}
	return 0;
}

unsigned utf8_char_width(uint32_t c)
{
	if (c < 0x300)
		return 1;
	if (in_ranges(c, zero_wide, ARRAY_SIZE(zero_wide)))
		return 0;
	return in_ranges(c, two_wide, ARRAY_SIZE(two_wide)) ? 2 : 1;
}

size_t utf8_fit(const char *s, size_t n, unsigned columns, unsigned *ret_width)
{
	const char *at = s, *end = s + n;
	unsigned width = 0;

	while (at < end) {
		const char *next = at;
		unsigned w = 1;

		if ((unsigned char)*at < 0x80)
			next++;
		else
			w = utf8_char_width(utf8_next(&next, end));
		if (width + w > columns)
			break;
		width += w;
		at = next;
	}
	*ret_width = width;
	return (size_t)(at - s);
}

unsigned utf8_width(const char *s, size_t n)
{
	unsigned width;

	utf8_fit(s, n, (unsigned)-2, &width);
	return width;
}

/* The front of s that needs no look: most of what is ever printed. */
static const char *skip_plain(const char *at, const char *end)
{
	while (at < end && (unsigned char)*at >= 0x20 && (unsigned char)*at < 0x7f)
		at++;
	return at;
}

void utf8_add_clean(struct buf *b, const char *s, size_t n)
{
	const char *at = s, *end = s + n;

	while (at < end) {
		const char *from = at;
		uint32_t c;

		at = skip_plain(at, end);
		buf_add(b, from, (size_t)(at - from));
		if (at == end)
			break;
		from = at;
		c = utf8_next(&at, end);
		if (c == '\t')
			buf_addc(b, ' ');
		else if (c < 0x20 || (c >= 0x7f && c < 0xa0))
			buf_addc(b, '?');
		else if (c == UTF8_BAD)
			buf_adds(b, "\xef\xbf\xbd");
		else
			buf_add(b, from, (size_t)(at - from));
	}
}

void utf8_add_valid(struct buf *b, const char *s, size_t n)
{
	const char *at = s, *end = s + n, *good = s;

	while (at < end) {
		const char *from = at;

		/* U+FFFD itself is three bytes long, and stays. */
		if (utf8_next(&at, end) != UTF8_BAD || at - from > 1)
			continue;
		buf_add(b, good, (size_t)(from - good));
		buf_adds(b, "\xef\xbf\xbd");
		good = at;
	}
	buf_add(b, good, (size_t)(end - good));
}
