/*
 * Types by their words, and the words in which programs speak of objects.
 */
#include "track/track.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "base/buf.h"

static const char *const words[N_TRACK_TYPES] = {
#define X(name, word, people) [TRACK_##name] = word,
	TRACK_TYPES(X)
#undef X
};

static const char *const people_words[N_TRACK_TYPES] = {
#define X(name, word, people) [TRACK_##name] = people,
	TRACK_TYPES(X)
#undef X
};

const char *track_type_word(enum track_type type)
{
	return words[type];
}

const char *track_type_people(enum track_type type)
{
	return people_words[type];
}

bool track_type_parse(const char *word, size_t n, enum track_type *ret)
{
	for (size_t i = 0; i < N_TRACK_TYPES; i++)
		if (strlen(words[i]) == n && memcmp(words[i], word, n) == 0) {
			*ret = (enum track_type)i;
			return true;
		}
	return false;
}

bool track_type_is_sysv(enum track_type type)
{
	return type == TRACK_SYSV_SEM || type == TRACK_SYSV_SHM || type == TRACK_SYSV_MSG;
}

/* ---------------------------------------------------------------------------------------------------- names */

static bool is_plain(unsigned char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '-' || c == '.' || c == '_' || c == '~' || c == '/';
}

void track_encode_name(const char *name, size_t n, struct buf *to)
{
	static const char digits[] = "0123456789ABCDEF";
	char *p = buf_reserve(to, 3 * n);
	size_t len = 0;

	if (p == NULL)
		return;
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)name[i];

		if (is_plain(c)) {
			p[len++] = (char)c;
			continue;
		}
		p[len++] = '%';
		p[len++] = digits[c >> 4];
		p[len++] = digits[c & 15];
	}
	p[len] = '\0';
	to->len += len;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

ssize_t track_decode_name(char *p, size_t n)
{
	size_t len = 0;

	for (size_t i = 0; i < n; i++) {
		int c = (unsigned char)p[i];

		if (c == '%') {
			int high = i + 2 < n ? hex_digit(p[i + 1]) : -1;
			int low = i + 2 < n ? hex_digit(p[i + 2]) : -1;

			if (high < 0 || low < 0)
				return -EBADMSG;
			c = high << 4 | low;
			i += 2;
		}
		if (c == '\0')
			return -EBADMSG;
		p[len++] = (char)c;
	}
	return (ssize_t)len;
}

/* In one spelling. */
static bool is_id(const char *p, size_t n)
{
	long long id = 0;

	if (n == 0 || n > 10 || (*p == '0' && n > 1))
		return false;
	for (size_t i = 0; i < n; i++) {
		if (p[i] < '0' || p[i] > '9')
			return false;
		id = id * 10 + (p[i] - '0');
	}
	return id <= INT_MAX;
}

/* "k" and the eight hexadecimal digits of a key. */
static bool is_key(const char *p, size_t n)
{
	return n == 9 && *p == 'k' && strspn(p + 1, "0123456789abcdef") >= 8;
}

static bool is_sysv_name(const char *p, size_t n)
{
	return is_id(p, n) || is_key(p, n);
}

/* Drops needless slashes of what begins with one, in place. The length, or -EBADMSG where nothing is left or it leads elsewhere. */
static ssize_t tidy_path(char *p, size_t n)
{
	size_t len = 0;

	for (size_t i = 0, part; i < n; i += part + 1) {
		const char *slash = memchr(p + i, '/', n - i);

		part = slash != NULL ? (size_t)(slash - p) - i : n - i;
		if (part == 0)
			continue;
		if (p[i] == '.' && (part == 1 || (part == 2 && p[i + 1] == '.')))
			return -EBADMSG;
		memmove(p + len + 1, p + i, part);
		p[len] = '/';
		len += part + 1;
	}
	return len > 0 ? (ssize_t)len : -EBADMSG;
}

/* True where the slash in front is all that the name may have. */
static bool is_flat(enum track_type type)
{
	return type == TRACK_SEMAPHORE || type == TRACK_MQUEUE;
}

bool track_name_is_valid(enum track_type type, const char *name, size_t n)
{
	char copy[TRACK_NAME_MAX];

	if (n > sizeof(copy) || memchr(name, '\0', n) != NULL)
		return false;
	if (track_type_is_sysv(type))
		return is_sysv_name(name, n);
	if (n == 0 || name[0] != '/' || (is_flat(type) && memchr(name + 1, '/', n - 1) != NULL))
		return false;
	memcpy(copy, name, n);
	return tidy_path(copy, n) == (ssize_t)n;
}

/* Decodes and tidies a name, which may begin one byte before p. The length, or -EBADMSG. */
static ssize_t take_name(enum track_type type, char **at, size_t size)
{
	char *p = *at;
	ssize_t n = track_decode_name(p, size);

	if (n <= 0)
		return -EBADMSG;
	if (track_type_is_sysv(type))
		return is_sysv_name(p, (size_t)n) ? n : -EBADMSG;
	if (*p != '/') {
		if (type == TRACK_FILE || type == TRACK_FOLDER)
			return -EBADMSG;
		*--p = '/';
		n++;
	}
	n = tidy_path(p, (size_t)n);
	if (n < 0 || n > TRACK_NAME_MAX || (is_flat(type) && memchr(p + 1, '/', (size_t)n - 1)))
		return -EBADMSG;
	*at = p;
	return n;
}

/* --------------------------------------------------------------------------------------------------- lines */

static const char *const verbs[] = {
	[TRACK_REGISTER] = "REGISTER", [TRACK_UNREGISTER] = "UNREGISTER",
	[TRACK_ATTEMPT] = "ATTEMPT",   [TRACK_RETRACT] = "RETRACT",
	[TRACK_REMOVED] = "REMOVED",   [TRACK_PROBE] = "PROBE",
	[TRACK_SLATE] = "SLATE",
};

/* Of those that are about no object. */
static const char noop[] = ":noop";

static bool is_noop(enum track_verb verb)
{
	return verb == TRACK_PROBE || verb == TRACK_SLATE;
}

static bool parse_verb(const char *p, size_t n, enum track_verb *ret)
{
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
		if (strlen(verbs[i]) == n && memcmp(verbs[i], p, n) == 0) {
			*ret = (enum track_verb)i;
			return true;
		}
	return false;
}

/* p[n] is the newline or the byte behind the last line; it is not touched. */
static int parse_line(char *p, size_t n, struct track_word *ret)
{
	char *name = memchr(p, ':', n), *type = memrchr(p, ':', n);
	struct track_word w = { .type = N_TRACK_TYPES };
	ssize_t length;

	if (name == type || !parse_verb(p, (size_t)(name - p), &w.verb))
		return -EBADMSG;
	name++;
	if (is_noop(w.verb)) {
		length = type - name;
		if (n - (size_t)(type - p) != strlen(noop) ||
		    memcmp(type, noop, strlen(noop)) != 0 || !is_id(name, (size_t)length) ||
		    (w.verb == TRACK_PROBE && *name != '0'))
			return -EBADMSG;
		*type = '\0';
		w.name = name;
		w.name_length = (size_t)length;
		*ret = w;
		return 1;
	}
	if (!track_type_parse(type + 1, n - (size_t)(type + 1 - p), &w.type))
		return -EBADMSG;
	length = take_name(w.type, &name, (size_t)(type - name));
	if (length < 0)
		return -EBADMSG;
	name[length] = '\0';
	w.name = name;
	w.name_length = (size_t)length;
	*ret = w;
	return 1;
}

int track_word_next(char **p, size_t *n, struct track_word *ret)
{
	char *line = *p, *end;
	size_t length;

	if (*n == 0)
		return 0;
	end = memchr(line, '\n', *n);
	length = end != NULL ? (size_t)(end - line) : *n;
	*p += length + (end != NULL);
	*n -= length + (end != NULL);
	return parse_line(line, length, ret);
}

void track_word_encode(enum track_verb verb, enum track_type type, const char *name, struct buf *to)
{
	buf_adds(to, verbs[verb]);
	buf_addc(to, ':');
	track_encode_name(name, strlen(name), to);
	if (is_noop(verb))
		buf_adds(to, noop);
	else
		buf_addf(to, ":%s", words[type]);
	buf_addc(to, '\n');
}
