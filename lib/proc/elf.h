/*
 * Can the dynamic loader load our shim into a program? Asked before LD_PRELOAD is set, so that ld.so never has a reason to
 * complain to a program's standard error: of a static one it would not be loaded, of another machine or libc it warns.
 */
#ifndef PROC_ELF_H
#define PROC_ELF_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * The file to put into LD_PRELOAD, beside mpsup-host: a link to libmpsup-preload.so. A program whose AddressSanitizer is a
 * shared object ends at once when another comes before that in the list of libraries, unless "libasan.so" is part of its
 * path; and one that has it built in ends when such a file is mapped, which is known by its real name. Since LD_PRELOAD is
 * inherited this matters where no header was looked at. (A folder with a blank or ':' in its name cannot be in LD_PRELOAD.)
 */
#define ELF_SHIM "libmpsup-preload.before-libasan.so"

enum {
	ELF_INTERPRETER_MAX = 256, /* bytes of PT_INTERP or of a "#!" line, with the NUL */
	ELF_SCRIPTS_MAX = 4,	   /* scripts whose interpreter is a script */
};

/* What a file begins with. */
enum elf_kind {
	ELF_OTHER,   /* none that we know, or one that is no sound program */
	ELF_DYNAMIC, /* text: its PT_INTERP */
	ELF_STATIC,
	ELF_SCRIPT, /* text: what follows "#!", without blanks at its ends */
};

struct elf_look {
	enum elf_kind kind;
	uint8_t class;	  /* EI_CLASS */
	uint16_t machine; /* e_machine */
	char text[ELF_INTERPRETER_MAX];
};

/* Reads at most 16 KiB, from anywhere in the file. Whatever cannot be read is ELF_OTHER. */
void elf_look(int fd, struct elf_look *ret);

enum { ELF_CACHE_SIZE = 256 };

/* Answers of before, by file. Zeroed = none. */
struct elf_cache {
	bool know_own;
	struct elf_look own; /* this process's program */
	struct elf_answer {
		dev_t dev;
		ino_t ino;
		off_t size;
		int64_t mtime_ns, ctime_ns;
		uint32_t path_hash;
		bool known, can;
	} answers[ELF_CACHE_SIZE];
};

/*
 * `program` is a path as execve(2) gets it, `path` the PATH by which "#!/usr/bin/env NAME" will look (NULL: none). A
 * script's interpreters are looked at in its place; each of them must be such that it can, and of env(1) also what it
 * runs. False for what has more rights than who starts it (set-user-ID, file capabilities: ld.so ignores us there), what
 * this process may not read, and a relative interpreter. One stat(2) where the same file was asked about before.
 */
bool elf_can_preload(struct elf_cache *cache, const char *program, const char *path);

#endif
