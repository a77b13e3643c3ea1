/*
 * The shim that tells the tracker what a program makes: where it lies, and how it gets into an environment.
 */
#ifndef PROC_SHIM_H
#define PROC_SHIM_H

/* Beside mpsup-host (MPSUP_HOST, else as it is installed). Heap string; NULL where it is not, or its path cannot stand in LD_PRELOAD. */
char *shim_find(void);

/*
 * LD_PRELOAD begins with it, before what is there already. A packed environment (strv_pack) like envp, which stays the
 * caller's; NULL where nothing is to be changed, or there is no memory.
 */
char **shim_add(char *const *envp, const char *shim);

#endif
