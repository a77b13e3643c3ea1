/*
 * The joblog that --resume reads: whatever it is, each line is one or is left out; the list is sorted and has a number
 * once; what we write of a line we read back as the same.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/limits.h"
#include "map/joblog.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_line(const char *p, size_t n)
{
	struct joblog_entry e, again;
	AUTO_BUF b = BUF_INIT;

	if (!joblog_parse(p, n, &e))
		return;
	if (e.seq == 0 || e.command < p || e.command + e.n_command != p + n || e.status < 0 ||
	    e.signal < 0)
		abort();
	/* What is beyond all clocks is not read back. */
	if (e.started > 1e15 || e.seconds > 1e15)
		return;
	joblog_format(&e, &b);
	if (b.p[b.len - 1] != '\n' || memchr(b.p, '\n', b.len - 1) != NULL ||
	    !joblog_parse(b.p, b.len - 1, &again))
		abort();
	if (again.seq != e.seq || again.status != e.status || again.signal != e.signal ||
	    again.sent != e.sent || again.received != e.received ||
	    again.n_command > MAP_JOBLOG_LINE_MAX ||
	    joblog_hash(again.command, again.n_command) != joblog_hash(e.command, e.n_command))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct joblog j = { .fd = -1 };
	char *p = malloc(size + 1); /* so that a byte too many is seen */
	const char *end;
	size_t good;

	if (p == NULL)
		return 0;
	p = realloc(p, size > 0 ? size : 1);
	memcpy(p, data, size);
	joblog_read(&j, p, size, &good);
	if (good > size || (good < size && memchr(p + good, '\n', size - good) != NULL) ||
	    (good > 0 && p[good - 1] != '\n'))
		abort();
	for (size_t i = 1; i < j.n_done; i++)
		if (j.done[i - 1].seq >= j.done[i].seq)
			abort();
	for (size_t i = 0; i < j.n_done; i++)
		if (joblog_find(&j, j.done[i].seq) != &j.done[i])
			abort();
	for (size_t at = 0; at < good; at = (size_t)(end - p) + 1) {
		end = memchr(p + at, '\n', good - at);
		check_line(p + at, (size_t)(end - p) - at);
	}
	joblog_fini(&j);
	free(p);
	return 0;
}
