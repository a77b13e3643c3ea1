/*
 * Records by type and name (linear hashing: see W. Litwin, "Linear hashing: a new tool for file and table addressing",
 * 1980) and by owner (a list). The hash is SipHash-1-3 (Aumasson, Bernstein).
 */
#include "track/registry.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>

enum { BUCKETS_MIN = 16, BUCKETS_MAX = 1 << 22, GIVE_BACK = 64 << 10, YOUNG_MIN = 64 };
#define ROOM_BYTES (BUCKETS_MAX * sizeof(struct track_record *))
struct track_young {
	struct track_record *record; /* NULL: it is gone */
	struct mps_time until;
};

_Static_assert(TRACK_RECORDS_MAX <= BUCKETS_MAX, "a bucket for each record");

/* ----------------------------------------------------------------------------------------------------- hash */

static uint64_t rotate(uint64_t v, int by)
{
	return v << by | v >> (64 - by);
}

static void sip_round(uint64_t v[4])
{
	v[0] += v[1];
	v[1] = rotate(v[1], 13) ^ v[0];
	v[0] = rotate(v[0], 32);
	v[2] += v[3];
	v[3] = rotate(v[3], 16) ^ v[2];
	v[0] += v[3];
	v[3] = rotate(v[3], 21) ^ v[0];
	v[2] += v[1];
	v[1] = rotate(v[1], 17) ^ v[2];
	v[2] = rotate(v[2], 32);
}

static void sip_word(uint64_t v[4], uint64_t word)
{
	v[3] ^= word;
	sip_round(v);
	v[0] ^= word;
}

/* Of the type and the name. Words are read as the machine has them: hashes leave no process. */
static uint32_t hash(const struct track_registry *r, enum track_type type, const char *p, size_t n)
{
	uint64_t v[4] = { r->seed[0] ^ UINT64_C(0x736f6d6570736575),
			  r->seed[1] ^ UINT64_C(0x646f72616e646f6d),
			  r->seed[0] ^ UINT64_C(0x6c7967656e657261),
			  r->seed[1] ^ UINT64_C(0x7465646279746573) };
	uint64_t word, last = 0;

	for (; n >= sizeof(word); n -= sizeof(word), p += sizeof(word)) {
		memcpy(&word, p, sizeof(word));
		sip_word(v, word);
	}
	memcpy(&last, p, n);
	sip_word(v, last);
	sip_word(v, (uint64_t)type << 8 | n);
	v[2] ^= 0xff;
	for (int i = 0; i < 3; i++)
		sip_round(v);
	word = v[0] ^ v[1] ^ v[2] ^ v[3];
	return (uint32_t)(word >> 32 ^ word);
}

/* -------------------------------------------------------------------------------------------------- buckets */

/* The power of two that n buckets have room in, and that halves of which are split. */
static size_t room_for(size_t n)
{
	size_t room = BUCKETS_MIN;

	if (n > BUCKETS_MIN)
		room = (size_t)1 << (64 - __builtin_clzll(n - 1));
	return room;
}

static struct track_record **bucket_of(const struct track_registry *r, uint32_t h)
{
	size_t room = room_for(r->n_buckets), at = h & (room - 1);

	return &r->buckets[at < r->n_buckets ? at : at - room / 2];
}

/* Addresses for all that there will ever be; the kernel gives memory to those that are written to. */
static bool first_buckets(struct track_registry *r)
{
	void *p = mmap(NULL, ROOM_BYTES, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return false;
	r->buckets = p;
	r->n_buckets = BUCKETS_MIN;
	/* Without random numbers (before the kernel has any) an address is what nobody else knows. */
	if (getrandom(r->seed, sizeof(r->seed), GRND_NONBLOCK) != (ssize_t)sizeof(r->seed))
		r->seed[0] = (uint64_t)(uintptr_t)p ^ (uint64_t)mps_now().ns;
	return true;
}

/* One bucket more: it takes over what is its own from its lower half. */
static void split(struct track_registry *r)
{
	struct track_record **from, **to, *next;

	to = &r->buckets[r->n_buckets++];
	*to = NULL;
	from = &r->buckets[r->n_buckets - 1 - room_for(r->n_buckets) / 2];
	for (struct track_record *at = *from; at != NULL; at = next) {
		next = at->next_in_bucket;
		if (bucket_of(r, at->hash) == to) {
			*from = next;
			at->next_in_bucket = *to;
			*to = at;
		} else
			from = &at->next_in_bucket;
	}
}

/* The last bucket falls to its lower half. */
static void join(struct track_registry *r)
{
	struct track_record *last = r->buckets[--r->n_buckets], **end;

	end = &r->buckets[r->n_buckets - room_for(r->n_buckets + 1) / 2];
	while (*end != NULL)
		end = &(*end)->next_in_bucket;
	*end = last;
	/* The upper half is empty. */
	if (r->n_buckets == room_for(r->n_buckets) && r->n_buckets >= GIVE_BACK)
		madvise(&r->buckets[r->n_buckets], r->n_buckets * sizeof(struct track_record *),
			MADV_DONTNEED);
}

/* Two buckets a time, so that they become fewer faster than records. */
static void shrink(struct track_registry *r)
{
	for (int i = 0; i < 2; i++)
		if (r->pinned == 0 && r->n_buckets > BUCKETS_MIN && r->n < r->n_buckets / 2)
			join(r);
}

static void free_record(struct track_record *at)
{
	at->owner->first = NULL;
	at->owner->n = 0;
	free(at);
}

void track_registry_fini(struct track_registry *r)
{
	for (size_t i = 0; i < r->n_buckets; i++)
		for (struct track_record *at = r->buckets[i], *next; at != NULL; at = next) {
			next = at->next_in_bucket;
			free_record(at);
		}
	if (r->buckets != NULL)
		munmap(r->buckets, ROOM_BYTES);
	free(r->young);
	*r = (struct track_registry){ 0 };
}

/* ------------------------------------------------------------------------------------------------- records */

static bool is_it(const struct track_record *at, uint32_t h, enum track_type type, const char *name,
		  size_t n)
{
	return at->hash == h && at->type == type && at->name_length == n &&
	       memcmp(at->name, name, n) == 0;
}

static struct track_record *find(const struct track_registry *r, uint32_t h, enum track_type type,
				 const char *name, size_t n)
{
	struct track_record *at = *bucket_of(r, h);

	while (at != NULL && !is_it(at, h, type, name, n))
		at = at->next_in_bucket;
	return at;
}

struct track_record *track_find(const struct track_registry *r, enum track_type type,
				const char *name, size_t n)
{
	return r->n_buckets > 0 ? find(r, hash(r, type, name, n), type, name, n) : NULL;
}

static void unlist(struct track_record *record)
{
	*record->at = record->next;
	if (record->next != NULL)
		record->next->at = record->at;
	record->owner->n--;
}

static void enlist(struct track_record *record, struct track_owner *owner)
{
	record->owner = owner;
	record->next = owner->first;
	record->at = &owner->first;
	if (record->next != NULL)
		record->next->at = &record->next;
	owner->first = record;
	owner->n++;
}

static struct track_record *make(struct track_registry *r, uint32_t h, enum track_type type,
				 const char *name, size_t n)
{
	struct track_record *record, **bucket;

	if (r->n >= TRACK_RECORDS_MAX)
		return NULL;
	record = malloc(sizeof(*record) + n + 1);
	if (record == NULL)
		return NULL;
	*record = (struct track_record){ .hash = h,
					 .name_length = (uint16_t)n,
					 .type = (uint8_t)type };
	memcpy(record->name, name, n);
	record->name[n] = '\0';
	r->n++;
	if (r->n > r->n_buckets)
		split(r);
	bucket = bucket_of(r, h);
	record->next_in_bucket = *bucket;
	*bucket = record;
	return record;
}

struct track_record *track_next(const struct track_record *record)
{
	struct track_record *at = record->next_in_bucket;

	while (at != NULL && !is_it(at, record->hash, (enum track_type)record->type, record->name,
				    record->name_length))
		at = at->next_in_bucket;
	return at;
}

static bool is_crowded(const struct track_record *first)
{
	size_t n = 0;

	for (; first != NULL; first = track_next(first))
		n++;
	return n >= TRACK_SAME_NAME_MAX;
}

struct track_record *track_add(struct track_registry *r, struct track_owner *owner,
			       enum track_type type, const char *name, size_t n,
			       const struct track_creator *creator)
{
	struct track_record *record, *same;
	uint32_t h;

	if (n > TRACK_NAME_MAX || (r->n_buckets == 0 && !first_buckets(r)))
		return NULL;
	h = hash(r, type, name, n);
	same = find(r, h, type, name, n);
	record = is_crowded(same) ? NULL : make(r, h, type, name, n);
	if (record == NULL)
		return NULL;
	enlist(record, owner);
	record->creator = *creator;
	track_told(r, record, mps_wall().ns);
	return record;
}

static struct track_record *find_told(struct track_record *at, const struct track_record *but,
				      pid_t pid, int64_t told_ns)
{
	while (at != NULL && (at == but || at->creator.pid != pid || at->told_ns != told_ns))
		at = track_next(at);
	return at;
}

struct track_record *track_find_told(const struct track_registry *r, enum track_type type,
				     const char *name, size_t n, pid_t pid, int64_t told_ns)
{
	return find_told(track_find(r, type, name, n), NULL, pid, told_ns);
}

void track_told(const struct track_registry *r, struct track_record *record, int64_t told_ns)
{
	struct track_record *first = find(r, record->hash, (enum track_type)record->type,
					  record->name, record->name_length);

	while (find_told(first, record, record->creator.pid, told_ns) != NULL)
		told_ns++;
	record->told_ns = told_ns;
}

void track_give(struct track_record *record, struct track_owner *to)
{
	unlist(record);
	enlist(record, to);
}

void track_remove(struct track_registry *r, struct track_record *record)
{
	struct track_record **at = bucket_of(r, record->hash);

	while (*at != record)
		at = &(*at)->next_in_bucket;
	*at = record->next_in_bucket;
	if (record->young)
		r->young[record->young_at & (r->young_cap - 1)].record = NULL;
	unlist(record);
	free(record);
	r->n--;
	shrink(r);
}

/* ----------------------------------------------------------------------------------------------------- young */

static bool grow_young(struct track_registry *r)
{
	uint32_t cap = r->young_cap != 0 ? r->young_cap * 2 : YOUNG_MIN;
	struct track_young *p = malloc(cap * sizeof(*p));

	if (p == NULL)
		return false;
	for (uint32_t i = r->young_first; i != r->young_end; i++)
		p[i & (cap - 1)] = r->young[i & (r->young_cap - 1)];
	free(r->young);
	r->young = p;
	r->young_cap = cap;
	return true;
}

void track_young_add(struct track_registry *r, struct track_record *record)
{
	if (record->young || (r->young_end - r->young_first == r->young_cap && !grow_young(r)))
		return;
	record->young = true;
	record->young_at = r->young_end++;
	r->young[record->young_at & (r->young_cap - 1)] =
		(struct track_young){ record, { mps_now().ns + TRACK_YOUNG_NS } };
}

static void give_back_young(struct track_registry *r)
{
	free(r->young);
	r->young = NULL;
	r->young_cap = r->young_first = r->young_end = 0;
}

/* The first that is still there; NULL: there is none. */
static struct track_young *first_young(struct track_registry *r)
{
	for (; r->young_first != r->young_end; r->young_first++) {
		struct track_young *y = &r->young[r->young_first & (r->young_cap - 1)];

		if (y->record != NULL)
			return y;
	}
	if (r->young_cap > YOUNG_MIN)
		give_back_young(r);
	return NULL;
}

struct track_record *track_young_next(struct track_registry *r, struct mps_time now)
{
	const struct track_young *y = first_young(r);
	struct track_record *record;

	if (y == NULL || y->until.ns > now.ns)
		return NULL;
	record = y->record;
	record->young = false;
	r->young_first++;
	return record;
}

struct mps_time track_young_due(const struct track_registry *r)
{
	if (r->young_first == r->young_end)
		return (struct mps_time){ 0 };
	return r->young[r->young_first & (r->young_cap - 1)].until;
}
