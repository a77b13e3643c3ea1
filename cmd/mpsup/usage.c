/*
 * How figures of a process are written. See usage.h.
 */
#include "mpsup/usage.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/utf8.h"
#include "proc/tree.h"

#define COMMAND_MAX 4096

void usage_format_cpu(char *to, size_t size, double cpu)
{
	snprintf(to, size, cpu < 99.95 ? "%.1f%%" : "%.0f%%", cpu);
}

void usage_format_size(char *to, size_t size, uint64_t bytes)
{
	static const char units[] = "KMGTPE";
	double n = (double)bytes / 1024;
	size_t i = 0;

	while (n >= 1023.5 && i + 2 < sizeof(units)) {
		n /= 1024;
		i++;
	}
	snprintf(to, size, n < 9.95 && i > 1 ? "%.1f%c" : "%.0f%c", n, units[i]);
}

void usage_format_span(char *to, size_t size, double seconds)
{
	unsigned long long s = seconds > 0 ? (unsigned long long)seconds : 0;
	unsigned h = (unsigned)(s / 3600 % 24), m = (unsigned)(s / 60 % 60);

	if (s >= 86400)
		snprintf(to, size, "%llu-%02u:%02u:%02u", s / 86400, h, m, (unsigned)(s % 60));
	else
		snprintf(to, size, "%02u:%02u:%02u", h, m, (unsigned)(s % 60));
}

void usage_add_command(struct buf *b, pid_t pid)
{
	char path[32], text[COMMAND_MAX];
	AUTO_CLOSE int fd = -1;
	struct proc_stat st;
	ssize_t n = 0;

	snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0)
		n = read(fd, text, sizeof(text));
	while (n > 0 && text[n - 1] == '\0')
		n--;
	for (ssize_t i = 0; i < n; i++)
		if (text[i] == '\0' || text[i] == '\n')
			text[i] = ' ';
	if (n > 0) {
		utf8_add_clean(b, text, (size_t)n);
		return;
	}
	if (proc_stat_read(pid, &st) < 0)
		return;
	buf_addc(b, '[');
	utf8_add_clean(b, st.comm, strlen(st.comm));
	buf_addc(b, ']');
}
