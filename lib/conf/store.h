/*
 * Where the strings of a configuration live: an arena that is freed as a whole, and a table that makes equal
 * strings one while the configuration is being read (10,000 programs say "TERM" and "/var/log" 10,000 times).
 */
#ifndef CONF_STORE_H
#define CONF_STORE_H

#include <stddef.h>

struct store;

struct store *store_new(void);
void store_free(struct store *store);

/* n zeroed bytes, aligned for pointers, until store_free(). */
void *store_alloc(struct store *store, size_t n);

/* The one copy of a string; equal strings give equal pointers until store_seal(). NULL gives NULL. */
char *store_str(struct store *store, const char *s);
char *store_strn(struct store *store, const char *s, size_t n);

/* A NULL-terminated copy of n strings, each stored. */
char **store_strv(struct store *store, char *const *v, size_t n);

/* Drops the table of equal strings: what is stored stays, and nothing may be added any more. */
void store_seal(struct store *store);

#endif
