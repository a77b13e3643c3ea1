/*
 * Prefixes of lines. See prefix.h.
 */
#include "sup/prefix.h"

#include <string.h>

#include "base/cleanup.h"
#include "base/utf8.h"
#include "base/xalloc.h"

char *prefix_make(const char *name, unsigned width, unsigned number, bool colours)
{
	static const char *const sgr[] = { "36", "33", "32", "35", "34",
					   "96", "93", "92", "95", "94" };
	unsigned used = utf8_width(name, strlen(name));
	int pad = used < width ? (int)(width - used) : 0;

	if (!colours)
		return xasprintf("%s%*s | ", name, pad, "");
	return xasprintf("\033[%sm%s%*s |\033[0m ", sgr[number % ARRAY_SIZE(sgr)], name, pad, "");
}
