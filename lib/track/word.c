/*
 * Types by their words, and the words in which programs speak of objects.
 */
#include "track/track.h"

#include <string.h>

static const char *const words[N_TRACK_TYPES] = {
#define X(name, word, people) [TRACK_##name] = word,
	TRACK_TYPES(X)
#undef X
};

static const char *const people_words[N_TRACK_TYPES] = {
#define X(name, word, people) [TRACK_##name] = people,
	TRACK_TYPES(X)
#undef X
};

const char *track_type_word(enum track_type type)
{
	return words[type];
}

const char *track_type_people(enum track_type type)
{
	return people_words[type];
}

bool track_type_parse(const char *word, size_t n, enum track_type *ret)
{
	for (size_t i = 0; i < N_TRACK_TYPES; i++)
		if (strlen(words[i]) == n && memcmp(words[i], word, n) == 0) {
			*ret = (enum track_type)i;
			return true;
		}
	return false;
}

bool track_type_is_sysv(enum track_type type)
{
	return type == TRACK_SYSV_SEM || type == TRACK_SYSV_SHM || type == TRACK_SYSV_MSG;
}
