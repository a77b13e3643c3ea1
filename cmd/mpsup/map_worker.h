/*
 * What `mpsup map` starts for its tasks: a command, or a function of a shared object, and what that finds in its environment.
 */
#ifndef CMD_MPSUP_MAP_WORKER_H
#define CMD_MPSUP_MAP_WORKER_H

#include <stdbool.h>

struct err;
struct map_options;

/* --start-method. 0, or EXIT_USAGE with err. */
int map_worker_set_method(const char *word, struct err *err);
/* Those that there are, NULL at the end. */
extern const char *const map_worker_methods[];

/* Fills o's path, symbol, method and host for its argv. 0, or an exit status with err. What it points to lives on. */
int map_worker_find(struct map_options *o, struct err *err);

/*
 * What the engine and all that it starts have is put into our environment. `tells`: they are to tell the tracker what they
 * make. True where they will.
 */
bool map_worker_environment(const struct map_options *o, bool tells);

#endif
