/*
 * What tests of messages over connections have in common. Header only.
 */
#ifndef TESTS_CONNECTION_SCENE_H
#define TESTS_CONNECTION_SCENE_H

#include <stdlib.h>
#include <string.h>

#include "ipc/connection.h"
#include "ipc_scene.h"

#define LIMIT (30 * MPS_SECOND)

/* n bytes: free(3). */
static inline char *pattern(size_t n)
{
	char *p = malloc(n + 1);

	cr_assert_not_null(p);
	for (size_t i = 0; i < n; i++)
		p[i] = (char)(i * 7 + i / 251);
	return p;
}

/* The next message is this. */
static inline void got(struct mps_connection *c, const char *text)
{
	const void *p;
	size_t n;

	cr_assert_eq(mps_recv(c, &p, &n, LIMIT), 0);
	cr_assert_eq(n, strlen(text));
	cr_assert_arr_eq(p, text, n);
}

#endif
