/*
 * In which order services start and stop, and which of them a person means by a name.
 */
#ifndef SUP_ORDER_H
#define SUP_ORDER_H

#include <stddef.h>

struct svc;
struct err;

/* Sorts by (group priority, priority, group, name): the order of starting. Stops go in reverse. */
void order_sort(struct svc **list, size_t n);

/* The level of s for stopping: services of one level stop together, a lower one only after. Higher stops first. */
int order_compare_level(const struct svc *a, const struct svc *b);

/*
 * Which of the n services `target` means: "web" (a process, or a group of that name with one or more), "web:web_00",
 * "web:*", "web:", a glob (fnmatch(3)) on the whole name or on "group:name", "all". Calls `found` for each, in order of
 * the list. The number found; -ENOENT with err naming the nearest name when there is none ("all" of nothing is 0).
 * Exact names are looked up in O(1) through the index.
 */
struct order_index; /* name -> services; rebuilt when the list changes */
struct order_index *order_index_new(struct svc **list, size_t n);
void order_index_free(struct order_index *index);
long order_find(const struct order_index *index, const char *target,
		void (*found)(struct svc *s, void *user), void *user, struct err *err);

#endif
