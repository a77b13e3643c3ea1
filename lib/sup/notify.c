/*
 * Datagrams of programs taken apart. See notify.h.
 */
#include "sup/notify.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/limits.h"
#include "base/mtime.h"

enum type { ONE, TEXT, PID, USEC, TARGET };

static const struct {
	const char *name;
	enum type type;
} known[N_NOTIFY_KEYS] = {
#define X(name, type, doc) [NOTIFY_##name] = { #name, type },
	NOTIFY_KEYS(X)
#undef X
};

const char *notify_key_name(enum notify_key key)
{
	return known[key].name;
}

static int find_key(const char *p, size_t n)
{
	for (size_t i = 0; i < N_NOTIFY_KEYS; i++)
		if (strlen(known[i].name) == n && memcmp(known[i].name, p, n) == 0)
			return (int)i;
	return -1;
}

/* Digits only, 1 ... max; -1 for anything else. */
static int64_t parse_number(const char *p, size_t n, int64_t max)
{
	int64_t v = 0;

	for (size_t i = 0; i < n; i++) {
		if (p[i] < '0' || p[i] > '9' || v > (max - (p[i] - '0')) / 10)
			return -1;
		v = v * 10 + (p[i] - '0');
	}
	return v > 0 ? v : -1;
}

/* 0 where the item's text is a value that its key has. */
static int check_value(struct notify_item *item)
{
	switch (known[item->key].type) {
	case ONE:
		return item->size == 1 && item->text[0] == '1' ? 0 : -EBADMSG;
	case TEXT:
		return 0;
	case PID:
		item->number = parse_number(item->text, item->size, INT_MAX);
		return item->number > 0 ? 0 : -EBADMSG;
	case USEC:
		item->number = parse_number(item->text, item->size, INT64_MAX / 1000) * 1000;
		return item->number > 0 ? 0 : -EBADMSG;
	case TARGET:
		return item->size > 0 ? 0 : -EBADMSG;
	}
	return -EBADMSG;
}

/* 1 = an item, 0 = nothing that we know, or -EBADMSG. */
static int parse_line(const char *p, size_t n, struct notify_item *ret)
{
	const char *equals = memchr(p, '=', n);
	int key;

	if (equals == NULL || equals == p)
		return -EBADMSG;
	key = find_key(p, (size_t)(equals - p));
	if (key < 0)
		return 0;
	*ret = (struct notify_item){ .key = (enum notify_key)key,
				     .text = equals + 1,
				     .size = (size_t)(p + n - equals - 1) };
	return check_value(ret) < 0 ? -EBADMSG : 1;
}

int notify_parse(const char *p, size_t n, struct notify_item items[NOTIFY_ITEMS_MAX],
		 unsigned *ret_bad)
{
	const char *end = p + n;
	unsigned bad = 0;
	int n_items = 0;

	if (n == 0 || n > NOTIFY_MSG_MAX || memchr(p, '\0', n) != NULL)
		return -EBADMSG;
	while (p < end) {
		const char *stop = memchr(p, '\n', (size_t)(end - p));
		size_t length = (size_t)((stop != NULL ? stop : end) - p);
		struct notify_item item;
		int r = length > 0 ? parse_line(p, length, &item) : 0;

		if (r > 0 && n_items < NOTIFY_ITEMS_MAX)
			items[n_items++] = item;
		else if (r != 0)
			bad++;
		p += length + 1;
	}
	*ret_bad = bad;
	return n_items;
}

bool notify_allows(struct notify_rate *rate, int64_t now)
{
	const int64_t each = MPS_NS_PER_S / NOTIFY_RATE;

	if (rate->full_at < now)
		rate->full_at = now;
	if (rate->full_at - now > (NOTIFY_BURST - 1) * each)
		return false;
	rate->full_at += each;
	return true;
}
