/*
 * libuv's memory: where it has none it aborts, or a handle of ours does not begin. It ends as all
 * else does, with a word.
 */
#include <stdlib.h>
#include <uv.h>

#include "base/xalloc.h"
#include "sup/sup.h"

void sup_own_memory(void)
{
	uv_replace_allocator(xmalloc, xrealloc, xcalloc, free);
}
