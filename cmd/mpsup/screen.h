/*
 * A terminal that a verb has for itself: the alternate screen, keys as they are pressed, and signals as events. However
 * the program ends, the terminal is left as it was found; only SIGKILL and a crash can prevent that.
 */
#ifndef CMD_MPSUP_SCREEN_H
#define CMD_MPSUP_SCREEN_H

#include <stdbool.h>

struct buf;

/* What screen_key() returns besides characters. */
enum {
	SCREEN_UP = 256,
	SCREEN_DOWN,
	SCREEN_PAGE_UP,
	SCREEN_PAGE_DOWN,
	SCREEN_HOME,
	SCREEN_END,
};

/* To be polled for reading: keys (-1 where standard input is no terminal), and signals. */
struct screen {
	int keys;
	int signals;
};

/* Standard output must be a terminal. There is one screen at a time. 0 or -errno. */
int screen_open(struct screen *s);
void screen_close(struct screen *s);

/* Shows the lines of `text`, the last without a newline, as many as there is room for, in one write. */
void screen_draw(const struct buf *text);

/* When `keys` is readable. 0, or -EIO at the end of the input. */
int screen_read(struct screen *s);

/* The next key of what was read, 0 for one that means nothing here, -EAGAIN when there is no more. */
int screen_key(void);

/*
 * When `signals` is readable. A new size needs nothing but drawing. What ends or stops a program does so here, with the
 * terminal given back before; returns when it is to go on, and to draw.
 */
void screen_signal(struct screen *s);

#endif
