/*
 * Tells the resource tracker of objects, from within a program that knows nothing of it. May be called wherever open(2)
 * may: in signal handlers, in the child of a vfork, in many threads. Nothing is allocated, no lock is taken, errno stays.
 */
#ifndef PRELOAD_TELL_H
#define PRELOAD_TELL_H

#include <stdbool.h>

#include "preload/note.h"

/* As the tracker has it: its type, and its name in two parts. */
struct object {
	const char *type;
	const char *prefix, *name;
	struct note note; /* of the last that was told */
};

/* The words of mpsup-tracker(7). */
enum word { REGISTER, UNREGISTER, ATTEMPT, RETRACT, REMOVED };

/* Reads the address, where that has not been done yet. */
void tell_begin(void);

/* Is there a tracker to be told? */
bool tell_wanted(void);

/*
 * What cannot be told (the tracker is gone, stopped for longer than a second, there is no descriptor to be had, the name is
 * too long) is not: the tracker finds such objects in another way. A REGISTER or ATTEMPT is not lost with a tracker that is
 * killed before it has read it: note.h.
 */
void tell(enum word word, struct object *object);

/* REGISTER of the one and UNREGISTER of the other, which is the same by another name, at once. */
void tell_instead(struct object *made, const struct object *of);

#endif
