/*
 * A bar on standard error: how far, how fast, how long to go. One line, which is drawn over and wiped.
 */
#ifndef CMD_MPSUP_BAR_H
#define CMD_MPSUP_BAR_H

#include <stdbool.h>

struct map_progress;

struct bar {
	bool drawn;
};

void bar_draw(struct bar *b, const struct map_progress *p);
void bar_wipe(struct bar *b);

#endif
