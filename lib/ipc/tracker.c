/*
 * Whom the tracker is told by: the supervisor's is named in the environment.
 */
#include "ipc/tracker.h"

#include <stdlib.h>

#include "track/client.h"

int tracker_say(enum track_verb verb, enum track_type type, const char *name)
{
	const char *socket = getenv("MPSUP_TRACKER");

	return socket != NULL && socket[0] != 0 ? track_say(socket, verb, type, name, NULL) : 0;
}
