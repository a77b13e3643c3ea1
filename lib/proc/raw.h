/*
 * System calls that answer -errno and touch no errno, for a child that shares our memory while we go on: libc's errno is
 * then one variable for two processes. Where there is no assembler for the machine, RAW_IS_PURE is 0 and such a child
 * is not made. Calling conventions: syscall(2), "Architecture calling conventions".
 */
#ifndef PROC_RAW_H
#define PROC_RAW_H

#include <errno.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#define RAW(x) ((long)(intptr_t)(x))

/* The sanitizers keep books of the stack that runs, and know nothing of a second process in the same memory. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define RAW_IS_WATCHED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define RAW_IS_WATCHED 1
#endif
#ifndef RAW_IS_WATCHED
#define RAW_IS_WATCHED 0
#endif

#if defined(__x86_64__) && defined(__LP64__)
#define RAW_IS_PURE (!RAW_IS_WATCHED)
static inline long raw4(long nr, long a, long b, long c, long d)
{
	register long r10 __asm__("r10") = d;
	long r;

	__asm__ volatile("syscall"
			 : "=a"(r)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10)
			 : "rcx", "r11", "memory");
	return r;
}
#elif defined(__aarch64__)
#define RAW_IS_PURE (!RAW_IS_WATCHED)
static inline long raw4(long nr, long a, long b, long c, long d)
{
	register long x8 __asm__("x8") = nr;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;

	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
	return x0;
}
#else
#define RAW_IS_PURE 0
static inline long raw4(long nr, long a, long b, long c, long d)
{
	long r = syscall(nr, a, b, c, d);

	return r < 0 ? -errno : r;
}
#endif

static inline long raw3(long nr, long a, long b, long c)
{
	return raw4(nr, a, b, c, 0);
}

static inline long raw2(long nr, long a, long b)
{
	return raw4(nr, a, b, 0, 0);
}

static inline long raw1(long nr, long a)
{
	return raw4(nr, a, 0, 0, 0);
}

static inline long raw0(long nr)
{
	return raw4(nr, 0, 0, 0, 0);
}

#endif
