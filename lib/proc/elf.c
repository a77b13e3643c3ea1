/*
 * Looking at programs. Files are anybody's: each number in them is checked before it is used, nothing is mapped.
 */
#include "proc/elf.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/cleanup.h"

enum { HEADERS_MAX = 128, PATH_SIZE = 4096 };

/* True: all n bytes. */
static bool read_at(int fd, void *p, size_t n, uint64_t at)
{
	ssize_t r;

	if (at > (uint64_t)INT64_MAX - n)
		return false;
	do
		r = pread(fd, p, n, (off_t)at);
	while (r < 0 && errno == EINTR);
	return r >= 0 && (size_t)r == n;
}

/* ------------------------------------------------------------------------------------------------------- ELF */

/* The same for both classes: their headers differ in the width of the numbers alone. */
struct headers {
	uint64_t at;
	unsigned n, size;
};

static bool read_header(int fd, struct elf_look *look, struct headers *ret)
{
	union {
		Elf32_Ehdr h32;
		Elf64_Ehdr h64;
	} h;
	uint16_t type;

#define TAKE(e)                                                                                    \
	do {                                                                                       \
		type = (e).e_type;                                                                 \
		look->machine = (e).e_machine;                                                     \
		*ret = (struct headers){ (e).e_phoff, (e).e_phnum, (e).e_phentsize };              \
	} while (0)
	if (look->class == ELFCLASS64 && read_at(fd, &h, sizeof(h.h64), 0))
		TAKE(h.h64);
	else if (look->class == ELFCLASS32 && read_at(fd, &h, sizeof(h.h32), 0))
		TAKE(h.h32);
	else
		return false;
#undef TAKE
	return (type == ET_EXEC || type == ET_DYN) && ret->n > 0 && ret->n <= HEADERS_MAX &&
	       ret->size == (look->class == ELFCLASS64 ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr));
}

/* As the kernel has it: an absolute path with its NUL at the end. */
static bool read_interpreter(int fd, uint64_t at, uint64_t size, char text[ELF_INTERPRETER_MAX])
{
	return size >= 2 && size <= ELF_INTERPRETER_MAX && read_at(fd, text, size, at) &&
	       text[0] == '/' && strnlen(text, size) == size - 1;
}

static enum elf_kind look_at_program(int fd, struct elf_look *look)
{
	struct headers h;

	if (!read_header(fd, look, &h))
		return ELF_OTHER;
	for (unsigned i = 0; i < h.n; i++) {
		uint64_t at = h.at + (uint64_t)i * h.size;
		Elf64_Phdr p;
		Elf32_Phdr p32;

		if (look->class == ELFCLASS64) {
			if (!read_at(fd, &p, sizeof(p), at))
				return ELF_OTHER;
		} else {
			if (!read_at(fd, &p32, sizeof(p32), at))
				return ELF_OTHER;
			p.p_type = p32.p_type;
			p.p_offset = p32.p_offset;
			p.p_filesz = p32.p_filesz;
		}
		if (p.p_type != PT_INTERP)
			continue;
		return read_interpreter(fd, p.p_offset, p.p_filesz, look->text) ? ELF_DYNAMIC
										: ELF_OTHER;
	}
	return ELF_STATIC;
}

/* --------------------------------------------------------------------------------------------------- scripts */

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

/* text: the first bytes after "#!", n of them. A line that is longer is none. */
static enum elf_kind take_line(char text[ELF_INTERPRETER_MAX], size_t n)
{
	char *end = memchr(text, '\n', n);
	size_t begin = 0;

	if (end == NULL && n == ELF_INTERPRETER_MAX)
		return ELF_OTHER;
	n = end != NULL ? (size_t)(end - text) : n;
	if (memchr(text, '\0', n) != NULL)
		return ELF_OTHER;
	while (n > 0 && is_blank(text[n - 1]))
		n--;
	while (begin < n && is_blank(text[begin]))
		begin++;
	memmove(text, text + begin, n - begin);
	text[n - begin] = '\0';
	return text[0] == '/' ? ELF_SCRIPT : ELF_OTHER;
}

static enum elf_kind look_at_script(int fd, struct elf_look *look)
{
	ssize_t n = pread(fd, look->text, sizeof(look->text), 2);

	return n > 0 ? take_line(look->text, (size_t)n) : ELF_OTHER;
}

void elf_look(int fd, struct elf_look *ret)
{
	struct elf_look look = { 0 };
	unsigned char begin[EI_NIDENT] = { 0 };

	if (pread(fd, begin, sizeof(begin), 0) < 2) {
		look.kind = ELF_OTHER;
	} else if (begin[0] == '#' && begin[1] == '!') {
		look.kind = look_at_script(fd, &look);
	} else if (memcmp(begin, ELFMAG, SELFMAG) == 0 &&
		   begin[EI_DATA] == (__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? ELFDATA2LSB
										: ELFDATA2MSB)) {
		look.class = begin[EI_CLASS];
		look.kind = look_at_program(fd, &look);
	}
	if (look.kind != ELF_DYNAMIC && look.kind != ELF_SCRIPT)
		look.text[0] = '\0';
	*ret = look;
}

/* ---------------------------------------------------------------------------------------------------- answers */

static bool has_more_rights(int fd, const struct stat *st)
{
	return (st->st_mode & (S_ISUID | S_ISGID)) != 0 ||
	       fgetxattr(fd, "security.capability", NULL, 0) > 0;
}

static bool look_at_path(const char *path, struct elf_look *ret)
{
	AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || has_more_rights(fd, &st))
		return false;
	elf_look(fd, ret);
	return true;
}

/* As execvp(3) looks. */
static bool find_in_path(const char *name, const char *path, char ret[PATH_SIZE])
{
	if (strchr(name, '/') != NULL)
		return snprintf(ret, PATH_SIZE, "%s", name) < PATH_SIZE;
	while (path != NULL && *path != '\0') {
		size_t n = strcspn(path, ":");
		int r = snprintf(ret, PATH_SIZE, "%.*s/%s", (int)n, path, name);

		if (path[0] == '/' && r < PATH_SIZE && access(ret, X_OK) == 0)
			return true;
		path += n + (path[n] == ':');
	}
	return false;
}

/* The program in env's arguments: the first word that is neither an option nor an assignment. NULL: none. */
static char *word_of_env(char *arguments)
{
	char *rest, *word;

	for (word = strtok_r(arguments, " \t", &rest); word != NULL;
	     word = strtok_r(NULL, " \t", &rest))
		if (word[0] != '-' && strchr(word, '=') == NULL)
			return word;
	return NULL;
}

static bool is_env(const char *path)
{
	return strcmp(strrchr(path, '/') + 1, "env") == 0;
}

static bool can_load(const struct elf_look *own, const struct elf_look *look)
{
	return look->kind == ELF_DYNAMIC && look->class == own->class &&
	       look->machine == own->machine && strcmp(look->text, own->text) == 0;
}

static bool ask(const struct elf_look *own, const char *program, const char *path)
{
	char file[PATH_SIZE], line[ELF_INTERPRETER_MAX];
	struct elf_look look;

	if (snprintf(file, sizeof(file), "%s", program) >= (int)sizeof(file))
		return false;
	for (int scripts = 0; look_at_path(file, &look); scripts++) {
		size_t n;

		if (look.kind != ELF_SCRIPT || scripts == ELF_SCRIPTS_MAX)
			return can_load(own, &look);
		memcpy(line, look.text, sizeof(line));
		n = strcspn(line, " \t");
		memcpy(file, line, n);
		file[n] = '\0';
		if (!is_env(file))
			continue;
		if (!look_at_path(file, &look) || !can_load(own, &look) || line[n] == '\0')
			return false;
		program = word_of_env(line + n + 1);
		if (program == NULL || !find_in_path(program, path, file))
			return false;
	}
	return false;
}

static uint32_t hash_of(const char *text)
{
	uint32_t h = 2166136261u; /* FNV-1a */

	for (; text != NULL && *text != '\0'; text++)
		h = (h ^ (unsigned char)*text) * 16777619u;
	return h;
}

static int64_t ns_of(struct timespec t)
{
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static bool is_same(const struct elf_answer *a, const struct elf_answer *b)
{
	return a->known && a->dev == b->dev && a->ino == b->ino && a->size == b->size &&
	       a->mtime_ns == b->mtime_ns && a->ctime_ns == b->ctime_ns &&
	       a->path_hash == b->path_hash;
}

bool elf_can_preload(struct elf_cache *cache, const char *program, const char *path)
{
	struct elf_answer answer = { .known = true }, *kept;
	struct stat st;

	if (!cache->know_own)
		cache->know_own = look_at_path("/proc/self/exe", &cache->own);
	if (!cache->know_own || stat(program, &st) < 0)
		return false;
	answer.dev = st.st_dev;
	answer.ino = st.st_ino;
	answer.size = st.st_size;
	answer.mtime_ns = ns_of(st.st_mtim);
	answer.ctime_ns = ns_of(st.st_ctim); /* changes with its mode and capabilities too */
	answer.path_hash = hash_of(path);
	kept = &cache->answers[(st.st_ino ^ answer.path_hash) % ELF_CACHE_SIZE];
	if (!is_same(kept, &answer)) {
		answer.can = ask(&cache->own, program, path);
		*kept = answer;
	}
	return kept->can;
}
