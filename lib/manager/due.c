/*
 * What is due, the first first: a binary heap.
 */
#include <errno.h>
#include <stdlib.h>

#include "manager/server.h"

static void put(struct dues *d, size_t place, struct due *due)
{
	d->heap[place - 1] = due;
	due->place = place;
}

static void up(struct dues *d, size_t place, struct due *due)
{
	for (; place > 1 && d->heap[place / 2 - 1]->at.ns > due->at.ns; place /= 2)
		put(d, place, d->heap[place / 2 - 1]);
	put(d, place, due);
}

static void down(struct dues *d, size_t place, struct due *due)
{
	for (;;) {
		size_t child = place * 2;

		if (child < d->n && d->heap[child]->at.ns < d->heap[child - 1]->at.ns)
			child++;
		if (child > d->n || d->heap[child - 1]->at.ns >= due->at.ns)
			break;
		put(d, place, d->heap[child - 1]);
		place = child;
	}
	put(d, place, due);
}

int dues_add(struct dues *d, struct due *due)
{
	if (d->n == d->room) {
		size_t room = d->room > 0 ? d->room * 2 : 16;
		struct due **heap = realloc(d->heap, room * sizeof(struct due *));

		if (heap == NULL)
			return -ENOMEM;
		d->heap = heap;
		d->room = room;
	}
	up(d, ++d->n, due);
	return 0;
}

void dues_remove(struct dues *d, struct due *due)
{
	size_t place = due->place;
	struct due *last;

	if (place == 0)
		return;
	due->place = 0;
	last = d->heap[--d->n];
	if (last == due)
		return;
	if (place > 1 && d->heap[place / 2 - 1]->at.ns > last->at.ns)
		up(d, place, last);
	else
		down(d, place, last);
}
