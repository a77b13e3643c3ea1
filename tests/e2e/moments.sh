#!/bin/bash
# The supervisor is killed before each single system call of a reload, one after the other: in the end what runs is one
# configuration or the other, as a whole, and each program once. And what happens while the next supervisor is half there.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
[ -z "${SAN:-}" ] || { echo "a sanitizer's library must be the first that is loaded" && exit 77; }
command -v cc >/dev/null || { echo "no cc" && exit 77; }

# $KILL_AT holds a number: the supervisor that makes so many of the calls below from now on is killed before the last.
# $GATE: one that has begun, and read the state, waits there.
cat >"$T/moments.c" <<'X'
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
static int is_supervisor;
static long left;
__attribute__((constructor)) static void begin(void)
{
	char exe[4096];
	ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
	if (n > 6) {
		exe[n] = 0;
		is_supervisor = getenv("KILL_AT") && !strcmp(exe + n - 6, "/mpsup");
	}
}
static void moment(void)
{
	char text[32] = "";
	int fd;
	if (!is_supervisor)
		return;
	fd = (int)syscall(SYS_openat, AT_FDCWD, getenv("KILL_AT"), O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		left = 0;
		return;
	}
	if (left == 0 && syscall(SYS_read, fd, text, sizeof(text) - 1) > 0)
		left = atol(text);
	syscall(SYS_close, fd);
	if (left > 0 && --left == 0) {
		syscall(SYS_unlinkat, AT_FDCWD, getenv("KILL_AT"), 0);
		syscall(SYS_kill, syscall(SYS_getpid), SIGKILL);
	}
}
#define CALL(type, name, params, args)                          \
	type name params                                        \
	{                                                       \
		static type(*real) params;                      \
		if (!real)                                      \
			real = (type(*) params)dlsym(RTLD_NEXT, #name); \
		moment();                                       \
		return real args;                               \
	}
CALL(ssize_t, sendmsg, (int f, const struct msghdr *m, int g), (f, m, g))
CALL(ssize_t, send, (int f, const void *b, size_t n, int g), (f, b, n, g))
CALL(ssize_t, recvmsg, (int f, struct msghdr *m, int g), (f, m, g))
CALL(ssize_t, pwrite, (int f, const void *b, size_t n, off_t o), (f, b, n, o))
CALL(ssize_t, pwrite64, (int f, const void *b, size_t n, off_t o), (f, b, n, o))
CALL(ssize_t, write, (int f, const void *b, size_t n), (f, b, n))
CALL(ssize_t, read, (int f, void *b, size_t n), (f, b, n))
CALL(ssize_t, splice, (int a, off_t *b, int c, off_t *d, size_t n, unsigned g), (a, b, c, d, n, g))
CALL(int, fallocate, (int f, int m, off_t o, off_t n), (f, m, o, n))
CALL(int, fallocate64, (int f, int m, off_t o, off_t n), (f, m, o, n))
CALL(int, close, (int f), (f))
CALL(int, pipe2, (int *f, int g), (f, g))
CALL(int, unlink, (const char *p), (p))
CALL(int, rename, (const char *p, const char *q), (p, q))
CALL(int, epoll_ctl, (int a, int b, int c, struct epoll_event *e), (a, b, c, e))
/* $OTHER_STATE: the state that was left is in the next format. */
static ssize_t pread_state(int fd, void *to, size_t n, off_t at)
{
	ssize_t r = syscall(SYS_pread64, fd, to, n, at);
	if (at == 0 && r >= 16 && getenv("OTHER_STATE"))
		++*(unsigned *)((char *)to + 8);
	return r;
}
ssize_t pread(int fd, void *to, size_t n, off_t at)
{
	return pread_state(fd, to, n, at);
}
ssize_t pread64(int fd, void *to, size_t n, off_t at)
{
	return pread_state(fd, to, n, at);
}
mode_t umask(mode_t mask)
{
	const char *gate = getenv("GATE");
	char c;
	if (gate) {
		int fd = open(gate, O_RDONLY | O_CLOEXEC);
		if (fd >= 0 && read(fd, &c, 1) < 0)
			c = 0;
		close(fd);
		unsetenv("GATE");
	}
	return (mode_t)syscall(SYS_umask, mask);
}
X
cc -shared -fPIC -o "$T/moments.so" "$T/moments.c" -ldl >"$T/out" 2>"$T/err" || fail "cc"
export MPSUP_NO=crash_limit KILL_AT=$T/kill_at

program() {
  local name=$1
  shift
  printf '%s\n' "[program:$name]" "command=$W --pidfile $T/$name.pids" startsecs=0 "$@" ''
}
fcgi() {
  printf '%s\n' '[fcgi-program:f]' "command=$W --pidfile $T/f.pids" startsecs=0 "socket=unix://$T/$1" ''
}
one() {
  program same
  program other
  program old
  program web numprocs=3 'process_name=%(process_num)d'
  program log "stdout_logfile=$T/log" log_timestamp=true
  fcgi one
}
two() {
  program same stopwaitsecs=3
  program other 'environment=K="1"'
  program new
  program newer log_timestamp=true
  program web numprocs=2 'process_name=%(process_num)d'
  program log stdout_logfile=NONE
  fcgi two
}
one_runs='f log old other same web:0 web:1 web:2'
two_runs='f log new newer other same web:0 web:1'

all_run() { # the names that are all there are, each RUNNING, and no process but theirs
  timeout 5 "$MPSUP" status -c "$CONF" --compat >"$T/status" 2>/dev/null || return 1
  [ "$(awk '{ print $1 }' "$T/status" | sort | paste -sd' ')" = "$1" ] &&
    [ "$(awk '$2 == "RUNNING" { print $4 + 0 }' "$T/status" | sort)" = "$(pgrep -f "^$W" | sort)" ]
}
settled() {
  all_run "$one_runs" || all_run "$two_runs"
}
heard() { # lines of the log before
  tail -n +$(($1 + 1)) "$LOG" | grep -q '^[^ ]* [^ ]* INFO reload: '
}
done_or_again() { # it may be at work still, or never have been read
  all_run "$1" || mps reload >/dev/null 2>&1
}
killed_or_done() {
  [ ! -e "$KILL_AT" ] || all_run "$1"
}

one | config
LD_PRELOAD=$T/moments.so mps start >"$T/out" 2>"$T/err" || fail "mpsup start"
keeper=$(role keeper)
grep -q "$T/moments.so" "/proc/$(role supervisor)/maps" || fail "the supervisor is as it always was"
same=$(pid_of same)

say "killed at any moment of a reload"
# Each run tries some of the calls, from another one on; MOMENTS_STEP=1 tries all.
step=${MOMENTS_STEP:-9}
n=$((-(RANDOM % step)))
left=2
to=one
times=0
while [ $left -gt 0 ]; do
  n=$((n + step))
  if [ $to = one ]; then to=two; else to=one; fi # there and back
  runs=${to}_runs
  was=$(wc -l <"$LOG")
  $to | config
  echo $n >"$T/n"
  mv "$T/n" "$KILL_AT"
  kill -HUP "$keeper"
  must killed_or_done "${!runs}"
  if [ -e "$KILL_AT" ]; then
    rm "$KILL_AT"
    left=$((left - 1))
  fi
  wait_for settled || { cat "$T/status" && fail "killed at call $n of a reload to $to"; }
  [ "$(pid_of same)" = "$same" ] || fail "what is the same was started again, killed at call $n"
  if heard "$was"; then
    wait_for all_run "${!runs}" || { cat "$T/status" && fail "begun, and not done after a kill at call $n"; }
  fi
  must done_or_again "${!runs}"
  must all_run "${!runs}"
  times=$((times + 1))
  for p in other log f; do # which each reload changes
    must n_lines "$T/$p.pids" $((times + 1))
    n_lines "$T/$p.pids" $((times + 2)) && fail "$p was started twice, killed at call $n"
  done
done
say "  which were $n"
[ $n -gt 30 ] || fail "that was no reload"
shutdown_mpsup

say "killed at any moment of the end"
n=$((-(RANDOM % step)))
killed=yes
one | config
while [ -n "$killed" ]; do
  n=$((n + step))
  LD_PRELOAD=$T/moments.so mps start >"$T/out" 2>"$T/err" || fail "mpsup start"
  : >"$LOG"
  echo $n >"$T/n"
  mv "$T/n" "$KILL_AT"
  kill -TERM "$(role keeper)"
  must nothing_left
  killed=
  if [ -e "$KILL_AT" ]; then rm "$KILL_AT"; else killed=yes; fi
  contains "$LOG" 'killing everything' && fail "TERM was heard twice, killed at call $n"
done
say "  which were $n"
[ $n -gt 10 ] || fail "that was no end"

say "a reload while the next supervisor has read what is in force"
cp "$T/bin/mpsup" "$T/good"
cp "$T/bin/mpsup-host" "$T/"
MPSUP=$T/good
mkfifo "$T/gate"
install_next() { # NAME=VALUE: how it is disturbed
  supervisor=$(role supervisor)
  printf '#!/bin/sh\nLD_PRELOAD=%s %s exec %s "$@"\n' "$T/moments.so" "$1" "$T/good" >"$T/bin/next"
  chmod 755 "$T/bin/next"
  mv "$T/bin/next" "$T/bin/mpsup"
}
upgrade() { # to one that has read the state, and waits
  install_next "GATE=$T/gate"
  "$MPSUP" upgrade -c "$CONF" >"$T/upgrade" 2>&1 &
  upgrading=$!
  exec 7>"$T/gate" # who opens it for reading has come so far
}
go_on() {
  exec 7>&-
  wait $upgrading
}
unset KILL_AT
one | config
"$T/bin/mpsup" start -c "$CONF" >"$T/out" 2>"$T/err" || fail "mpsup start"
keeper=$(role keeper)
same=$(pid_of same)
upgrade
two | config
kill -HUP "$keeper"
must contains "$LOG" 'received SIGHUP indicating reload request'
mps_expect 1 reload
contains "$T/err" 'an upgrade is under way' || fail "$(cat "$T/err")"
mps_expect 0 reload --dry-run
go_on || fail "upgrade: $(cat "$T/upgrade")"
must all_run "$two_runs"
[ "$(pid_of same)" = "$same" ] || fail "what is the same was started again"

say "one that had begun before, and a next supervisor that fails"
printf '%s\n' "[program:deaf]" "command=$W --ignore TERM --pidfile $T/deaf" startsecs=0 stopwaitsecs=60 >"$T/deaf.conf"
{ two && cat "$T/deaf.conf"; } | config
mps_expect 0 reload
must n_lines "$T/deaf" 1
one | config
mps_expect 0 reload --no-wait
upgrade
kill -KILL "$(cat "$T/deaf")"
must gone "$(cat "$T/deaf")"
in_state old RUNNING && fail "the reload was completed although another supervisor had read the old configuration"
kill -KILL "$(pgrep -P "$keeper" -f '^mpsup: supervisor' | grep -vx "$supervisor")"
go_on && fail "the upgrade was no failure"
must all_run "$one_runs"
[ "$(pid_of same)" = "$same" ] || fail "what is the same was started again"

say "one that reads another format of the state"
install_next OTHER_STATE=1
mps_expect 1 upgrade
contains "$T/err" 'the state is in format [0-9]+, this mpsup .* reads format [0-9]+' || fail "$(cat "$T/err")"
[ "$(role supervisor)" = "$supervisor" ] || fail "another supervisor"
[ "$(pid_of same)" = "$same" ] || fail "what is the same was started again"

say "a shutdown while the next supervisor is half there"
upgrade
kill -TERM "$keeper"
must contains "$LOG" 'received SIGTERM indicating exit request'
exec 7>&-
wait $upgrading
must -t 5 nothing_left
