#!/bin/bash
# mpsup exec: what one command is given, what it returns, how it is signalled, and that nothing of it is left.
# shellcheck source=tests/e2e/lib.sh
# shellcheck disable=SC1083 # braces are words for the worker
. "$(dirname "$0")/lib.sh"

exec_is() { # status, arguments of mpsup exec
  local want=$1
  shift
  expect "$want" "$MPSUP" exec "$@"
}
# In the background: $front is its pid.
exec_start() {
  "$MPSUP" exec "$@" >"$T/out" 2>"$T/err" &
  front=$!
}
ends_with() { # status
  wait_status "$front" "$1"
  must -t 2 nothing_left
  rm -f "$T"/pids*
}
children_of() { # a number of processes with this parent
  [ "$(pgrep -c -P "$1")" = "$2" ]
}

say "the exit status: the command's, and those of our own"
exec_is 0 -- true
exec_is 7 -- sh -c 'exit 7'
exec_is 137 -- sh -c 'kill -KILL $$'
exec_is 143 -- sh -c 'kill -TERM $$'
exec_is 127 -- no-such-command
contains "$T/err" '^mpsup: exec: no-such-command: No such file or directory$' || fail "it says '$(cat "$T/err")'"
# shellcheck disable=SC2016 # its own
expect 127 sh -c 'echo $$ >"$2" && exec "$1" exec -- no-such-command' sh "$MPSUP" "$T/pid"
[ ! -e "${RUNTIME%/*}/exec-$(cat "$T/pid")-0" ] || fail "its folder is left where there is no command"
exec_is 127 -- /no/such/command
exec_is 127 -- ''
exec_is 126 -- "$T"
exec_is 126 -- /etc/passwd
contains "$T/err" '^mpsup: exec: /etc/passwd: Permission denied$' || fail "it says '$(cat "$T/err")'"
printf '#!/no/such/shell\n' >"$T/bin/broken" && chmod 755 "$T/bin/broken"
exec_is 127 -- "$T/bin/broken"
expect 125 prlimit --nofile=4 "$MPSUP" exec -- true

say "options are ours up to the command, and its own from there on"
exec_is 0 --timeout 10 -g 0.5 --track off echo --timeout 1 -- -g
[ "$(cat "$T/out")" = '--timeout 1 -- -g' ] || fail "it got '$(cat "$T/out")'"
exec_is 2
exec_is 2 --
exec_is 2 --timeout soon -- true
exec_is 2 --track sometimes -- true
exec_is 2 --timout 3 -- true
exec_is 2 --json -- true

say "found by PATH, as execvp(3) does; a text without #! is the shell's"
mkdir "$T/a" "$T/b"
# shellcheck disable=SC2016 # its own
printf 'echo "$0" "$@"; exit 4\n' | tee "$T/a/hello" >"$T/b/hello"
chmod 755 "$T/b/hello"
PATH=$T/none:$T/a:$T/b:$PATH exec_is 4 hello 'a  b'
[ "$(cat "$T/out")" = "$T/b/hello a  b" ] || fail "it got '$(cat "$T/out")'"
expect 126 env PATH="$T/a" "$MPSUP" exec hello
(cd "$T/b" && expect 4 env PATH=":$T/a" "$MPSUP" exec hello) || exit 1
(cd "$T/b" && exec_is 4 ./hello) || exit 1
expect 4 env PATH="$T/a" "$MPSUP" exec "$T/b/hello"
env -u PATH "$MPSUP" exec true || fail "without a PATH"

cat >"$T/shows.py" <<'P'
import ctypes, json, os, resource, signal, sys
mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
def fds():
    there = {}
    for fd in range(20000):
        try:
            s = os.fstat(fd)
            there[fd] = (s.st_dev, s.st_ino, os.get_blocking(fd), os.lseek(fd, 0, 1) if fd > 2 and fd != 9 else 0)
        except OSError:
            pass
    return there
try:
    where = os.getcwd()
except OSError as e:
    where = str(e)
names = [n for n in dir(resource) if n.startswith("RLIMIT_")]
with open(sys.argv[1], "w") as out:
    pass
what = dict(
    fds=fds(), cwd=where, mask=sorted(mask), nice=os.nice(0), env=dict(os.environ), pgrp=os.getpgrp(), session=os.getsid(0),
    ignored=[s for s in range(1, 65) if s not in (9, 19, 32, 33) and signal.getsignal(s) == signal.SIG_IGN],
    limits={n: resource.getrlimit(getattr(resource, n)) for n in names}, umask=os.umask(0), argv=sys.argv[2:],
    locks_hard=ctypes.CDLL(None) and open("/proc/self/limits").read().split("Max file locks")[1].split()[1],
    ids=(os.getuid(), os.getgid(), os.getgroups()), policy=os.sched_getscheduler(0), cpus=sorted(os.sched_getaffinity(0)),
    oom=open("/proc/self/oom_score_adj").read(), group=open("/proc/self/cgroup").read())
what["env"].pop("_", None)
for k in "MPSUP_TRACKER", "LD_PRELOAD", "__LLVM_PROFILE_RT_INIT_ONCE": # the last is of make cover
    what["env"].pop(k, None)
json.dump(what, open(sys.argv[1], "w"), indent=1, sort_keys=True)
P
# same_world SETUP: what the command finds is what it would find without us.
same_world() {
  local out
  for out in bare ours; do
    rm -f "$T/$out.json"
    (
      cd "$T" || exit 1
      # shellcheck disable=SC2034 # for the words of $1
      run=()
      # shellcheck disable=SC2034
      [ $out = bare ] || run=("$MPSUP" exec --)
      # shellcheck disable=SC2034
      me="$PYTHON $T/shows.py $T/$out.json"
      eval "$1"
    ) </dev/null >"$T/out" 2>"$T/err"
    [ -s "$T/$out.json" ] || fail "$out: $1"
  done
  diff "$T/bare.json" "$T/ours.json" >"$T/out" || fail "another world: $1"
}
PYTHON=$(python3 -c 'import sys; print(sys.executable)')
say "what it finds is what it would find without us"
# shellcheck disable=SC2016 # for eval
{
  same_world '"${run[@]}" $me a "" "b c"'
  same_world 'umask 027; nice -n 5 "${run[@]}" $me'
  same_world 'ulimit -n 300; ulimit -S -c 0; ulimit -S -u 5000; ulimit -t 1000; "${run[@]}" $me'
  same_world 'trap "" HUP USR1 CHLD PIPE; "${run[@]}" $me'
  same_world 'env --block-signal=USR2 --block-signal=TERM "${run[@]}" $me'
  same_world 'exec 9</etc/passwd 63</etc/group 77>>$T/append 250<>$T/both; read -r x <&63; "${run[@]}" $me'
  same_world 'env -i A=1 B= "${run[@]}" $me'
  same_world 'mkdir gone && cd gone && rmdir ../gone; "${run[@]}" $me'
  same_world '"${run[@]}" $me <&-'
  same_world '"${run[@]}" $me >&-'
  same_world '"${run[@]}" $me 2>&-'
  same_world '"${run[@]}" $me <&- >&- 2>&-'
  same_world 'ulimit -n 10240; for i in $(seq 10 10009); do eval "exec $i</dev/null"; done; "${run[@]}" $me'
}

say "big arguments and environments"
big=$(head -c 100000 /dev/zero | tr '\0' x)
# shellcheck disable=SC2016 # its own
BIG1=$big BIG2=$big exec_is 0 sh -c 'echo ${#BIG1} ${#BIG2} ${#1} ${#2}' - "$big" "$big"
[ "$(cat "$T/out")" = '100000 100000 100000 100000' ] || fail "it got '$(cat "$T/out")'"

say "pipes: in a pipeline, nested, and an end that only the command has"
[ "$(echo abc | "$MPSUP" exec -- cat | "$MPSUP" exec -- tr a-z A-Z)" = ABC ] || fail "in a pipeline"
exec_is 9 -- "$MPSUP" exec -- "$MPSUP" exec -- sh -c 'exit 9'
[ "$(yes | "$MPSUP" exec -- head -n 1)" = y ] || fail "the reader"
mkfifo "$T/end" "$T/go"
"$MPSUP" exec -- sh -c "exec >&-; read x <$T/go" >"$T/end" &
front=$!
timeout 10 cat "$T/end" || fail "what the command has closed is held open"
echo >"$T/go"
ends_with 0

say "what it leaves behind is ended: background, setsid, double fork, an empty environment, without our mark"
exec_is 5 -- sh -c "'$W' --pidfile $T/pids & '$W' --daemonize { --setsid --clear-env --pidfile $T/pids } --exit 0; \
  env -i setsid '$W' --pidfile $T/pids & (prlimit --locks=unlimited --pid \$\$; '$W' --pidfile $T/pids &) ; \
  while [ \$(wc -l <$T/pids) -lt 4 ]; do :; done; exit 5"
all_gone "$T/pids" || fail "left behind"
rm "$T/pids"

say "KILL for what does not hear TERM, after the grace; a reader of its output sees the end"
t0=$(now_ms)
"$MPSUP" exec --grace 0.3 -- sh -c "'$W' --ignore TERM --pidfile $T/pids & while [ ! -s $T/pids ]; do :; done; exit 3" | cat
[ "${PIPESTATUS[0]}" = 3 ] || fail "its status"
t=$(($(now_ms) - t0))
if [ $t -lt 300 ] || [ $t -gt $((2000 * SLOW)) ]; then fail "took $t ms with a grace of 300"; fi
rm "$T/pids"

say "--timeout: TERM and 124, or after the grace KILL and 137; in time nothing"
exec_is 124 --timeout 0.2 -- "$W"
contains "$T/err" '^mpsup: exec: .*/worker: not over after 0.2 s; ended$' || fail "it says '$(cat "$T/err")'"
exec_is 137 --timeout 0.2 --grace 0.2 -- "$W" --ignore TERM --fork 2 { --ignore TERM }
contains "$T/err" 'not over after 0.2 s; killed$' || fail "it says '$(cat "$T/err")'"
exec_is 124 --timeout 0.2 -- sh -c 'trap "exit 0" TERM; while :; do sleep 0.01; done'
exec_is 3 --timeout 60 -- sh -c 'exit 3'
exec_is 0 --timeout 0 -- sleep 0.05

say "signals are passed on, once"
cat >"$T/heard.py" <<'P'
import os, signal, sys
def hear(sig, frame):
    open(sys.argv[1], "a").write(signal.Signals(sig).name[3:] + "\n")
    if sig == signal.SIGTERM:
        sys.exit(6)
for s in "HUP INT QUIT USR1 USR2 ALRM TERM WINCH CONT URG".split():
    signal.signal(getattr(signal, "SIG" + s), hear)
open(sys.argv[1], "a").write("ready\n")
while True:
    signal.pause()
P
exec_start -- "$PYTHON" "$T/heard.py" "$T/heard"
must n_lines "$T/heard" 1
n=1
for sig in HUP INT QUIT USR1 USR2 ALRM WINCH CONT URG TERM; do
  kill -$sig "$front"
  must n_lines "$T/heard" $((++n))
done
ends_with 6
[ "$(tr '\n' ' ' <"$T/heard")" = 'ready HUP INT QUIT USR1 USR2 ALRM WINCH CONT URG TERM ' ] || fail "$(cat "$T/heard")"

say "the keeper hands on what it gets; a command that signals its own group is not hit twice"
exec_start -- "$PYTHON" "$T/heard.py" "$T/heard2"
must n_lines "$T/heard2" 1
kill -USR1 "$(pgrep -P "$front")"
must contains "$T/heard2" USR1
kill "$front"
ends_with 6
rm -f "$T/heard"
setsid -w "$MPSUP" exec -- "$PYTHON" -c "
import os, signal
n = []
signal.signal(signal.SIGUSR1, lambda *a: n.append(1))
os.killpg(0, signal.SIGUSR1)
signal.signal(signal.SIGALRM, lambda *a: None)
signal.setitimer(signal.ITIMER_REAL, 0.3)
while not signal.sigtimedwait([signal.SIGALRM], 1):
    pass
raise SystemExit(len(n))"
[ $? = 1 ] || fail "hit more often than once"

say "the front is killed, or its keeper, or the whole process group: all of it ends within a second"
tree() {
  rm -f "$T/pids"
  setsid -w "$MPSUP" exec --grace 20 -- "$W" --ignore TERM --pidfile "$T/pids" --fork 1 { --ignore TERM --pidfile "$T/pids" } \
    --daemonize { --setsid --clear-env --ignore TERM --pidfile "$T/pids" } >"$T/out" 2>"$T/err" &
  must n_lines "$T/pids" 3
  own=$(pgrep -P "$(role 'exec')" | head -n 1)
  front=$(role exec)
  disown
  [ -n "$front" ] || fail "no front"
  [ -n "$own" ] || fail "no keeper"
}
ended_within_a_second() {
  must -t 1 all_gone "$T/pids"
  must -t 1 nothing_left
}
tree
kill -KILL "$front"
ended_within_a_second
[ ! -e "${RUNTIME%/*}/exec-$front-0" ] || fail "its folder is left where the front was killed"
tree
kill -KILL "$own"
ended_within_a_second
contains "$T/err" 'its keeper was ended by SIGKILL; all of it is ended' || fail "it says '$(cat "$T/err")'"
tree
kill -KILL -"$(ps -o pgid= -p "$front" | tr -d ' ')"
ended_within_a_second
tree
main=$(pgrep -P "$own" | head -n 1)
kill -STOP "$front"
kill -KILL "$own" "$front"
must -t 1 gone "$main"
kill_left
rm "$T/pids"

say "what it has made and somebody else still uses is named on standard error, and goes with the next one"
cp "$B/libmpsup-preload.so" "$T/bin/" || exit 1
ln -s libmpsup-preload.so "$T/bin/libmpsup-preload.before-libasan.so"
exec_start -- sh -c "'$B/e2e/ipc' shm:/mps-used-$$ print:ok; read x <'$T/go'"
must contains "$T/out" '^ok$'
"$B/e2e/ipc" "hold:/mps-used-$$" print:held wait >"$T/held" 2>&1 </dev/null &
user=$!
must contains "$T/held" '^held$'
echo >"$T/go"
wait "$front" || fail "ends with $?"
contains "$T/err" "^mpsup: exec: shared memory /mps-used-$$ \(program sh, pid [0-9]+\) is not unlinked: it is in use by ipc \(pid $user\)$" ||
  fail "it says '$(cat "$T/err")'"
[ -e "/dev/shm/mps-used-$$" ] || fail "it was taken from its user"
kill "$user"
wait "$user" 2>/dev/null
exec_is 0 -- true
[ ! -e "/dev/shm/mps-used-$$" ] || fail "it is left"
[ ! -s "$T/err" ] || fail "it says '$(cat "$T/err")'"

say "stopped by KILL of its main process: the status, and nothing left"
exec_start -- "$W" --ignore TERM --fork 1 { --pidfile "$T/pids" } --pidfile "$T/main"
must n_lines "$T/main" 1
must n_lines "$T/pids" 1
kill -KILL "$(cat "$T/main")"
ends_with 137

say "a program of a supervisor"
config <<C
[program:one]
command=$MPSUP exec -- $W --pidfile $T/pids --fork 2 { --setsid --pidfile $T/pids }
startsecs=0
C
start_mpsup
must n_lines "$T/pids" 3
mps_expect 0 restart one
must n_lines "$T/pids" 6
mps_expect 0 stop one
all_gone "$T/pids" || fail "left after stop"
shutdown_mpsup

for without in pidfd,close_range,children clone_vm; do
  say "without $without"
  MPSUP_NO=$without exec_is 5 -- sh -c "'$W' --daemonize { --setsid --pidfile $T/pids2 } --exit 0; while [ ! -s $T/pids2 ]; do :; done; exit 5"
  all_gone "$T/pids2" || fail "left behind"
  rm "$T/pids2"
  MPSUP_NO=$without exec_is 124 --timeout 0.2 -- "$W" --ignore INT
done

unshare -pfm --mount-proc true 2>/dev/null || { say "not as process 1: unshare -p is not permitted" && exit 0; }
say "as process 1 of a container: strangers are reaped, signals passed on, the status comes through"
contained() { # command...
  rm -f "$T/heard"
  unshare -pfm --mount-proc "$MPSUP" exec -- "$@" >"$T/out" 2>"$T/err" &
  front=$!
}
is_one() { # $one is process 1 as seen from here
  one=$(role exec)
  [ -n "$one" ]
}
contained sh -c "'$W' --daemonize { --setsid --exit 0 } --exit 0; exec '$PYTHON' '$T/heard.py' '$T/heard'"
must is_one
must n_lines "$T/heard" 1
[ "$(awk '/^NSpid/ { print $NF }' "/proc/$one/status")" = 1 ] || fail "the front is no process 1"
# One that comes in from outside, whose orphan falls to process 1.
nsenter -p -m -t "$one" "$W" --daemonize { --pidfile "$T/pids" } --exit 0
must n_lines "$T/pids" 1
must children_of "$one" 2
kill -KILL "$(pgrep -P "$one" -f "$W")"
must children_of "$one" 1
kill -HUP "$one"
must contains "$T/heard" HUP
kill -TERM "$one"
ends_with 6
contained sh -c "'$W' --ignore TERM --pidfile $T/pids & while [ ! -s $T/pids ]; do :; done; kill -USR2 \$\$"
ends_with 140

say "two of them that share the runtime directory, where both have the number 1"
objects() { find /dev/shm -maxdepth 1 -name "mps-one-$$-*" | wc -l; }
have() { [ "$(objects)" = "$1" ]; }
for i in 1 2; do
  mkfifo "$T/go$i"
  unshare -pfm --mount-proc "$MPSUP" exec -- sh -c "'$B/e2e/ipc' shm:/mps-one-$$-$i print:ok; read x <'$T/go$i'" >"$T/one$i" 2>&1 &
  fronts[i]=$!
  must contains "$T/one$i" '^ok$'
done
"$MPSUP" exec -- true || fail "beside them"
have 2 || fail "what they have was taken for left behind"
for i in 1 2; do
  echo >"$T/go$i"
  must have $((2 - i))
done
wait "${fronts[@]}"
must -t 2 nothing_left

[ "$(id -u)" != 0 ] || {
  say "where /run cannot be written to"
  mkfifo "$T/ro"
  unshare -m sh -c "mount -t tmpfs -o ro none /run && exec '$MPSUP' exec -- \
    sh -c '\"$B/e2e/ipc\" shm:/mps-one-$$-ro print:ok; read x; exit 4'" <"$T/ro" >"$T/out" 2>"$T/err" &
  front=$!
  exec 6>"$T/ro"
  must contains "$T/out" '^ok$'
  expect 0 "$MPSUP" ipc ls
  contains "$T/out" "^shared_memory +/mps-one-$$-ro .* sh +" || fail "it is not listed"
  exec 6>&-
  wait "$front"
  [ $? = 4 ] || fail "its status; it says '$(cat "$T/err")'"
  have 0 || fail "it has left something"
  [ ! -s "$T/err" ] || fail "it says '$(cat "$T/err")'"
}

[ -z "${SAN:-}" ] || exit 0 # the sanitizers need it
say "without /proc"
unshare -m sh -c "mount -t tmpfs none /proc && exec '$MPSUP' exec --timeout 9 -- sh -c 'exit 8'" 2>"$T/err"
[ $? = 8 ] || fail "$(cat "$T/err")"
