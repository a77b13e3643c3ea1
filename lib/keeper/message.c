/*
 * The messages between keeper and supervisor, field by field. One table says which fields a type has, so that encoder and
 * decoder cannot differ.
 */
#include "keeper/message.h"

#include <errno.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/limits.h"
#include "base/wire.h"
#include "track/track.h"

enum kind { U32, U64, BOOL, TIME, TEXT, REST };

struct field {
	enum kind kind;
	size_t offset;
};

#define M(member) offsetof(struct keeper_message, member)
#define FIELDS_MAX 10

static const struct shape {
	bool to_keeper;
	unsigned n;
	struct field fields[FIELDS_MAX];
} shapes[] = {
	[KEEPER_HELLO] = { true,
			   5,
			   { { U32, M(protocol) },
			     { U32, M(on_crash) },
			     { TIME, M(time) },
			     { TEXT, M(text) },
			     { REST, M(rest) } } },
	[KEEPER_START] = { true,
			   8,
			   { { U32, M(instance) },
			     { U32, M(gen) },
			     { U32, M(start.leftovers) },
			     { TIME, M(start.grace) },
			     { U32, M(start.cleanup) },
			     { BOOL, M(start.scan) },
			     { TEXT, M(start.name) },
			     { REST, M(rest) } } },
	[KEEPER_START_LONG] = { true,
				7,
				{ { U32, M(instance) },
				  { U32, M(gen) },
				  { U32, M(start.leftovers) },
				  { TIME, M(start.grace) },
				  { U32, M(start.cleanup) },
				  { BOOL, M(start.scan) },
				  { TEXT, M(start.name) } } },
	[KEEPER_SIGNAL] = { true,
			    4,
			    { { U32, M(instance) },
			      { U32, M(gen) },
			      { U32, M(signal) },
			      { U32, M(scope) } } },
	[KEEPER_NAME_MAIN] = { true,
			       3,
			       { { U32, M(instance) }, { U32, M(gen) }, { U32, M(pid) } } },
	[KEEPER_KEEP] = { true, 2, { { U32, M(instance) }, { U32, M(first) } } },
	[KEEPER_FORGET] = { true, 1, { { U32, M(instance) } } },
	[KEEPER_EXIT] = { true, 1, { { U32, M(status) } } },
	[KEEPER_DETACH] = { true, 1, { { U32, M(protocol) } } },
	[KEEPER_UPGRADE] = { true, 1, { { U32, M(protocol) } } },
	[KEEPER_HEARD] = { true, 1, { { U32, M(count) } } },
	[KEEPER_DROP_SERVER] = { true, 1, { { TEXT, M(text) } } },
	[KEEPER_WELCOME] = { false,
			     6,
			     { { U32, M(protocol) },
			       { U32, M(pid) },
			       { U32, M(count) },
			       { U32, M(before) },
			       { U32, M(code) },
			       { U32, M(status) } } },
	[KEEPER_KEPT] = { false, 2, { { U32, M(instance) }, { U32, M(first) } } },
	[KEEPER_INSTANCE] = { false,
			      10,
			      { { U32, M(instance) },
				{ U32, M(gen) },
				{ U32, M(pid) },
				{ U32, M(state) },
				{ TIME, M(started) },
				{ U64, M(sent) },
				{ U32, M(code) },
				{ U32, M(status) },
				{ TIME, M(time) },
				{ TEXT, M(text) } } },
	[KEEPER_STARTED] = { false,
			     4,
			     { { U32, M(instance) },
			       { U32, M(gen) },
			       { U32, M(pid) },
			       { TIME, M(time) } } },
	[KEEPER_MAIN] = { false, 3, { { U32, M(instance) }, { U32, M(gen) }, { U32, M(pid) } } },
	[KEEPER_FAILED] = { false,
			    5,
			    { { U32, M(instance) },
			      { U32, M(gen) },
			      { U32, M(code) },
			      { U32, M(status) },
			      { TEXT, M(text) } } },
	[KEEPER_EXITED] = { false,
			    7,
			    { { U32, M(instance) },
			      { U32, M(gen) },
			      { U32, M(pid) },
			      { U32, M(code) },
			      { U32, M(status) },
			      { BOOL, M(tree_left) },
			      { TIME, M(time) } } },
	[KEEPER_GONE] = { false, 2, { { U32, M(instance) }, { U32, M(gen) } } },
	[KEEPER_REAPED] = { false, 3, { { U32, M(pid) }, { U32, M(code) }, { U32, M(status) } } },
	[KEEPER_RETIRE] = { false, 1, { { U32, M(protocol) } } },
	[KEEPER_REFUSED] = { false, 2, { { U32, M(code) }, { U32, M(status) } } },
	[KEEPER_SIGNALLED] = { false, 2, { { U32, M(signal) }, { U32, M(count) } } },
	[KEEPER_SERVER] = { false,
			    4,
			    { { TEXT, M(text) },
			      { U32, M(pid) },
			      { BOOL, M(is_ready) },
			      { U32, M(count) } } },
	[KEEPER_UNLINKED] = { false,
			      5,
			      { { U32, M(instance) },
				{ U32, M(pid) },
				{ U32, M(object) },
				{ TEXT, M(text) },
				{ TEXT, M(program) } } },
	[KEEPER_OBJECTS] = { false,
			     3,
			     { { U32, M(instance) }, { U32, M(count) }, { U32, M(cleaned) } } },
	[KEEPER_STOPPED] = { false,
			     4,
			     { { U32, M(instance) },
			       { U32, M(gen) },
			       { U32, M(signal) },
			       { U32, M(count) } } },
};

_Static_assert(sizeof(enum keeper_leftovers) == sizeof(uint32_t) &&
		       sizeof(pid_t) == sizeof(uint32_t),
	       "fields of kind U32 are written through uint32_t");

void keeper_encode(const struct keeper_message *m, struct buf *to)
{
	const struct shape *shape = &shapes[m->type];
	uint32_t v;

	wire_put_u32(to, m->type);
	for (unsigned i = 0; i < shape->n; i++) {
		const char *at = (const char *)m + shape->fields[i].offset;

		switch (shape->fields[i].kind) {
		case U32:
			memcpy(&v, at, sizeof(v));
			wire_put_u32(to, v);
			break;
		case BOOL:
			wire_put_u32(to, *(const bool *)at);
			break;
		case TIME:
			wire_put_u64(to, (uint64_t)((const struct mps_time *)(const void *)at)->ns);
			break;
		case U64:
			wire_put_u64(to, *(const uint64_t *)(const void *)at);
			break;
		case TEXT:
			wire_put_str(to, *(char *const *)(const void *)at);
			break;
		case REST:
			break;
		}
	}
}

static void decode_field(struct wire *w, const struct field *field, struct keeper_message *m)
{
	char *at = (char *)m + field->offset;
	uint32_t v;

	switch (field->kind) {
	case U32:
		v = wire_u32(w);
		memcpy(at, &v, sizeof(v));
		break;
	case BOOL:
		*(bool *)at = wire_u32(w) != 0;
		break;
	case TIME:
		((struct mps_time *)(void *)at)->ns = (int64_t)wire_u64(w);
		break;
	case U64:
		*(uint64_t *)(void *)at = wire_u64(w);
		break;
	case TEXT:
		*(const char **)(void *)at = wire_str(w);
		break;
	case REST:
		m->rest = w->p;
		m->rest_size = w->n;
		w->n = 0;
		break;
	}
}

/* Times are spans here, or points long past: far from where sums overflow. */
static bool is_sane(struct mps_time t)
{
	return t.ns >= 0 && t.ns <= INT64_MAX / 2;
}

int keeper_decode_next(struct wire *w, bool to_keeper, struct keeper_message *ret)
{
	struct keeper_message m = { 0 };
	uint32_t type = wire_u32(w);

	if (w->failed || type >= ARRAY_SIZE(shapes) || shapes[type].n == 0 ||
	    shapes[type].to_keeper != to_keeper)
		return -EBADMSG;
	m.type = type;
	for (unsigned i = 0; i < shapes[type].n; i++)
		decode_field(w, &shapes[type].fields[i], &m);
	if (!is_sane(m.time) || !is_sane(m.started) || !is_sane(m.start.grace))
		return -EBADMSG;
	if (w->failed || m.state > KEEPER_IS_FAILED || m.on_crash > KEEPER_CRASH_RESTART ||
	    m.first >= KEEPER_INSTANCES_MAX || m.instance >= KEEPER_INSTANCES_MAX ||
	    m.start.leftovers > KEEPER_LEFT_KEEP || m.start.cleanup > KEEPER_CLEAN_OFF ||
	    m.object >= N_TRACK_TYPES || m.scope > KEEPER_SCOPE_TREE || m.signal > 64)
		return -EBADMSG;
	m.start.instance = m.instance;
	m.start.gen = m.gen;
	*ret = m;
	return 0;
}

int keeper_decode(const void *p, size_t n, bool to_keeper, struct keeper_message *ret)
{
	struct wire w = { p, n, false };
	struct keeper_message m;
	int r = keeper_decode_next(&w, to_keeper, &m);

	if (r < 0 || !wire_done(&w))
		return -EBADMSG;
	*ret = m;
	return 0;
}
