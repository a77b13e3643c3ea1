/*
 * As much of Criterion as the unit tests use, for `make musl`: it is there for glibc only. A test is a process of its own.
 */
#ifndef SCRIPTS_MUSL_CRITERION_H
#define SCRIPTS_MUSL_CRITERION_H

#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct cr_test {
	const char *suite, *name;
	void (*run)(void), (*init)(void), (*fini)(void);
	int signal, exit_code;
	double timeout;
	bool disabled;
	const char *description;
	struct cr_test *next;
};

static struct cr_test *cr_tests, *cr_suites;
static bool cr_failed;

enum { CR_SKIPPED = 77 };

#define CR_ADD(list, id, ...)                                                                      \
	static struct cr_test id = { __VA_ARGS__ };                                                \
	__attribute__((constructor)) static void id##_add(void)                                    \
	{                                                                                          \
		id.next = list;                                                                    \
		list = &id;                                                                        \
	}

#define TestSuite(s, ...) CR_ADD(cr_suites, cr_suite_##s, .suite = #s, ##__VA_ARGS__)
#define Test(s, n, ...)                                                                            \
	static void cr_run_##s##_##n(void);                                                        \
	CR_ADD(cr_tests, cr_test_##s##_##n, .suite = #s, .name = #n, .run = cr_run_##s##_##n,      \
	       ##__VA_ARGS__)                                                                      \
	static void cr_run_##s##_##n(void)

__attribute__((format(printf, 4, 5))) static inline void cr_say(const char *file, int line,
								const char *what, const char *fmt,
								...)
{
	va_list ap;

	cr_failed = true;
	fprintf(stderr, "%s:%d: %s ", file, line, what);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

#define CR_CHECK(must, c, what, ...)                                                               \
	do {                                                                                       \
		if (!(c)) {                                                                        \
			cr_say(__FILE__, __LINE__, what, "" __VA_ARGS__);                          \
			if (must)                                                                  \
				_exit(1);                                                          \
		}                                                                                  \
	} while (0)
#define CR_TWO(must, a, op, b, ...) CR_CHECK(must, (a)op(b), #a " " #op " " #b, ##__VA_ARGS__)
#define CR_STR(must, a, op, b, ...)                                                                \
	CR_CHECK(must, strcmp(a, b) op 0, #a " " #op " " #b, ##__VA_ARGS__)

#define cr_expect(c, ...) CR_CHECK(false, c, #c, ##__VA_ARGS__)
#define cr_assert(c, ...) CR_CHECK(true, c, #c, ##__VA_ARGS__)
#define cr_expect_not(c, ...) CR_CHECK(false, !(c), "not " #c, ##__VA_ARGS__)
#define cr_assert_not(c, ...) CR_CHECK(true, !(c), "not " #c, ##__VA_ARGS__)
#define cr_expect_null(p, ...) CR_CHECK(false, (p) == NULL, #p, ##__VA_ARGS__)
#define cr_assert_null(p, ...) CR_CHECK(true, (p) == NULL, #p, ##__VA_ARGS__)
#define cr_expect_not_null(p, ...) CR_CHECK(false, (p) != NULL, #p, ##__VA_ARGS__)
#define cr_assert_not_null(p, ...) CR_CHECK(true, (p) != NULL, #p, ##__VA_ARGS__)
#define cr_expect_eq(a, b, ...) CR_TWO(false, a, ==, b, ##__VA_ARGS__)
#define cr_assert_eq(a, b, ...) CR_TWO(true, a, ==, b, ##__VA_ARGS__)
#define cr_expect_neq(a, b, ...) CR_TWO(false, a, !=, b, ##__VA_ARGS__)
#define cr_assert_neq(a, b, ...) CR_TWO(true, a, !=, b, ##__VA_ARGS__)
#define cr_expect_lt(a, b, ...) CR_TWO(false, a, <, b, ##__VA_ARGS__)
#define cr_assert_lt(a, b, ...) CR_TWO(true, a, <, b, ##__VA_ARGS__)
#define cr_expect_leq(a, b, ...) CR_TWO(false, a, <=, b, ##__VA_ARGS__)
#define cr_assert_leq(a, b, ...) CR_TWO(true, a, <=, b, ##__VA_ARGS__)
#define cr_expect_gt(a, b, ...) CR_TWO(false, a, >, b, ##__VA_ARGS__)
#define cr_assert_gt(a, b, ...) CR_TWO(true, a, >, b, ##__VA_ARGS__)
#define cr_expect_geq(a, b, ...) CR_TWO(false, a, >=, b, ##__VA_ARGS__)
#define cr_assert_geq(a, b, ...) CR_TWO(true, a, >=, b, ##__VA_ARGS__)
#define cr_expect_str_eq(a, b, ...) CR_STR(false, a, ==, b, ##__VA_ARGS__)
#define cr_assert_str_eq(a, b, ...) CR_STR(true, a, ==, b, ##__VA_ARGS__)
#define cr_expect_str_neq(a, b, ...) CR_STR(false, a, !=, b, ##__VA_ARGS__)
#define cr_assert_str_neq(a, b, ...) CR_STR(true, a, !=, b, ##__VA_ARGS__)
#define cr_expect_str_empty(a, ...) CR_CHECK(false, *(a) == '\0', #a, ##__VA_ARGS__)
#define cr_assert_str_empty(a, ...) CR_CHECK(true, *(a) == '\0', #a, ##__VA_ARGS__)
#define cr_expect_str_not_empty(a, ...) CR_CHECK(false, *(a) != '\0', #a, ##__VA_ARGS__)
#define cr_expect_arr_eq(a, b, n, ...) CR_CHECK(false, memcmp(a, b, n) == 0, #a, ##__VA_ARGS__)
#define cr_assert_arr_eq(a, b, n, ...) CR_CHECK(true, memcmp(a, b, n) == 0, #a, ##__VA_ARGS__)
#define cr_assert_fail(...) CR_CHECK(true, false, "reached", ##__VA_ARGS__)
#define cr_skip(...) _exit(CR_SKIPPED)
#define cr_skip_test(...) _exit(CR_SKIPPED)
#define cr_log_info(...) ((void)0)
#define cr_log_warn(...) ((void)0)

static inline void cr_run(const struct cr_test *t)
{
	for (struct cr_test *s = cr_suites; s != NULL; s = s->next)
		if (strcmp(s->suite, t->suite) == 0 && s->init != NULL)
			s->init();
	if (t->init != NULL)
		t->init();
	alarm(t->timeout > 0 ? (unsigned)t->timeout : 60);
	t->run();
	if (t->fini != NULL)
		t->fini();
	for (struct cr_test *s = cr_suites; s != NULL; s = s->next)
		if (strcmp(s->suite, t->suite) == 0 && s->fini != NULL)
			s->fini();
	exit(cr_failed);
}

/* A test's constructor, which has no arguments with musl. */
__attribute__((weak)) void be_an_image(int argc, char **argv);

/* The library has its say first (target.c), so this is no place for anything else. */
int main(int argc, char **argv)
{
	unsigned passed = 0, failed = 0, skipped = 0;

	if (be_an_image != NULL)
		be_an_image(argc, argv);
	for (struct cr_test *t = cr_tests; t != NULL; t = t->next) {
		char name[256];
		int status = -1;
		bool good;
		pid_t pid;

		snprintf(name, sizeof(name), "%s::%s", t->suite, t->name);
		if (strstr(getenv("LEFT_OUT") != NULL ? getenv("LEFT_OUT") : "", name) != NULL) {
			skipped++;
			continue;
		}
		fflush(NULL);
		pid = fork();
		if (pid == 0)
			cr_run(t);
		waitpid(pid, &status, 0);
		if (WIFEXITED(status) && WEXITSTATUS(status) == CR_SKIPPED) {
			skipped++;
			continue;
		}
		good = t->signal != 0 ? WIFSIGNALED(status) && WTERMSIG(status) == t->signal
				      : WIFEXITED(status) && WEXITSTATUS(status) == t->exit_code;
		passed += good;
		failed += !good;
		if (!good)
			fprintf(stderr, "[FAIL] %s::%s (status 0x%x)\n", t->suite, t->name, status);
	}
	printf("%u passed, %u failed, %u skipped\n", passed, failed, skipped);
	return failed != 0;
}

#endif
