#!/bin/bash
# The examples do what is said of them: supervisor.ini.example, and the programs of mpsup-worker(7).
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
here=$(cd "$(dirname "$0")/../.." && pwd) || exit 1

info() { # name
  mps status --json "$1" | python3 -c 'import json, sys
print(json.load(sys.stdin)["processes"][0]["info"])'
}

info_is() { # name, pattern
  info "$1" | grep -qE "$2"
}

# The Nth block of code of mpsup-worker(7).
block() {
  awk -v n="$1" '/^\.Sh EXAMPLES/ { on = 1 } /^\.Bd/ && on { i++; next } /^\.Ed/ { if (i == n) exit } on && i == n' \
    "$here/man/mpsup-worker.7" | sed 's/\\e/\\/g'
}

say "supervisor.ini.example: a pipe, and a shell script that says when it is ready and how it is"
sed "s,^identifier.*,identifier = $ID,; s,%(here)s/build,$T/bin," "$here/supervisor.ini.example" >"$CONF"
mkdir "$T/bin/examples" && ln -s "$B/examples/collect.so" "$T/bin/examples/"
start_mpsup
in_state till RUNNING || fail "till is $(state till)"
must info_is till '^orders paid: [1-9]'
mps_expect 0 pipes
contains "$T/out" '^sales +stream +open .* orders +till$' || fail "pipes: $(cat "$T/out")"
mps_expect 0 signal KILL till
must info_is till '^orders paid: 1(;|$)' # one that has been started again, and the pipe was still there
say "supervisor.ini.example: a function of a shared object, by a forkserver that has loaded it"
must in_state ledger RUNNING
mps_expect 0 status ledger
contains "$T/out" 'forkserver +default, pid [1-9][0-9]*, 1 started; has loaded .*/collect\.so' || fail "status: $(cat "$T/out")"
shutdown_mpsup

say "mpsup-worker(7): the shell scripts, and the program in C"
block 1 >"$T/watcher"
block 2 >"$T/shares"
block 3 >"$T/waits.c"
for f in watcher shares waits.c; do [ -s "$T/$f" ] || fail "$f is not found"; done
chmod 755 "$T/watcher" "$T/shares"
expect 0 cc -Wall -Wextra -Werror -O2 -o "$T/bin/waits" "$T/waits.c"
# What it calls: something to prepare, and a wait for a file, here for a FIFO.
mkfifo "$T/changed"
printf '#!/bin/sh\n' >"$T/bin/prepare"
printf '#!/bin/sh\nread line <%s\n' "$T/changed" >"$T/bin/inotifywait"
chmod 755 "$T/bin/prepare" "$T/bin/inotifywait"
config <<X
[program:watcher]
command=$T/watcher
control=self
ready=notify
environment=PATH="$T/bin:%(ENV_PATH)s"
[program:jobs]
command=$B/e2e/plumb packets jobs 1 20
startsecs=0
autorestart=false
[program:shares]
command=$T/shares
process_name=%(program_name)s_%(process_num)d
numprocs=4
startsecs=0
stdout_logfile=$T/shared
[pipe:jobs]
from=jobs
to=shares
mode=packet
[program:waits]
command=$T/bin/waits
control=self
ready=notify
stop_method=message
X
start_mpsup
in_state watcher RUNNING || fail "watcher is $(state watcher)"
info_is watcher '^watching$' || fail "watcher says $(info watcher)"
info_is waits '^waiting$' || fail "waits says $(info waits)"
before=$(pid_of watcher)
echo x >"$T/changed"
again() {
  in_state watcher RUNNING && [ "$(pid_of watcher)" != "$before" ]
}
must again
for i in 0 1 2 3; do must in_state shares:shares_$i EXITED; done
[ "$(sed 's/^done: //' "$T/shared" | sort -n | xargs)" = "$(seq 20 | xargs)" ] || fail "not 20 jobs were done: $(cat "$T/shared")"
mps_expect 0 send waits hello
mps_expect 0 stop waits
must contains "$LOG" 'stopped: waits \(exit status 0\)'
shutdown_mpsup

unshare -m true 2>/dev/null || exit 0
say "leak.py: what README shows of it, in a /dev/shm of our own"
cp "$B/libmpsup-preload.so" "$T/bin/" || exit 1
ln -s libmpsup-preload.so "$T/bin/libmpsup-preload.before-libasan.so"
cat >"$T/leaks" <<X
mount -t tmpfs none /dev/shm || exit 9
python3 '$here/tests/examples/leak.py'
ls /dev/shm | wc -l
'$MPSUP' ipc clean --match 'psm_*' && '$MPSUP' ipc clean --match 'mp-*'
ls /dev/shm | wc -l
'$MPSUP' exec -- python3 '$here/tests/examples/leak.py'
echo "\$?"
ls /dev/shm | wc -l
X
unshare -m bash "$T/leaks" >"$T/out" 2>"$T/err" || fail "$(cat "$T/err")"
[ "$(grep -v '^unlinked' "$T/out" | xargs)" = '15 0 137 0' ] || fail "it shows $(cat "$T/out")"

say "libmpsup: a calculator that ends when nobody asks any more, workers at a queue, counters of which one is killed, a preload,"
say "a pool of which one crashes, a manager"
for f in calculator workers counters preload pool manager; do
  expect 0 "${CC:-cc}" -std=gnu11 -Wall -Wextra -Werror -O2 -I"$here/lib" ${SAN:+-fsanitize="$SAN"} -o "$T/bin/$f" \
    "$here/tests/examples/$f.c" -L"$B" -Wl,-rpath,"$B" -lmpsup
done
expect 0 "$T/bin/calculator" 1+2 30+4
[ "$(xargs <"$T/out")" = "1+2 = 3 30+4 = 34 it has ended with 0" ] || fail "calculator: $(cat "$T/out")"
expect 0 "$T/bin/workers" 3 1000
[ "$(cat "$T/out")" = 333833500 ] || fail "workers: $(cat "$T/out")"
expect 0 "$T/bin/counters" 4 1000
[ "$(cat "$T/out")" = "3501 twice, 1 killed" ] || fail "counters: $(cat "$T/out")"
expect 0 "$T/bin/preload" 3
[ "$(xargs <"$T/out")" = "made process-1: it is there process-2: it is there process-3: it is there" ] || fail "preload: $(cat "$T/out")"
expect 0 "$T/bin/manager" to be or not to be
[ "$(xargs <"$T/out")" = "to 2 be 2 or 1 not 1 to 2 be 2 6 in all" ] || fail "manager: $(cat "$T/out")"
expect 0 "$T/bin/pool" 1000
[ "$(xargs <"$T/out")" = "task 666: its worker has died (signal 6) 999 done, sum 332389944" ] || fail "pool: $(cat "$T/out")"

say "what README shows of libmpsup"
# shellcheck disable=SC2016 # the marks of Markdown
sed -n '/^```c$/,/^```$/{/^```/!p}' "$here/README.md" >"$T/readme.c"
expect 0 "${CC:-cc}" -std=gnu11 -Wall -Wextra -Werror -O2 -I"$here/lib" ${SAN:+-fsanitize="$SAN"} -o "$T/bin/readme" \
  "$T/readme.c" -L"$B" -Wl,-rpath,"$B" -lmpsup
ASAN_OPTIONS=${ASAN_OPTIONS:-}:detect_leaks=0 expect 0 "$T/bin/readme" # it is short: what it has at its end is the kernel's
[ "$(cat "$T/out")" = 'done' ] || fail "it prints $(cat "$T/out")"
