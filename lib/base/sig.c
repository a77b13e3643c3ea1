/*
 * Signal names and numbers. The real-time names are relative to glibc's SIGRTMIN, which is only known at run time.
 */
#include "base/sig.h"

#include <ctype.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"

static const struct {
	const char *name;
	int sig;
} names[] = {
	{ "HUP", SIGHUP },   { "INT", SIGINT },	      { "QUIT", SIGQUIT }, { "ILL", SIGILL },
	{ "TRAP", SIGTRAP }, { "ABRT", SIGABRT },     { "BUS", SIGBUS },   { "FPE", SIGFPE },
	{ "KILL", SIGKILL }, { "USR1", SIGUSR1 },     { "SEGV", SIGSEGV }, { "USR2", SIGUSR2 },
	{ "PIPE", SIGPIPE }, { "ALRM", SIGALRM },     { "TERM", SIGTERM }, { "STKFLT", SIGSTKFLT },
	{ "CHLD", SIGCHLD }, { "CONT", SIGCONT },     { "STOP", SIGSTOP }, { "TSTP", SIGTSTP },
	{ "TTIN", SIGTTIN }, { "TTOU", SIGTTOU },     { "URG", SIGURG },   { "XCPU", SIGXCPU },
	{ "XFSZ", SIGXFSZ }, { "VTALRM", SIGVTALRM }, { "PROF", SIGPROF }, { "WINCH", SIGWINCH },
	{ "IO", SIGIO },     { "PWR", SIGPWR },	      { "SYS", SIGSYS },   { "CLD", SIGCHLD },
	{ "POLL", SIGIO },   { "IOT", SIGABRT },
};

static int parse_number(const char *text, int min, int max)
{
	char *end;
	long n;

	errno = 0;
	n = strtol(text, &end, 10);
	if (end == text || *end != '\0' || errno != 0 || n < min || n > max)
		return -EINVAL;
	return (int)n;
}

static int parse_realtime(const char *name)
{
	int offset = 0;

	if (strncasecmp(name, "RTMIN", 5) == 0 && (name[5] == '\0' || name[5] == '+')) {
		if (name[5] != '\0')
			offset = parse_number(name + 6, 0, SIGRTMAX - SIGRTMIN);
		return offset < 0 ? offset : SIGRTMIN + offset;
	}
	if (strncasecmp(name, "RTMAX", 5) == 0 && (name[5] == '\0' || name[5] == '-')) {
		if (name[5] != '\0')
			offset = parse_number(name + 6, 0, SIGRTMAX - SIGRTMIN);
		return offset < 0 ? offset : SIGRTMAX - offset;
	}
	return -EINVAL;
}

int sig_parse(const char *text)
{
	char name[32];
	size_t n;

	while (isspace((unsigned char)*text))
		text++;
	n = strlen(text);
	while (n > 0 && isspace((unsigned char)text[n - 1]))
		n--;
	if (n == 0 || n >= sizeof(name))
		return -EINVAL;
	memcpy(name, text, n);
	name[n] = '\0';
	if (isdigit((unsigned char)name[0]))
		return parse_number(name, 0, SIGRTMAX);
	if (strncasecmp(name, "SIG", 3) == 0)
		memmove(name, name + 3, n - 2);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (strcasecmp(names[i].name, name) == 0)
			return names[i].sig;
	return parse_realtime(name);
}

const char *sig_name(int sig)
{
	static char realtime[16];

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (names[i].sig == sig)
			return names[i].name;
	if (sig < SIGRTMIN || sig > SIGRTMAX)
		return NULL;
	snprintf(realtime, sizeof(realtime), "RTMIN+%d", sig - SIGRTMIN);
	return realtime;
}
