/*
 * See sound.h.
 */
#include "ipc/sound.h"

#include <errno.h>
#include <signal.h>

#include "ipc/robust.h"

int lock_kind(int type)
{
	pthread_mutex_t fresh;
	int r = robust_init(&fresh, type);

	return r < 0 ? r : fresh.ROBUST_KIND;
}

bool lock_is_sound(pthread_mutex_t *m, int type)
{
	_Atomic uint32_t *word = robust_word(m);
	uint32_t seen;

	if (!lock_has_kind(m, lock_kind(type)))
		return false;
	do {
		seen = atomic_load(word);
		if (!robust_is_held(seen) && seen != 0 && !robust_is_dead(seen))
			return false; /* waited for, and nobody's */
		if (!robust_is_held(seen) || kill((pid_t)(seen & FUTEX_TID_MASK), 0) == 0 ||
		    errno != ESRCH)
			return true;
	} while (atomic_load(word) != seen); /* he has let go of it, and ended */
	return false;
}
