/*
 * halt PID: stops another process where it has just made a session of its own, at the end of its next setsid(2), and
 * leaves it so. Says "watching" when that may come.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static int is_after_setsid(pid_t pid)
{
	struct __ptrace_syscall_info info = { 0 };
	static int inside; /* at the entry of it */

	if (ptrace(PTRACE_GET_SYSCALL_INFO, pid, sizeof(info), &info) <= 0)
		return 0;
	if (info.op == PTRACE_SYSCALL_INFO_ENTRY)
		inside = info.entry.nr == SYS_setsid;
	return info.op == PTRACE_SYSCALL_INFO_EXIT && inside;
}

int main(int argc, char **argv)
{
	pid_t pid = argc == 2 ? atoi(argv[1]) : 0;
	int status;

	if (pid <= 0 || ptrace(PTRACE_SEIZE, pid, NULL, PTRACE_O_TRACESYSGOOD) < 0 ||
	    ptrace(PTRACE_INTERRUPT, pid, NULL, NULL) < 0)
		return 1;
	for (int first = 1; waitpid(pid, &status, 0) == pid && WIFSTOPPED(status); first = 0) {
		if (WSTOPSIG(status) == (SIGTRAP | 0x80) && is_after_setsid(pid))
			return kill(pid, SIGSTOP) < 0 || ptrace(PTRACE_DETACH, pid, NULL, NULL) < 0;
		if (ptrace(PTRACE_SYSCALL, pid, NULL, NULL) < 0)
			return 1;
		if (first)
			printf("watching\n");
		fflush(stdout);
	}
	return 1;
}
