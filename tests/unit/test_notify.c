/*
 * Datagrams of programs: which lines count, and how many a second.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/fd.h"
#include "base/limits.h"
#include "base/mtime.h"
#include "sup/notify.h"

/* "KEY=TEXT " and "KEY#NUMBER " for each item, "!N" for lines that make no sense. */
static const struct {
	const char *text, *want;
} rows[] = {
	{ "READY=1", "READY=1 " },
	{ "READY=1\n", "READY=1 " },
	{ "READY=1\nSTATUS=Serving 3 clients=all\nMAINPID=42\n",
	  "READY=1 STATUS=Serving 3 clients=all MAINPID#42 " },
	{ "\n\nWATCHDOG=1\n\n", "WATCHDOG=1 " },
	{ "STATUS=", "STATUS= " },
	{ "EXTEND_TIMEOUT_USEC=5000000", "EXTEND_TIMEOUT_USEC#5000000000 " },
	{ "RESTART=web:*\nSTOP=1\nKILL=a b\nSTART=x", "RESTART=web:* STOP=1 KILL=a b START=x " },
	/* not ours */
	{ "BARRIER=1", "" },
	{ "FDSTORE=1\nFDNAME=x\nERRNO=2\nX_MINE=\nREADY=1", "READY=1 " },
	{ "ready=1", "" },
	{ "READYY=1", "" },
	{ "READ=1", "" },
	/* makes no sense */
	{ "READY", "!1" },
	{ "=1", "!1" },
	{ "READY=2\nREADY=\nREADY=1 \nSTOPPING=yes", "!4" },
	{ "garbage\nREADY=1\nmore", "READY=1 !2" },
	{ "MAINPID=0\nMAINPID=-1\nMAINPID=2147483648\nMAINPID=1x\nMAINPID=", "!5" },
	{ "MAINPID=2147483647", "MAINPID#2147483647 " },
	{ "EXTEND_TIMEOUT_USEC=0\nEXTEND_TIMEOUT_USEC=9223372036854775807", "!2" },
	{ "EXTEND_TIMEOUT_USEC=9223372036854775", "EXTEND_TIMEOUT_USEC#9223372036854775000 " },
	{ "RESTART=", "!1" },
};

static void print(struct buf *b, const struct notify_item *items, int n, unsigned bad)
{
	for (int i = 0; i < n; i++) {
		buf_adds(b, notify_key_name(items[i].key));
		if (items[i].number != 0)
			buf_addf(b, "#%lld ", (long long)items[i].number);
		else
			buf_addf(b, "=%.*s ", (int)items[i].size, items[i].text);
	}
	if (bad > 0)
		buf_addf(b, "!%u", bad);
}

Test(notify, lines_that_make_sense_count)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct notify_item items[NOTIFY_ITEMS_MAX];
		AUTO_BUF b = BUF_INIT;
		unsigned bad = 0;
		int n = notify_parse(rows[i].text, strlen(rows[i].text), items, &bad);

		print(&b, items, n, bad);
		cr_expect_str_eq(b.p != NULL ? b.p : "", rows[i].want, "%s", rows[i].text);
	}
}

Test(notify, a_datagram_that_is_no_text_counts_as_a_whole)
{
	static char big[NOTIFY_MSG_MAX + 1];
	struct notify_item items[NOTIFY_ITEMS_MAX];
	unsigned bad = 7;

	memset(big, 'x', sizeof(big));
	memcpy(big, "STATUS=", 7);
	cr_expect_eq(notify_parse(big, sizeof(big), items, &bad), -EBADMSG);
	cr_expect_eq(notify_parse("", 0, items, &bad), -EBADMSG);
	cr_expect_eq(notify_parse("READY=1\0", 8, items, &bad), -EBADMSG);
	cr_expect_eq(notify_parse("READY=1\nSTATUS=\0\n", 17, items, &bad), -EBADMSG);
	cr_expect_eq(bad, 7);
	cr_expect_eq(notify_parse(big, NOTIFY_MSG_MAX, items, &bad), 1);
	cr_expect_eq(items[0].size, NOTIFY_MSG_MAX - 7);
	cr_expect_eq(bad, 0);
}

Test(notify, further_lines_than_there_is_room_for_are_counted)
{
	struct notify_item items[NOTIFY_ITEMS_MAX];
	AUTO_BUF b = BUF_INIT;
	unsigned bad;

	for (int i = 0; i < NOTIFY_ITEMS_MAX + 3; i++)
		buf_adds(&b, "WATCHDOG=1\n");
	cr_expect_eq(notify_parse(b.p, b.len, items, &bad), NOTIFY_ITEMS_MAX);
	cr_expect_eq(bad, 3);
}

Test(notify, a_burst_and_then_so_many_a_second)
{
	struct notify_rate rate = { 0 };
	int64_t now = 1000 * MPS_NS_PER_S;
	unsigned n = 0;

	for (int i = 0; i < 1000; i++)
		n += notify_allows(&rate, now);
	cr_expect_eq(n, NOTIFY_BURST);
	now += MPS_NS_PER_S;
	for (n = 0; notify_allows(&rate, now);)
		n++;
	cr_expect_eq(n, NOTIFY_RATE);
	now += 1000 * MPS_NS_PER_S;
	for (n = 0; notify_allows(&rate, now);)
		n++;
	cr_expect_eq(n, NOTIFY_BURST);
}

Test(notify, every_message_is_in_the_man_page)
{
	char *page = NULL;
	size_t len;

	cr_assert_eq(fd_read_file("man/mpsup-worker.7", 1 << 20, &page, &len), 0,
		     "man/mpsup-worker.7 (run from the top folder)");
	for (int i = 0; i < N_NOTIFY_KEYS; i++) {
		char item[80];

		snprintf(item, sizeof(item), "\n.It Ic %s=", notify_key_name((enum notify_key)i));
		cr_expect_not_null(strstr(page, item), "%s", item + 1);
	}
	free(page);
}
