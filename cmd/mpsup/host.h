/*
 * Where this program lies, and mpsup-host, which belongs to it.
 */
#ifndef CMD_MPSUP_HOST_H
#define CMD_MPSUP_HOST_H

struct err;

/* MPSUP_HOST, else beside this program or in ../libexec/mpsup. Both on the heap, for the caller. 0 or -errno. */
int host_find(char **ret_self, char **ret_host, struct err *err);

#endif
