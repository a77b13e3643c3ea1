/*
 * Entries in a row, and a table of their places by hash: open addressing, at most two thirds full. What goes leaves a gap in the
 * row until there is no room at its end. Hashes are seeded by the process, so that nobody can make keys that meet.
 */
#include "manager/store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

enum { PLACES_MIN = 8 };
#define GONE UINT32_MAX
#define ENTRIES_MAX ((size_t)1 << 30)

static uint64_t seed(void)
{
	static uint64_t s;

	while (s == 0)
		if (getrandom(&s, sizeof(s), GRND_NONBLOCK) < 0)
			s = (uint64_t)(uintptr_t)&s | 1; /* a machine that has just started */
	return s;
}

static uint64_t swap(uint64_t x)
{
	return x >> 32 | x << 32;
}

/* The product of both, folded, in parts that 32 bits can multiply (as wyhash does there). */
static uint64_t mix(uint64_t a, uint64_t b)
{
	uint64_t x = a ^ UINT64_C(0x9e3779b97f4a7c15), y = b ^ UINT64_C(0xe7037ed1a0b428db);

	return swap((x >> 32) * (uint32_t)y) ^ (x >> 32) * (y >> 32) ^
	       swap((uint32_t)x * (y >> 32)) ^ (uint64_t)(uint32_t)x * (uint32_t)y;
}

static uint32_t hash_of(const uint8_t *p, size_t n)
{
	uint64_t h = seed() ^ n, part = 0;

	for (; n > 8; n -= 8, p += 8) {
		memcpy(&part, p, 8);
		h = mix(h, part);
	}
	part = 0;
	memcpy(&part, p, n);
	h = mix(h, part);
	return (uint32_t)(h ^ h >> 32);
}

/* Where it is in the table of places, or SIZE_MAX. */
static size_t place_of(const struct store *s, uint32_t hash, const void *key, size_t n_key)
{
	size_t mask = s->n_places - 1;

	for (size_t i = hash & mask; s->n_places > 0 && s->places[i] != 0; i = (i + 1) & mask) {
		const struct store_entry *e = &s->entries[s->places[i] - 1];

		if (s->places[i] != GONE && e->hash == hash && e->n_key == n_key &&
		    memcmp(e->p, key, n_key) == 0)
			return i;
	}
	return SIZE_MAX;
}

struct store_entry *store_find(const struct store *s, const void *key, size_t n_key)
{
	size_t i = s->n > 0 ? place_of(s, hash_of(key, n_key), key, n_key) : SIZE_MAX;

	return i == SIZE_MAX ? NULL : &s->entries[s->places[i] - 1];
}

static void set_place(struct store *s, size_t entry)
{
	size_t mask = s->n_places - 1, i = s->entries[entry].hash & mask;

	while (s->places[i] != 0 && s->places[i] != GONE)
		i = (i + 1) & mask;
	s->n_taken += s->places[i] == 0;
	s->places[i] = (uint32_t)entry + 1;
}

static size_t room_of(size_t n_places)
{
	return n_places / 3 * 2;
}

/* The row without gaps, in a table that has room for as much again. */
static int rebuild(struct store *s)
{
	size_t n_places = PLACES_MIN, n = 0;
	struct store_entry *entries;
	uint32_t *places;

	while (room_of(n_places) < s->n + s->n / 2 + 1)
		n_places *= 2;
	if (s->n >= ENTRIES_MAX)
		return -E2BIG;
	places = calloc(n_places, sizeof(*places));
	entries = malloc(room_of(n_places) * sizeof(*entries));
	if (places == NULL || entries == NULL) {
		free(places);
		free(entries);
		return -ENOMEM;
	}
	STORE_EACH(s, e)
	entries[n++] = *e;
	free(s->entries);
	free(s->places);
	s->entries = entries;
	s->places = places;
	s->n_places = n_places;
	s->n_entries = n;
	s->n_taken = 0;
	for (size_t i = 0; i < n; i++)
		set_place(s, i);
	return 0;
}

/* Memory for the two, and a little more where a value has grown before. */
static int entry_fill(struct store *s, struct store_entry *e, const void *key, size_t n_key,
		      const void *value, size_t n_value)
{
	size_t n = n_key + n_value;
	uint8_t *p = e->p;

	if (p == NULL || e->room < n || e->room / 4 > n) {
		size_t room = n < 24 ? 24 : n;

		p = malloc(room);
		if (p == NULL)
			return -ENOMEM;
		memcpy(p, key, n_key);
		if (e->p != NULL)
			s->bytes -= e->room;
		s->bytes += room;
		free(e->p);
		e->p = p;
		e->room = (uint32_t)room;
	}
	memcpy(p + n_key, value, n_value);
	e->n_key = (uint32_t)n_key;
	e->n_value = (uint32_t)n_value;
	return 0;
}

int store_put(struct store *s, const void *key, size_t n_key, const void *value, size_t n_value)
{
	struct store_entry *e = store_find(s, key, n_key);
	int r;

	if (n_key + n_value > UINT32_MAX / 2)
		return -E2BIG;
	if (e != NULL)
		return entry_fill(s, e, key, n_key, value, n_value);
	if (s->n_entries >= room_of(s->n_places) || s->n_taken >= room_of(s->n_places)) {
		r = rebuild(s);
		if (r < 0)
			return r;
	}
	e = &s->entries[s->n_entries];
	*e = (struct store_entry){ .hash = hash_of(key, n_key) };
	r = entry_fill(s, e, key, n_key, value, n_value);
	if (r < 0)
		return r;
	set_place(s, s->n_entries++);
	s->n++;
	s->bytes += STORE_OVERHEAD;
	return 0;
}

static void trim(struct store *s)
{
	while (s->n_entries > 0 && s->entries[s->n_entries - 1].p == NULL)
		s->n_entries--;
}

void store_remove(struct store *s, struct store_entry *e)
{
	s->places[place_of(s, e->hash, e->p, e->n_key)] = GONE;
	s->bytes -= e->room + STORE_OVERHEAD;
	free(e->p);
	e->p = NULL;
	s->n--;
	trim(s);
}

struct store_entry *store_last(struct store *s)
{
	return s->n > 0 ? &s->entries[s->n_entries - 1] : NULL;
}

void store_clear(struct store *s)
{
	STORE_EACH(s, e)
	free(e->p);
	if (s->n_places > 1024) {
		free(s->entries);
		free(s->places);
		*s = (struct store){ 0 };
		return;
	}
	if (s->places != NULL)
		memset(s->places, 0, s->n_places * sizeof(*s->places));
	s->n_entries = s->n_taken = s->n = s->bytes = 0;
}

void store_fini(struct store *s)
{
	STORE_EACH(s, e)
	free(e->p);
	free(s->entries);
	free(s->places);
	*s = (struct store){ 0 };
}
