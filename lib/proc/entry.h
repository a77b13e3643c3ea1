/*
 * An entry: a function of a shared object that is a worker's main, int f(int argc, char **argv).
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

/* Loads an object for good. The handle; NULL with the reason in text, without the object's name before it. */
void *mps_entry_load(const char *object, char *text, size_t size);

#endif
