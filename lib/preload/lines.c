/*
 * A worker of `mpsup map` answers each line that it reads, and is given no more until it has: so the C library's standard
 * output must not be held back until there is a block of it, as it is where it is no terminal.
 */
#include <stdio.h>
#include <stdlib.h>

__attribute__((constructor)) static void answer_by_lines(void)
{
	const char *by_lines = getenv("MPSUP_LINES");

	if (by_lines != NULL && by_lines[0] == '1')
		setvbuf(stdout, NULL, _IOLBF, 0);
}
