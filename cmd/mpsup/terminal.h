/*
 * What standard output is: a person's terminal, how wide, with colours or without.
 */
#ifndef CMD_MPSUP_TERMINAL_H
#define CMD_MPSUP_TERMINAL_H

#include <stdbool.h>

struct buf;

bool terminal_is_tty(void);

/* Columns and lines; 0 columns = no terminal, nothing is cut. */
unsigned terminal_width(void);
unsigned terminal_height(void);

/* On a terminal, unless NO_COLOR is set or TERM is "dumb". */
bool terminal_has_colours(void);

/* The colour of a state's name ("31"), NULL = none. */
const char *terminal_state_sgr(const char *state);

/* One line, in plain characters; what is wider than the terminal is cut. */
void terminal_add_line(struct buf *out, const char *text);

#endif
