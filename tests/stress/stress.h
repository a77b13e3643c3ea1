/*
 * What stress tests have in common: how often and from which seed, chance that the seed repeats, moments that nobody
 * chooses, processes that end with the test, and its own end where something does not hold. Header only, since each file of
 * this folder is a program of its own.
 */
#ifndef TESTS_STRESS_STRESS_H
#define TESTS_STRESS_STRESS_H

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

/* An environment variable as a number. */
static inline uint64_t number_of(const char *variable, uint64_t otherwise)
{
	const char *text = getenv(variable);

	return text != NULL ? strtoull(text, NULL, 10) : otherwise;
}

static uint64_t chance; /* what the next dice() is made of */

/* Less than n. */
static inline unsigned dice_of(uint64_t *state, unsigned n)
{
	*state = *state * 6364136223846793005ULL + 1442695040888963407ULL;
	return (unsigned)(*state >> 33) % n;
}

static inline unsigned dice(unsigned n)
{
	return dice_of(&chance, n);
}

/* STRESS_SEED, or any; it is told, to repeat the run. */
static inline void take_seed(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	chance =
		number_of("STRESS_SEED", (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec);
	printf("STRESS_SEED=%llu\n", (unsigned long long)chance);
	fflush(stdout);
}

/* For the moment of a kill, and for lives that last a while; not to wait for anything. Less than a second. */
static inline void pause_us(unsigned us)
{
	nanosleep(&(struct timespec){ 0, us * 1000L }, NULL);
}

/* What is to be done before the end of a test that fails. */
static void (*at_failure)(void);

__attribute__((noreturn, format(printf, 1, 2))) static inline void fail(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fprintf(stderr, "%s: ", program_invocation_short_name);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
	if (at_failure != NULL)
		at_failure();
	_exit(1); /* what a child has of our buffers is ours to write */
}

/* Of BUILD/stress/NAME, which this program is: its path, and BUILD/mpsup. */
static inline void find_programs(char self[4096], char mpsup[4096])
{
	ssize_t n = readlink("/proc/self/exe", self, 4095);

	self[n > 0 ? n : 0] = '\0';
	strcpy(mpsup, self);
	for (int i = 0; i < 2; i++) {
		char *slash = strrchr(mpsup, '/');

		if (slash != NULL)
			*slash = '\0';
	}
	if (strlen(mpsup) > 4000)
		fail("%s: the path is too long", mpsup);
	strcat(mpsup, "/mpsup");
}

/* fork(2): the child ends with us. */
static inline pid_t fork_own(void)
{
	pid_t pid = fork();

	if (pid < 0)
		fail("fork: %s", strerror(errno));
	if (pid == 0)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	return pid;
}

#endif
