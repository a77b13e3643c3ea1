/*
 * The key table as such: every row is complete, and the man page has it.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/fd.h"
#include "conf/conf.h"
#include "conf/types.h"

Test(keys, every_default_is_accepted_by_its_own_parser)
{
	struct store *store = store_new();
	struct type_context tc = { .store = store };

	for (size_t i = 0; i < n_keys; i++) {
		union {
			struct conf_proc proc;
			struct conf_supervisord supervisord;
			struct conf_other other;
		} base;
		struct err err = ERR_INIT;

		memset(&base, 0, sizeof(base));
		if (keys[i].def)
			cr_expect_eq(type_parse(&keys[i], keys[i].def, &base, &tc, &err), 0,
				     "%s: %s", keys[i].name, err.text);
	}
	store_free(store);
}

Test(keys, no_key_is_twice_in_a_section_and_each_is_found)
{
	for (size_t i = 0; i < n_keys; i++) {
		cr_expect(keys[i].doc && *keys[i].doc && keys[i].sections, "%s", keys[i].name);
		for (const struct section_kind *k = section_kinds; k->name; k++)
			if (keys[i].sections & k->kind)
				cr_expect_eq(key_find(k->kind, keys[i].name), &keys[i], "%s in %s",
					     keys[i].name, k->name);
	}
	cr_expect_null(key_find(SECTION_PROGRAM, "nodaemon"));
}

Test(keys, every_type_has_a_name_and_a_parser)
{
	for (size_t i = 0; i < n_keys; i++)
		cr_expect_not_null(key_type_text(&keys[i]), "%s", keys[i].name);
}

static const struct {
	const char *wrong, *right;
} near[] = {
	{ "autostrat", "autostart" },	   { "auto_start", "autostart" }, { "unmask", "umask" },
	{ "stopwaitsec", "stopwaitsecs" }, { "comand", "command" },	  { "depends_on", NULL },
	{ "catch_workers_output", NULL },
};

Test(keys, the_nearest_name_is_found)
{
	for (size_t i = 0; i < sizeof(near) / sizeof(near[0]); i++) {
		const char *found = key_nearest(SECTION_PROGRAM, near[i].wrong);

		cr_expect((found == NULL) == (near[i].right == NULL) &&
				  (found == NULL || strcmp(found, near[i].right) == 0),
			  "%s: %s", near[i].wrong, found ? found : "nothing");
	}
	cr_expect_str_eq(section_nearest("progam:web"), "program");
	cr_expect_null(section_nearest("watchdog:x"));
}

Test(keys, sections_are_told_by_their_first_part)
{
	const char *name;

	cr_expect_eq(section_find("program:a:b", &name)->kind, SECTION_PROGRAM);
	cr_expect_str_eq(name, "a:b");
	cr_expect_null(section_find("program", &name));
	cr_expect_null(section_find("supervisord:x", &name));
	cr_expect_null(section_find("Program:x", &name));
	cr_expect_eq(section_find("unix_http_server:x", &name)->kind, SECTION_UNIX_HTTP);
	cr_expect_eq(section_find("unix_http_server", &name)->kind, SECTION_UNIX_HTTP);
}

Test(keys, every_key_and_section_is_in_the_man_page)
{
	char *page = NULL;
	size_t len;

	cr_assert_eq(fd_read_file("man/mpsup.conf.5", 1 << 20, &page, &len), 0,
		     "man/mpsup.conf.5 (run from the top folder)");
	for (size_t i = 0; i < n_keys; i++) {
		char item[80];
		const char *at;

		snprintf(item, sizeof(item), "\n.It Ic %s", keys[i].name);
		at = strstr(page, item);
		while (at && !strchr(" \n", at[strlen(item)]))
			at = strstr(at + 1, item);
		cr_expect_not_null(at, "%s", keys[i].name);
	}
	for (const struct section_kind *k = section_kinds; k->name; k++) {
		char item[80];

		snprintf(item, sizeof(item), "\n.Ss Section %s", k->name);
		cr_expect_not_null(strstr(page, item), "[%s]", k->name);
	}
	free(page);
}
