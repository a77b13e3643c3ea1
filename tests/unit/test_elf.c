/*
 * Which programs can load our shim: by what they begin with, through their interpreters, by their rights; and what is
 * known of them from before.
 */
#include <criterion/criterion.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "proc/elf.h"

/* A program with one program header. */
struct image {
	Elf64_Ehdr h;
	Elf64_Phdr p;
	char text[300];
};

static struct image sound(void)
{
	static const char loader[] = "/lib64/ld-linux-x86-64.so.2";
	struct image i = { 0 };

	memcpy(i.h.e_ident, ELFMAG, SELFMAG);
	i.h.e_ident[EI_CLASS] = ELFCLASS64;
	i.h.e_ident[EI_DATA] = ELFDATA2LSB;
	i.h.e_type = ET_DYN;
	i.h.e_machine = EM_X86_64;
	i.h.e_phoff = sizeof(i.h);
	i.h.e_phnum = 1;
	i.h.e_phentsize = sizeof(i.p);
	i.p.p_type = PT_INTERP;
	i.p.p_offset = offsetof(struct image, text);
	i.p.p_filesz = sizeof(loader);
	strcpy(i.text, loader);
	return i;
}

static enum elf_kind look_at(const void *p, size_t n, struct elf_look *ret)
{
	AUTO_CLOSE int fd = memfd_create("program", MFD_CLOEXEC);

	cr_assert_eq(write(fd, p, n), (ssize_t)n);
	elf_look(fd, ret);
	return ret->kind;
}

Test(elf, a_header_says_whether_it_is_dynamic)
{
	struct image i = sound();
	struct elf_look l;

	cr_assert_eq(look_at(&i, sizeof(i), &l), ELF_DYNAMIC);
	cr_assert_str_eq(l.text, "/lib64/ld-linux-x86-64.so.2");
	cr_assert(l.class == ELFCLASS64 && l.machine == EM_X86_64);
	i.p.p_type = PT_LOAD;
	cr_assert_eq(look_at(&i, sizeof(i), &l), ELF_STATIC);
	cr_assert_str_empty(l.text);
}

#define BAD(change)                                                                                \
	do {                                                                                       \
		struct image i = sound();                                                          \
		struct elf_look l;                                                                 \
		change;                                                                            \
		cr_expect_eq(look_at(&i, sizeof(i), &l), ELF_OTHER, "%s", #change);                \
		cr_expect_str_empty(l.text);                                                       \
	} while (0)

Test(elf, a_header_that_lies_is_of_no_program)
{
	BAD(i.h.e_ident[EI_DATA] = ELFDATA2MSB);
	BAD(i.h.e_ident[EI_CLASS] = 3);
	BAD(i.h.e_ident[0] = 0);
	BAD(i.h.e_type = ET_REL);
	BAD(i.h.e_phnum = 0);
	BAD(i.h.e_phnum = 0xffff);
	BAD((i.p.p_type = PT_LOAD, i.h.e_phnum = 100)); /* the file ends before */
	BAD(i.h.e_phentsize = 1);
	BAD(i.h.e_phoff = UINT64_MAX);
	BAD(i.h.e_phoff = INT64_MAX - 10);
	BAD(i.p.p_offset = UINT64_MAX - 3);
	BAD(i.p.p_filesz = 0);
	BAD(i.p.p_filesz = 257);
	BAD(i.p.p_filesz = UINT64_MAX);
	BAD(i.p.p_filesz--);
	BAD(i.p.p_filesz++);
	BAD(i.text[0] = 'l');
}

Test(elf, a_script_names_its_interpreter)
{
	static const struct {
		const char *text, *line;
	} rows[] = {
		{ "#!/bin/sh\n", "/bin/sh" },
		{ "#!/bin/sh", "/bin/sh" },
		{ "#! \t/bin/sh -e \t\nexit", "/bin/sh -e" },
		{ "#!bin/sh\n", NULL },
		{ "#!\n", NULL },
		{ "#! \n/bin/sh\n", NULL },
		{ "#", NULL },
		{ "", NULL },
	};
	char big[300] = "#!/";
	struct elf_look l;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		cr_expect_eq(look_at(rows[i].text, strlen(rows[i].text), &l),
			     rows[i].line != NULL ? ELF_SCRIPT : ELF_OTHER, "%s", rows[i].text);
		cr_expect_str_eq(l.text, rows[i].line != NULL ? rows[i].line : "");
	}
	cr_expect_eq(look_at("#!/bin/\0sh\n", 11, &l), ELF_OTHER);
	memset(big + 3, 'a', 254);
	cr_expect_eq(look_at(big, 257, &l), ELF_SCRIPT);
	cr_expect_eq(look_at(big, 258, &l), ELF_OTHER);
}

/* ---------------------------------------------------------------------------------------------------- answers */

struct scene {
	char folder[32], file[64], other[64], own[4096];
	struct elf_cache cache;
};

static void put(const char *path, const char *text, mode_t mode)
{
	AUTO_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0700);

	cr_assert(fd >= 0, "%s: %s", path, strerror(errno));
	cr_assert_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	cr_assert_eq(fchmod(fd, mode), 0);
}

/* Of this test itself: sure to be a program that can. */
static void copy_self(const char *path, mode_t mode)
{
	AUTO_CLOSE int in = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	AUTO_CLOSE int out = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0700);
	char buf[1 << 16];
	ssize_t n;

	while ((n = read(in, buf, sizeof(buf))) > 0)
		cr_assert_eq(write(out, buf, (size_t)n), n);
	cr_assert_eq(fchmod(out, mode), 0);
}

static void begin(struct scene *s)
{
	ssize_t n = readlink("/proc/self/exe", s->own, sizeof(s->own) - 1);

	memset(&s->cache, 0, sizeof(s->cache));
	cr_assert(n > 0);
	s->own[n] = '\0';
	strcpy(s->folder, "/tmp/mpsup-test.XXXXXX");
	cr_assert_not_null(mkdtemp(s->folder));
	snprintf(s->file, sizeof(s->file), "%s/file", s->folder);
	snprintf(s->other, sizeof(s->other), "%s/other", s->folder);
}

static void end(const struct scene *s)
{
	unlink(s->file);
	unlink(s->other);
	cr_expect_eq(rmdir(s->folder), 0);
}

static bool can(struct scene *s, const char *program)
{
	return elf_can_preload(&s->cache, program, s->folder);
}

static void set_script(const char *path, const char *interpreter, const char *arguments)
{
	char text[5000];

	snprintf(text, sizeof(text), "#!%s%s\n", interpreter, arguments);
	unlink(path);
	put(path, text, 0755);
}

Test(elf, a_program_like_ourselves_can)
{
	const char *b = getenv("B");
	char fixed[4096];
	struct scene s;

	begin(&s);
	snprintf(fixed, sizeof(fixed), "%s/e2e/worker", b != NULL ? b : "build/gcc");
	cr_expect(can(&s, "/bin/sh"));
	cr_expect(can(&s, s.own));
	cr_expect_not(can(&s, fixed), "it is static");
	cr_expect_not(can(&s, "/nonexistent"));
	cr_expect_not(can(&s, s.folder));
	cr_expect_not(can(&s, "/dev/null"));
	cr_expect_not(can(&s, "/etc/passwd"));
	end(&s);
}

Test(elf, a_script_can_if_its_interpreters_can)
{
	struct scene s;

	begin(&s);
	set_script(s.file, "/bin/sh", " -e");
	cr_expect(can(&s, s.file));
	set_script(s.file, "/nonexistent", "");
	cr_expect_not(can(&s, s.file));
	set_script(s.other, "/bin/sh", "");
	set_script(s.file, s.other, " x");
	cr_expect(can(&s, s.file));
	set_script(s.file, s.file, "");
	cr_expect_not(can(&s, s.file), "without end");
	end(&s);
}

Test(elf, env_looks_in_the_path_that_it_is_given)
{
	static const struct {
		const char *arguments;
		bool can;
	} rows[] = {
		{ " other", true },	   { " -S other -u", true }, { " -S A=b other", true },
		{ " nonexistent", false }, { " ../other", false },   { "", false },
		{ " -i", false },	   { " /bin/sh", true },
	};
	struct scene s;

	begin(&s);
	set_script(s.other, "/bin/sh", "");
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		set_script(s.file, "/usr/bin/env", rows[i].arguments);
		cr_expect_eq(can(&s, s.file), rows[i].can, "env%s", rows[i].arguments);
	}
	set_script(s.file, "/usr/bin/env", " other");
	cr_expect(can(&s, s.file));
	cr_expect_not(elf_can_preload(&s.cache, s.file, "/nonexistent:relative:"));
	cr_expect_not(elf_can_preload(&s.cache, s.file, NULL));
	cr_expect(can(&s, s.file));
	end(&s);
}

Test(elf, one_with_more_rights_cannot)
{
	/* cap_net_raw+p, struct vfs_cap_data of version 2 */
	static const unsigned char caps[20] = { 0, 0, 0, 2, 0, 0x20 };
	struct scene s;

	begin(&s);
	copy_self(s.file, 0755);
	cr_expect(can(&s, s.file));
	cr_assert_eq(chmod(s.file, 04755), 0);
	cr_expect_not(can(&s, s.file), "set-user-ID, and not the answer of before");
	cr_assert_eq(chmod(s.file, 02755), 0);
	cr_expect_not(can(&s, s.file), "set-group-ID");
	cr_assert_eq(chmod(s.file, 0755), 0);
	cr_expect(can(&s, s.file));
	if (setxattr(s.file, "security.capability", caps, sizeof(caps), 0) == 0)
		cr_expect_not(can(&s, s.file), "capabilities");
	end(&s);
}

Test(elf, what_is_known_of_a_file_is_not_asked_again)
{
	struct scene s;

	begin(&s);
	set_script(s.other, "/bin/sh", "");
	set_script(s.file, s.other, "");
	cr_expect(can(&s, s.file));
	unlink(s.other);
	cr_expect(can(&s, s.file), "it has not been looked at again");
	cr_assert_eq(chmod(s.file, 0700), 0);
	cr_expect_not(can(&s, s.file), "it has changed");
	end(&s);
}
