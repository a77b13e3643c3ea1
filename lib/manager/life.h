/*
 * How clients know in an instant that their server has died: a robust mutex in memory that the server gives them with its HELLO. The
 * server's thread holds it, and lets go of it by dying.
 */
#ifndef MANAGER_LIFE_H
#define MANAGER_LIFE_H

#include <stdatomic.h>
#include <stdint.h>

#include "mpsup.h"

/* The server's, by the thread that is it. mps_shm_fileno() goes to clients. life_end(): NULL is allowed. */
int life_begin(struct mps_shm **ret);
void life_end(struct mps_shm *life);
/* A client's: takes the descriptor over if it is 0. *ret_word: robust_is_held() of it (ipc/robust.h). -EPROTO */
int life_open(int fd, struct mps_shm **ret, _Atomic uint32_t **ret_word);

#endif
