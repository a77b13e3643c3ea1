/*
 * From a log pipe to its sinks: lines get what belongs before them, and nothing is read that the sinks have no room for.
 * No event loop: the owner calls when the pipe is readable, or a sink takes something again.
 */
#ifndef SUP_TAP_H
#define SUP_TAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "sup/logs.h"
#include "sup/sink.h"

struct tap {
	struct logs *logs;
	uint32_t number; /* of the capture: its place in the shared memory */
	struct window window;
	uint64_t *inside; /* a piece of a line without its end has gone to the sink */
	int fd;		  /* the pipe, non-blocking; the owner's */
	struct sink *sink, *syslog;
	const char *prefix; /* at most TAP_PREFIX_MAX bytes are used; the owner's */
	const char *tag;    /* of its lines for syslog: the process' name; the owner's */
	bool stamp, strip;
	bool shared;  /* others write to the sink too: it gets whole lines only */
	bool leaving; /* after tap_leave() */
	uint64_t *
		ending; /* who wrote it is gone: so many more bytes of the pipe less one, then the line ends; 0 = not so */
	struct sink *failed; /* after TAP_HELD: which one, and its errno */
	int error;
};

enum { TAP_PREFIX_MAX = 1024 };

enum tap_result {
	TAP_EMPTY = 1, /* all is read and passed on */
	TAP_MORE,      /* there may be more: call again */
	TAP_HELD,      /* a sink takes no more now: call again when it does */
};

/* Fills what belongs to the shared memory; the rest is set by the caller before and may be changed between calls. */
void tap_init(struct tap *t, struct logs *logs, uint32_t number);

/* Takes at most a few buffers, so that one talkative program does not hold the others. */
enum tap_result tap_pump(struct tap *t);

/* Who wrote it is gone: what the pipe holds now is the last, then a line that has no end gets one. */
void tap_end(struct tap *t);
/*
 * After tap_end(): the sinks cannot take the rest now, and there will be no later for this pipe. It goes into the sinks' own
 * windows, as much as there is room for. What is left then, in bytes, is lost.
 */
size_t tap_leave(struct tap *t);
static inline bool tap_is_ending(const struct tap *t)
{
	return *t->ending != 0;
}

#endif
