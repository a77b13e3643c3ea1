/*
 * What of a service outlives its supervisor, as plain numbers of fixed size. Texts are kept apart (state.h); the
 * configuration comes from its own copy. Part of a layout that another version may read: see STATE_VERSION.
 */
#ifndef SUP_SVC_STATE_H
#define SUP_SVC_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/limits.h"
#include "sup/svc.h"

struct svc_record {
	uint64_t name; /* svc_name_hash(); 0 = never written */
	int64_t started, started_wall, changed, changed_wall, timer_at, exit_wall;
	uint32_t gen;
	int32_t pid;
	uint32_t restarts, backoff, busy, streak, n_history, n_limited;
	int32_t exit_code, exit_status;
	int32_t last_status; /* of the unit: the last exit as an exit status */
	uint32_t reload;     /* of the unit: the last reload whose configuration it has taken */
	uint16_t flags;
	uint8_t state;
};

/* Rings, of which only the newest entry is ever written: an event that is not recorded comes again and writes the same. */
struct svc_rings {
	struct svc_past *history; /* SVC_HISTORY */
	struct mps_time *limited; /* CONF_LIMIT_MAX */
};

/* Never 0. */
uint64_t svc_name_hash(const char *name);

/* `before`: the record that was saved last. */
void svc_save(const struct svc *s, const struct svc_record *before, struct svc_record *ret,
	      const struct svc_rings *rings);

/* Into a service fresh from svc_init(). No op is called: the timer is the caller's to arm. False: the record makes no sense. */
bool svc_restore(struct svc *s, const struct svc_record *r, const struct svc_rings *rings);

#endif
