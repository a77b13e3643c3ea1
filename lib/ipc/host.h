/*
 * Finding mpsup-host, from within a program that has loaded or linked this library.
 */
#ifndef IPC_HOST_H
#define IPC_HOST_H

/*
 * $MPSUP_HOST; else beside the library, or the program where it is linked in, or in ../libexec/mpsup there; else where it was
 * to be installed. A heap string, or -ENOPKG: there is none; -ENOMEM.
 */
int host_path(char **ret);

#endif
