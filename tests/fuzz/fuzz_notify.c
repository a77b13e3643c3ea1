/*
 * Bytes are a datagram of a program. Each item must lie inside it and be a value that its key has; what was printed from
 * the items must be read as the same items again.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../must.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/limits.h"
#include "sup/notify.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct notify_item *i, const char *p, size_t n)
{
	MUST(i->key < N_NOTIFY_KEYS);
	MUST(i->text > p && i->text + i->size <= p + n);
	MUST(memchr(i->text, '\n', i->size) == NULL && memchr(i->text, '\0', i->size) == NULL);
	MUST(i->text[-1] == '=');
	MUST(i->number >= 0);
}

static void print_and_read(const struct notify_item *items, int n)
{
	struct notify_item again[NOTIFY_ITEMS_MAX];
	AUTO_BUF b = BUF_INIT;
	unsigned bad = 1;

	for (int i = 0; i < n; i++)
		buf_addf(&b, "%s=%.*s\n", notify_key_name(items[i].key), (int)items[i].size,
			 items[i].text);
	if (n == 0 || b.len > NOTIFY_MSG_MAX)
		return;
	MUST(notify_parse(b.p, b.len, again, &bad) == n && bad == 0);
	for (int i = 0; i < n; i++) {
		MUST(again[i].key == items[i].key && again[i].size == items[i].size);
		MUST(memcmp(again[i].text, items[i].text, items[i].size) == 0);
		MUST(again[i].number == items[i].number);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *copy = malloc(size > 0 ? size : 1); /* so that a byte behind it is seen */
	struct notify_item items[NOTIFY_ITEMS_MAX];
	unsigned bad = 0;
	int n;

	MUST(copy != NULL);
	if (size > 0)
		memcpy(copy, data, size);
	n = notify_parse(copy, size, items, &bad);
	MUST(n <= NOTIFY_ITEMS_MAX);
	for (int i = 0; i < n; i++)
		check(&items[i], copy, size);
	if (n >= 0)
		print_and_read(items, n);
	free(copy);
	return 0;
}
