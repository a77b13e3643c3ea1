/*
 * Where an instance lives: its name and its runtime directory (see client.h). Makes and opens nothing.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/runtime.h"
#include "base/xalloc.h"
#include "sup/client.h"

/* /run/user/4294967295/mpsup/ and /control.sock leave 67 of the 107 bytes of a socket's path. */
#define NAME_LEN_MAX 60
#define HASH_LEN 9 /* "-" and eight hexadecimal digits */

char *client_runtime_spare(void)
{
	return xasprintf("/tmp/mpsup-%u", (unsigned)geteuid());
}

char *client_runtime_base(void)
{
	char *base = runtime_base();

	if (base == NULL)
		xalloc_failed();
	return base;
}

char *client_runtime_dir(const char *name)
{
	char *base = client_runtime_base();
	char *dir = xasprintf("%s/%s", base, name);

	free(base);
	return dir;
}

/* FNV-1a: equal names for equal paths on every machine, nothing more is asked of it. */
static uint32_t hash_text(const char *s)
{
	uint32_t h = 2166136261u;

	for (; *s != '\0'; s++)
		h = (h ^ (unsigned char)*s) * 16777619u;
	return h;
}

static bool is_name_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '.' || c == '_' || c == '-';
}

char *client_instance_name(const char *config_path, const char *identifier)
{
	const char *text = identifier != NULL && identifier[0] != '\0' ? identifier : config_path;
	const char *from = text + strspn(text, "/");
	struct buf b = BUF_INIT;
	bool ambiguous = false;

	for (const char *s = from; *s != '\0'; s++) {
		buf_addc(&b, is_name_char(*s) ? *s : '-');
		/* "/a/b" and "/a-b" must not meet; an identifier is the user's own choice. */
		ambiguous = ambiguous || *s == '-' || (*s != '/' && !is_name_char(*s));
	}
	/* "", "." and ".." are no folders of ours, and a hidden one is not found by eye. */
	if (b.len == 0)
		buf_addc(&b, '-');
	if (b.p != NULL && b.p[0] == '.')
		b.p[0] = '-';
	if (text != config_path)
		ambiguous = false;
	if (b.len > NAME_LEN_MAX || ambiguous) {
		if (b.len > NAME_LEN_MAX - HASH_LEN)
			buf_drop(&b, b.len - (NAME_LEN_MAX - HASH_LEN));
		buf_addf(&b, "-%08x", hash_text(text));
		if (b.p != NULL && b.p[0] == '.')
			b.p[0] = '-';
	}
	return xbuf_take(&b);
}
