/*
 * The arena takes chunks from malloc; a string too large for the rest of a chunk begins a new one.
 */
#include "conf/store.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/xalloc.h"

enum { CHUNK = 64 << 10 };

struct chunk {
	struct chunk *next;
	size_t used;
	size_t size;
	char bytes[];
};

struct word {
	UT_hash_handle hh;
	char *s;
};

struct arena {
	struct chunk *chunks;
};

struct store {
	struct arena kept;
	struct arena words_mem;
	struct word *words;
};

static void *arena_alloc(struct arena *a, size_t n, size_t align)
{
	struct chunk *c = a->chunks;
	size_t at = c ? (c->used + align - 1) & ~(align - 1) : 0;

	if (c == NULL || at + n > c->size) {
		size_t size = n > CHUNK / 4 ? n : CHUNK;

		c = xmalloc(sizeof(*c) + size);
		c->size = size;
		at = 0;
		/* A large one goes behind the chunk in use, so that its rest isn't lost. */
		if (size != CHUNK && a->chunks) {
			c->next = a->chunks->next;
			a->chunks->next = c;
		} else {
			c->next = a->chunks;
			a->chunks = c;
		}
	}
	c->used = at + n;
	return c->bytes + at;
}

static void arena_fini(struct arena *a)
{
	while (a->chunks) {
		struct chunk *c = a->chunks;

		a->chunks = c->next;
		free(c);
	}
}

struct store *store_new(void)
{
	return xcalloc(1, sizeof(struct store));
}

void store_seal(struct store *store)
{
	HASH_CLEAR(hh, store->words);
	arena_fini(&store->words_mem);
}

void store_free(struct store *store)
{
	if (store == NULL)
		return;
	store_seal(store);
	arena_fini(&store->kept);
	free(store);
}

void *store_alloc(struct store *store, size_t n)
{
	void *p = arena_alloc(&store->kept, n, sizeof(void *));

	memset(p, 0, n);
	return p;
}

char *store_strn(struct store *store, const char *s, size_t n)
{
	struct word *w = NULL;
	unsigned hash;

	HASH_VALUE(s, n, hash);
	HASH_FIND_BYHASHVALUE(hh, store->words, s, n, hash, w);
	if (w)
		return w->s;
	w = arena_alloc(&store->words_mem, sizeof(*w), sizeof(void *));
	w->s = arena_alloc(&store->kept, n + 1, 1);
	memcpy(w->s, s, n);
	w->s[n] = '\0';
	HASH_ADD_KEYPTR_BYHASHVALUE(hh, store->words, w->s, n, hash, w);
	return w->s;
}

char *store_str(struct store *store, const char *s)
{
	return s ? store_strn(store, s, strlen(s)) : NULL;
}

char **store_strv(struct store *store, char *const *v, size_t n)
{
	char **copy = store_alloc(store, (n + 1) * sizeof(*copy));

	for (size_t i = 0; i < n; i++)
		copy[i] = store_str(store, v[i]);
	return copy;
}
