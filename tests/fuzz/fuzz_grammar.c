/*
 * The grammars inside values on any text: command=, environment=, %(x)s, and every type of the key table. The first
 * byte chooses.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"
#include "conf/conf.h"
#include "conf/expand.h"
#include "conf/split.h"
#include "conf/types.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void on_warning(void *ctx, const char *text)
{
	(void)ctx;
	assert(*text);
}

static bool lookup(const void *ctx, const char *name, size_t len, struct expand_value *ret)
{
	(void)ctx;
	ret->text = len > 0 && name[0] == 's' ? "it's \"\xc3\xa9\"\n" : NULL;
	ret->number = len > 0 && name[0] == 'n' ? -255 : 65;
	return len == 1;
}

static void try_environment(const char *text)
{
	struct words words = WORDS_INIT;
	struct err err = ERR_INIT;

	if (split_environment(text, &words, on_warning, NULL, &err) == 0)
		for (size_t i = 0; i < words.n; i++)
			assert(strchr(words.v[i], '=') > words.v[i]);
	else
		assert(*err.text);
	words_fini(&words);
}

static void try_command(const char *text)
{
	struct words words = WORDS_INIT;
	struct err err = ERR_INIT;

	if (split_command(text, &words, &err) < 0)
		assert(*err.text);
	words_fini(&words);
}

static void try_expand(const char *text)
{
	struct expand_names names = { lookup, NULL, NULL };
	struct err err = ERR_INIT;
	AUTO_BUF out = BUF_INIT;
	const char *bare = NULL;

	if (expand(text, &names, &out, &bare, &err) < 0)
		assert(*err.text);
	assert(bare == NULL || *bare == '%');
}

static void try_types(const char *text)
{
	struct store *store = store_new();
	struct type_context tc = { store, on_warning, NULL, NULL };

	for (size_t i = 0; i < n_keys; i++) {
		union {
			struct conf_proc proc;
			struct conf_supervisord supervisord;
			struct conf_other other;
		} base;
		struct err err = ERR_INIT;

		/* The user database is not ours to fuzz. */
		if (keys[i].type == KEY_USER || keys[i].type == KEY_OWNER || strchr(text, '~'))
			continue;
		memset(&base, 0, sizeof(base));
		if (type_parse(&keys[i], text, &base, &tc, &err) < 0)
			assert(*err.text);
	}
	store_free(store);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const targets[])(const char *) = { try_environment, try_command, try_expand,
							 try_types };
	char *text;

	if (size == 0)
		return 0;
	text = malloc(size);
	memcpy(text, data + 1, size - 1);
	text[size - 1] = '\0';
	targets[data[0] % 4](text);
	free(text);
	return 0;
}
