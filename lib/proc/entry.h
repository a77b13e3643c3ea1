/*
 * An entry: a function of a shared object that is a worker's main.
 */
#ifndef PROC_ENTRY_H
#define PROC_ENTRY_H

#include <stddef.h>

/*
 * Loads the object, closes error_fd, and exits as the function says. When there is no such object or function the reason
 * goes to error_fd (MPS_STEP_ENTRY, with a text). In a process that was made for nothing else. argv[0] and what follows is
 * the title too.
 */
void mps_entry_run(const char *object, const char *symbol, char **argv, int error_fd)
	__attribute__((noreturn));

typedef int mps_entry(int argc, char **argv);

/* The function, where the object is loaded already; else NULL. */
mps_entry *mps_entry_find(const char *object, const char *symbol);

/* Closes error_fd (-1 = none), calls the function and exits as it says. argv as above. */
void mps_entry_call(mps_entry *function, char **argv, int error_fd) __attribute__((noreturn));

/*
 * From now on this process, which is a copy of one that has loaded things, ends without the destructors of shared objects:
 * they are for what that one has made, and all its copies share. What was registered after this by atexit(3) runs, and
 * what stdio has not written is.
 */
void mps_entry_spare_destructors(void);

/* Loads an object for good. The handle; NULL with the reason in text, without the object's name before it. */
void *mps_entry_load(const char *object, char *text, size_t size);

#endif
