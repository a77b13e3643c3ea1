/*
 * Bytes are a program that is about to be started. What is found in it is within its bounds, and the same each time.
 */
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "poke.h"
#include "proc/elf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int fd = -1;
	struct elf_look look, again;
	bool has_text;

	if (fd < 0)
		fd = memfd_create("fuzz", MFD_CLOEXEC);
	MUST(fd >= 0 && ftruncate(fd, 0) == 0);
	MUST(pwrite(fd, data, size, 0) == (ssize_t)size);
	memset(&look, 0xff, sizeof(look));
	memset(&again, 0, sizeof(again));
	elf_look(fd, &look);
	elf_look(fd, &again);
	has_text = look.kind == ELF_DYNAMIC || look.kind == ELF_SCRIPT;
	MUST(memchr(look.text, '\0', sizeof(look.text)) != NULL);
	MUST(look.text[0] == (has_text ? '/' : '\0'));
	MUST(strchr(look.text, '\n') == NULL || look.kind == ELF_DYNAMIC);
	MUST(look.kind == again.kind && strcmp(look.text, again.text) == 0);
	MUST(look.kind != ELF_SCRIPT || (data[0] == '#' && data[1] == '!'));
	MUST(look.kind != ELF_STATIC || data[0] == 0x7f);
	return 0;
}
