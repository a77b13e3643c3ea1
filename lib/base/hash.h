/*
 * uthash, where it is used: in the floors that end when memory runs out. By itself it would exit,
 * without a word.
 */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include "base/xalloc.h"

#define uthash_malloc(n) xmalloc(n)
#define uthash_fatal(text) xalloc_failed()

#include <uthash.h>

#endif
