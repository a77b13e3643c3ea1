/*
 * Bytes by bytes, in the order in which they came: what dicts and namespaces (of packed values) and
 * the server's names are made of. Keys are equal when their bytes are.
 */
#ifndef MANAGER_STORE_H
#define MANAGER_STORE_H

#include <stddef.h>
#include <stdint.h>

struct store_entry {
	uint8_t *p; /* the key, then the value; NULL: it is gone */
	uint32_t hash, n_key, n_value, room;
};

/* Zeroed is empty. Entries that stand are those with p in entries[0 .. n_entries - 1]. */
struct store {
	struct store_entry *entries;
	uint32_t *places; /* by hash: a place in entries + 1; 0 = free, GONE */
	size_t n_entries, n_places, n;
	size_t n_taken; /* places that are not free */
	size_t bytes;	/* of keys and values, and what they are kept in */
};

/* What an entry costs beside its bytes. */
#define STORE_OVERHEAD 64

void store_fini(struct store *s);
/* NULL: there is none. Valid until the next change. */
struct store_entry *store_find(const struct store *s, const void *key, size_t n_key);
/* New, or in place of what is there. 0, -ENOMEM, -E2BIG. */
int store_put(struct store *s, const void *key, size_t n_key, const void *value, size_t n_value);
void store_remove(struct store *s, struct store_entry *e);
void store_clear(struct store *s);
/* The one that came last; NULL: it is empty. */
struct store_entry *store_last(struct store *s);

static inline const uint8_t *store_value(const struct store_entry *e)
{
	return e->p + e->n_key;
}

#define STORE_EACH(s_, e_)                                                                         \
	for (struct store_entry *e_ = (s_)->entries;                                               \
	     e_ != NULL && e_ < (s_)->entries + (s_)->n_entries; e_++)                             \
		if (e_->p != NULL)

#endif
