/*
 * Where a command lies that was given by its name.
 */
#ifndef PROC_FIND_H
#define PROC_FIND_H

/*
 * As execvp(3) looks for it; on the heap. 0, -EACCES where there is only what cannot be executed, -ENOENT or -ENOMEM.
 * A name with a slash in it is taken as it is.
 */
int proc_find_command(const char *name, char **ret);

#endif
