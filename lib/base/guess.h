/*
 * What was meant by a word that nothing is called, for "did you mean".
 */
#ifndef BASE_GUESS_H
#define BASE_GUESS_H

struct guess {
	const char *written;
	const char *best; /* NULL = nothing is near */
	unsigned distance;
};

struct guess guess_begin(const char *written);
/* Where `name` is nearer than all before it, best becomes `shown`: what should have been written. */
void guess_try(struct guess *g, const char *name, const char *shown);

/* Edit distance (Damerau-Levenshtein, case folded); names over 64 bytes are far from all. */
unsigned guess_distance(const char *a, const char *b);
/* How far a name may be from what was written to be suggested for it: more is another word. */
unsigned guess_tolerance(const char *written);

#endif
