#!/bin/bash
# The tracker of programs without a supervisor, as they are built by others: with the shared library, from a folder as
# make install makes it. And under a supervisor, whose tracker it is then.
ALONE=1
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

case ${SAN:-} in *address* | *thread*)
  echo "not with a sanitizer: the program would have to have it too"
  exit 77
  ;;
esac
N=mpst$$
mkdir -p "$T/root/lib" "$T/root/libexec/mpsup"
cp -P "$B"/libmpsup.so* "$T/root/lib/" && cp "$B/mpsup-host" "$T/root/libexec/mpsup/" || exit 1
cat >"$T/p.c" <<'X2'
#include <mpsup.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* p NAME...: makes them, says how that went, and waits for the end of its input. A "-" waits for a line. */
int main(int argc, char **argv)
{
	char line[64];
	int r = 0;

	for (int i = 1; i < argc && r == 0; i++) {
		struct mps_shm *shm;

		if (strcmp(argv[i], "-") == 0) {
			puts("ready");
			fflush(stdout);
			if (fgets(line, sizeof(line), stdin) == NULL)
				return 0;
			continue;
		}
		r = mps_shm_create(argv[i], 4096, &shm);
		if (r == 0)
			mps_shm_close(shm);
	}
	printf("%d\n", r);
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin) != NULL)
		;
	return r != 0;
}
X2
cc -I lib -o "$T/p" "$T/p.c" -L "$T/root/lib" -lmpsup -Wl,-rpath,"$T/root/lib" || fail "it does not build"
there() { [ -e "/dev/shm/$1" ]; }
is_not_there() { [ ! -e "/dev/shm/$1" ]; }
base=${XDG_RUNTIME_DIR:-/tmp}/mpsup
[ "$(id -u)" != 0 ] || base=/run/mpsup
folder() { echo "$base/track-$1."*; }
tracker() { awk 'NR == 1 { print $4 }' "$(folder "$1")/ipc.journal"; }
is_over() { [ ! -d "$(folder "$1")" ]; }
begin() { # names
  rm -f "$T/in" "$T/said"
  mkfifo "$T/in"
  unset MPSUP_HOST
  "$T/p" "$@" <"$T/in" >"$T/said" &
  pid=$!
  exec 9>"$T/in"
}

say "it is found from an installed library, and cleans up after a kill"
begin "$N-a:b" "$N-c"
must contains "$T/said" '^0$'
there "$N-a:b" || fail "nothing was made"
t=$(tracker $pid)
[ "$(tr '\0' ' ' <"/proc/$t/cmdline" | head -c 23)" = "mpsup: tracker of pid $(echo $pid | head -c 1)" ] || fail "$(tr '\0' ' ' <"/proc/$t/cmdline")"
[ "$(ps -o sid= -p "$t" | tr -d ' ')" = "$t" ] || fail "no session of its own"
kill -9 $pid
wait $pid 2>/dev/null
must is_not_there "$N-a:b"
must is_not_there "$N-c"
must is_over $pid
must gone "$t"

say "what ends a whole group of processes does not end it"
begin "$N-a"
must contains "$T/said" '^0$'
t=$(tracker $pid)
kill -TERM "$t"
kill -INT "$t"
kill -HUP "$t"
kill -9 $pid
wait $pid 2>/dev/null
must is_not_there "$N-a"
must is_over $pid

say "killed between two creations, it is followed by one that knows of both"
begin "$N-a" - "$N-b"
must contains "$T/said" ready
t=$(tracker $pid)
kill -9 "$t"
must gone "$t"
echo >&9
must contains "$T/said" '^0$'
[ "$(tracker $pid)" != "$t" ] || fail "there is no other one"
kill -9 $pid
wait $pid 2>/dev/null
must is_not_there "$N-a"
must is_not_there "$N-b"
must is_over $pid

say "mpsup ipc clean leaves alone what a living program has, and cleans up when all was killed"
begin "$N-a"
must contains "$T/said" '^0$'
t=$(tracker $pid)
kill -9 "$t"
must gone "$t"
expect 0 "$MPSUP" ipc clean
there "$N-a" || fail "it is gone"
kill -9 $pid
wait $pid 2>/dev/null
expect 0 "$MPSUP" ipc clean
contains "$T/out" "/$N-a" || fail "it is not told of"
is_not_there "$N-a" || fail "it is still there"
is_over $pid || fail "its folder is still there"

say "an orderly end is an end too; nothing is left"
begin "$N-a"
must contains "$T/said" '^0$'
exec 9>&-
wait $pid || fail "exit status $?"
must is_not_there "$N-a"
must is_over $pid

say "under a supervisor it is the supervisor's"
cp "$B/libmpsup-preload.so" "$T/bin/" || exit 1
config <<X2
[program:p]
command=bash -c 'exec $T/p $N-s <$T/never >$T/said'
startsecs=0
autorestart=false
X2
rm -f "$T/said"
mkfifo "$T/never"
exec 8<>"$T/never"
start_mpsup
must contains "$T/said" '^0$'
pid=$(pid_of p)
is_over "$pid" || fail "it has one of its own"
kill -9 "$pid"
must is_not_there "$N-s"
shutdown_mpsup
finish
