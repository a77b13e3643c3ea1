/*
 * Bytes are a datagram of a client of the tracker. What is read of it must be a valid name in the datagram, and what is
 * written of that must be read as the same again.
 */
#include <errno.h>
#include <stdint.h>

#include "base/buf.h"
#include "poke.h"
#include "track/track.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct track_word *w, const char *p, size_t n)
{
	MUST(w->name >= p && w->name + w->name_length < p + n);
	MUST(strlen(w->name) == w->name_length);
	if (w->type == N_TRACK_TYPES || track_type_is_sysv(w->type))
		return;
	MUST(w->name_length > 1 && w->name_length <= TRACK_NAME_MAX && w->name[0] == '/');
	MUST(strstr(w->name, "//") == NULL && strstr(w->name, "/../") == NULL);
	MUST(w->name[w->name_length - 1] != '/');
}

static void write_and_read(const struct track_word *w)
{
	AUTO_BUF b = BUF_INIT;
	struct track_word again;
	char *p;
	size_t n;

	track_word_encode(w->verb, w->type, w->name, &b);
	MUST(!b.failed);
	p = b.p;
	n = b.len;
	MUST(track_word_next(&p, &n, &again) == 1 && n == 0);
	MUST(again.verb == w->verb && again.type == w->type);
	MUST(strcmp(again.name, w->name) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *copy = malloc(size > 0 ? size : 1); /* so that a byte behind it is seen */
	char *p = copy;
	size_t n = size;
	struct track_word w;
	int r;

	MUST(copy != NULL);
	if (size > 0)
		memcpy(copy, data, size);
	while ((r = track_word_next(&p, &n, &w)) != 0) {
		MUST(r == 1 || r == -EBADMSG);
		MUST(p + n == copy + size);
		if (r == 1) {
			check(&w, copy, size);
			write_and_read(&w);
		}
	}
	MUST(n == 0);
	free(copy);
	return 0;
}
