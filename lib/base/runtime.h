/*
 * Where the runtime directories of this user's instances lie.
 */
#ifndef BASE_RUNTIME_H
#define BASE_RUNTIME_H

/* /run/mpsup as root, $XDG_RUNTIME_DIR/mpsup, else /tmp/mpsup-UID. Heap string; NULL = no memory. Makes nothing. */
char *runtime_base(void);

#endif
