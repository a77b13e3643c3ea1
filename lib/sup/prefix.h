/*
 * Whose a line is, before it: "web:0  | ", in a colour of its own.
 */
#ifndef SUP_PREFIX_H
#define SUP_PREFIX_H

#include <stdbool.h>

/* The name padded to `width` columns. `number` picks one of ten colours. A heap string that the caller frees. */
char *prefix_make(const char *name, unsigned width, unsigned number, bool colours);

#endif
