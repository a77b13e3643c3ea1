/*
 * The note that a target's process gets: whatever it is, it is read or refused, and what is given out lies within it.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "ipc/args.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const char *p, size_t size, const struct mps_args *args)
{
	for (size_t i = 0; i < mps_args_count(args); i++) {
		const char *text = mps_args_text(args, i), *bytes;
		size_t n;

		bytes = mps_args_bytes(args, i, &n);
		if (bytes != NULL && (bytes < p || bytes + n > p + size))
			abort();
		if (text != NULL && (text < p || text + strlen(text) >= p + size))
			abort();
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_FREE char *p = aligned_alloc(16, (size + 16) / 16 * 16);
	AUTO_BUF again = BUF_INIT;
	struct mps_args *args;
	struct note note;

	if (size > 0)
		memcpy(p, data, size);
	if (note_decode(p, size, &note, &args) < 0)
		return 0;
	check(p, size, args);
	note_encode(&note, args, &again);
	for (size_t i = 0; i < args->n; i++)
		args->items[i].fd = -1; /* they are nobody's */
	mps_args_free(args);
	return 0;
}
