/*
 * The grammar is CPython's unicode_format.h: %(key)flags width .precision length type, with nested parentheses
 * in the key; rules of padding are Python's where they differ from C's ("%#o" is 0o17, "%x" of -1 is -1).
 */
#include "conf/expand.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/limits.h"

struct spec {
	const char *name;
	size_t name_len;
	bool alternate, zero, left, blank, plus;
	int width;     /* 0 = none */
	int precision; /* -1 = none */
	char type;
};

/* Bytes of the character at s, 1 for what is no UTF-8. */
static size_t char_len(const char *s)
{
	size_t n = 1;

	while ((s[n] & 0xc0) == 0x80)
		n++;
	return n;
}

static size_t count_chars(const char *s)
{
	size_t n = 0;

	for (; *s; s += char_len(s))
		n++;
	return n;
}

/* Writes one number of at most CONF_EXPAND_WIDTH_MAX from *p. */
static int read_number(const char **p, int *ret, struct err *err)
{
	long n = 0;

	for (; **p >= '0' && **p <= '9'; (*p)++) {
		n = n * 10 + (**p - '0');
		if (n > CONF_EXPAND_WIDTH_MAX)
			return err_set(err, -EINVAL, "a width over %d is too much",
				       CONF_EXPAND_WIDTH_MAX);
	}
	*ret = (int)n;
	return 0;
}

static void read_flags(const char **p, struct spec *spec)
{
	for (;; (*p)++) {
		switch (**p) {
		case '#':
			spec->alternate = true;
			continue;
		case '0':
			spec->zero = true;
			continue;
		case '-':
			spec->left = true;
			continue;
		case ' ':
			spec->blank = true;
			continue;
		case '+':
			spec->plus = true;
			continue;
		}
		return;
	}
}

/* From the "(" on; *p then stands behind the type. */
static int read_spec(const char **p, struct spec *spec, struct err *err)
{
	const char *s = *p + 1;
	int depth = 1, r;

	*spec = (struct spec){ .name = s, .precision = -1 };
	for (; *s && depth > 0; s++)
		depth += (*s == '(') - (*s == ')');
	if (depth > 0)
		return err_set(err, -EINVAL, "'%%%.40s' has no closing parenthesis", *p);
	spec->name_len = (size_t)(s - 1 - spec->name);
	read_flags(&s, spec);
	if (*s == '*')
		return err_set(err, -EINVAL, "'%%%.40s': a width must be a number, not *", *p);
	r = read_number(&s, &spec->width, err);
	if (r == 0 && *s == '.') {
		s++;
		r = read_number(&s, &spec->precision, err);
	}
	if (r < 0)
		return r;
	if (*s == 'h' || *s == 'l' || *s == 'L')
		s++;
	spec->type = *s;
	if (*s == '\0')
		return err_set(err, -EINVAL,
			       "'%%%.40s' lacks the type at its end (such as %%(%.*s)s)", *p,
			       (int)(spec->name_len > 40 ? 40 : spec->name_len), spec->name);
	*p = s + 1;
	return 0;
}

static void add_padding(struct buf *out, char c, long n)
{
	while (n-- > 0)
		buf_addc(out, c);
}

/* Text with precision (characters) and padding. */
static void add_text(struct buf *out, const struct spec *spec, const char *text)
{
	size_t bytes = 0, chars = 0;
	long pad;

	while (text[bytes] && (spec->precision < 0 || chars < (size_t)spec->precision)) {
		bytes += char_len(text + bytes);
		chars++;
	}
	pad = spec->width - (long)chars;
	if (!spec->left)
		add_padding(out, ' ', pad);
	buf_add(out, text, bytes);
	if (spec->left)
		add_padding(out, ' ', pad);
}

/* sign + prefix + digits, zero-padded between prefix and digits or blank-padded around. */
static void add_number(struct buf *out, const struct spec *spec, const char *sign,
		       const char *prefix, const char *digits)
{
	long n = (long)(strlen(sign) + strlen(prefix) + strlen(digits));
	long zeros =
		spec->precision > (long)strlen(digits) ? spec->precision - (long)strlen(digits) : 0;
	long pad = spec->width - n - zeros;

	if (spec->zero && !spec->left && pad > 0) {
		zeros += pad;
		pad = 0;
	}
	if (!spec->left)
		add_padding(out, ' ', pad);
	buf_adds(out, sign);
	buf_adds(out, prefix);
	add_padding(out, '0', zeros);
	buf_adds(out, digits);
	if (spec->left)
		add_padding(out, ' ', pad);
}

static const char *sign_of(const struct spec *spec, bool negative)
{
	if (negative)
		return "-";
	return spec->plus ? "+" : spec->blank ? " " : "";
}

static void add_integer(struct buf *out, const struct spec *spec, long long value)
{
	unsigned long long magnitude =
		value < 0 ? -(unsigned long long)value : (unsigned long long)value;
	const char *prefix = "";
	char digits[32];

	switch (spec->type) {
	case 'o':
		snprintf(digits, sizeof(digits), "%llo", magnitude);
		prefix = spec->alternate ? "0o" : "";
		break;
	case 'x':
		snprintf(digits, sizeof(digits), "%llx", magnitude);
		prefix = spec->alternate ? "0x" : "";
		break;
	case 'X':
		snprintf(digits, sizeof(digits), "%llX", magnitude);
		prefix = spec->alternate ? "0X" : "";
		break;
	default:
		snprintf(digits, sizeof(digits), "%llu", magnitude);
		break;
	}
	add_number(out, spec, sign_of(spec, value < 0), prefix, digits);
}

static void add_float(struct buf *out, const struct spec *spec, long long value)
{
	struct spec bare = *spec;
	AUTO_BUF digits = BUF_INIT;
	double magnitude = value < 0 ? -(double)value : (double)value;
	int precision = spec->precision < 0 ? 6 : spec->precision;

	switch (spec->type) {
	case 'e':
		buf_addf(&digits, spec->alternate ? "%#.*e" : "%.*e", precision, magnitude);
		break;
	case 'E':
		buf_addf(&digits, spec->alternate ? "%#.*E" : "%.*E", precision, magnitude);
		break;
	case 'g':
		buf_addf(&digits, spec->alternate ? "%#.*g" : "%.*g", precision, magnitude);
		break;
	case 'G':
		buf_addf(&digits, spec->alternate ? "%#.*G" : "%.*G", precision, magnitude);
		break;
	default:
		buf_addf(&digits, spec->alternate ? "%#.*f" : "%.*f", precision, magnitude);
		break;
	}
	bare.precision = -1;
	add_number(out, &bare, sign_of(spec, value < 0), "", digits.p ? digits.p : "");
}

/* One code point as UTF-8. */
static int add_char(struct buf *out, const struct spec *spec, long long c, struct err *err)
{
	struct spec bare = *spec;
	char s[5] = { 0 };

	if (c <= 0 || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
		return err_set(err, -EINVAL, "%lld is no character for %%c", c);
	if (c < 0x80) {
		s[0] = (char)c;
	} else if (c < 0x800) {
		s[0] = (char)(0xc0 | c >> 6);
		s[1] = (char)(0x80 | (c & 0x3f));
	} else if (c < 0x10000) {
		s[0] = (char)(0xe0 | c >> 12);
		s[1] = (char)(0x80 | (c >> 6 & 0x3f));
		s[2] = (char)(0x80 | (c & 0x3f));
	} else {
		s[0] = (char)(0xf0 | c >> 18);
		s[1] = (char)(0x80 | (c >> 12 & 0x3f));
		s[2] = (char)(0x80 | (c >> 6 & 0x3f));
		s[3] = (char)(0x80 | (c & 0x3f));
	}
	bare.precision = -1;
	add_text(out, &bare, s);
	return 0;
}

static unsigned long decode_char(const char *s, size_t n)
{
	unsigned char lead = (unsigned char)s[0];
	unsigned long c = n == 1 ? lead : n == 2 ? lead & 0x1fu : n == 3 ? lead & 0x0fu : lead & 7u;

	for (size_t i = 1; i < n; i++)
		c = c << 6 | ((unsigned char)s[i] & 0x3fu);
	return c;
}

/* repr() (%r), or ascii() (%a), of a string. */
static void add_repr(struct buf *out, const struct spec *spec, const char *text)
{
	char quote = strchr(text, '\'') && !strchr(text, '"') ? '"' : '\'';
	AUTO_BUF repr = BUF_INIT;
	size_t n;

	buf_addc(&repr, quote);
	for (const char *s = text; *s; s += n) {
		unsigned char c = (unsigned char)*s;
		unsigned long point;

		n = char_len(s);
		point = decode_char(s, n);
		if (c == '\\' || c == (unsigned char)quote)
			buf_addf(&repr, "\\%c", c);
		else if (c == '\n' || c == '\t' || c == '\r')
			buf_addf(&repr, "\\%c", c == '\n' ? 'n' : c == '\t' ? 't' : 'r');
		else if (c < ' ' || c == 0x7f ||
			 (spec->type == 'a' && point >= 0x80 && point < 0x100))
			buf_addf(&repr, "\\x%02lx", point);
		else if (spec->type == 'a' && point >= 0x80)
			buf_addf(&repr, point < 0x10000 ? "\\u%04lx" : "\\U%08lx", point);
		else
			buf_add(&repr, s, n);
	}
	buf_addc(&repr, quote);
	add_text(out, spec, repr.p);
}

static int add_value(struct buf *out, const struct spec *spec, const struct expand_value *v,
		     struct err *err)
{
	char decimal[32];

	snprintf(decimal, sizeof(decimal), "%lld", v->number);
	if (strchr("diuoxXeEfFgG", spec->type) && v->text)
		return err_set(err, -EINVAL,
			       "%%(%.*s) is text: %%%c needs a number, write %%(%.*s)s",
			       (int)spec->name_len, spec->name, spec->type, (int)spec->name_len,
			       spec->name);
	switch (spec->type) {
	case 's':
		add_text(out, spec, v->text ? v->text : decimal);
		return 0;
	case 'r':
	case 'a':
		if (v->text)
			add_repr(out, spec, v->text);
		else
			add_text(out, spec, decimal);
		return 0;
	case 'd':
	case 'i':
	case 'u':
	case 'o':
	case 'x':
	case 'X':
		add_integer(out, spec, v->number);
		return 0;
	case 'e':
	case 'E':
	case 'f':
	case 'F':
	case 'g':
	case 'G':
		add_float(out, spec, v->number);
		return 0;
	case 'c':
		if (v->text && count_chars(v->text) != 1)
			return err_set(err, -EINVAL, "%%(%.*s)c needs one character",
				       (int)spec->name_len, spec->name);
		if (v->text)
			add_text(out,
				 &(struct spec){ .width = spec->width,
						 .left = spec->left,
						 .precision = -1 },
				 v->text);
		else
			return add_char(out, spec, v->number, err);
		return 0;
	}
	return err_set(err, -EINVAL, "%%(%.*s)%c: there is no type '%c' (write %%(%.*s)s)",
		       (int)spec->name_len, spec->name, spec->type, spec->type, (int)spec->name_len,
		       spec->name);
}

static int expand_one(const char **p, const struct expand_names *names, struct buf *out,
		      struct err *err)
{
	struct expand_value v = { 0 };
	struct spec spec;
	int r = read_spec(p, &spec, err);

	if (r < 0)
		return r;
	if (!names->lookup(names->ctx, spec.name, spec.name_len, &v)) {
		err_set(err, -EINVAL, "there is no %%(%.*s)s", (int)spec.name_len, spec.name);
		if (names->unknown)
			names->unknown(names->ctx, spec.name, spec.name_len, err);
		return -EINVAL;
	}
	return add_value(out, &spec, &v, err);
}

int expand(const char *text, const struct expand_names *names, struct buf *out,
	   const char **ret_bare, struct err *err)
{
	const char *bare = NULL, *percent;
	int r;

	while ((percent = strchr(text, '%'))) {
		buf_add(out, text, (size_t)(percent - text));
		text = percent + 1;
		if (*text == '(') {
			r = expand_one(&text, names, out, err);
			if (r < 0)
				return r;
		} else {
			if (*text == '%')
				text++;
			else if (bare == NULL)
				bare = percent;
			buf_addc(out, '%');
		}
	}
	buf_adds(out, text);
	if (ret_bare)
		*ret_bare = bare;
	return 0;
}
