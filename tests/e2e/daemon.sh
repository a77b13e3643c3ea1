#!/bin/bash
# Workers live and die with what they belong to: mpsup run waits for programs with daemon=no and ends the others with the
# last of them; and with a worker goes the tree that it has started, however the worker ends.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

run_mpsup() { # in the background; $run is its pid
  "$MPSUP" run -c "$CONF" >"$T/run.out" 2>"$T/run.err" </dev/null &
  run=$!
  must has_supervisor
}

has_supervisor() {
  [ -n "$(role supervisor)" ]
}

run_ended() { # status
  wait_status "$run" "$1"
  must -t 3 nothing_left
}

# A tree of three levels below the worker: in its session, in one of its own, an orphan, one that wants to live on.
tree() { # file of pids
  echo "--pidfile $1 --fork 1 { --setsid --pidfile $1 --fork 2 { --pidfile $1 --fork 1 { --setsid --ignore TERM --pidfile $1 } } }" \
    "--fork 1 { --pidfile $1 --daemonize { --pidfile $1 --fork 1 { --setsid --pidfile $1 } } }"
}
N_TREE=9

say "mpsup run goes on while a program with daemon=no does, also one that is started again"
mkfifo "$T/end.one" "$T/end.two"
config <<X
[program:one]
command=sh -c 'echo \$\$ >>$T/one; read status <$T/end.one; exit \$status'
daemon=no
startsecs=0
autorestart=unexpected
[program:two]
command=sh -c 'echo \$\$ >>$T/two; read status <$T/end.two; exit \$status'
daemon=no
startsecs=0
autorestart=false
[program:helper]
command=$W $(tree "$T/helper")
stopwaitsecs=1
startsecs=0
[program:brief]
command=$W --pidfile $T/brief --exit 0
startsecs=0
autorestart=false
autostart=false
X
run_mpsup
must n_lines "$T/helper" $N_TREE
must n_lines "$T/one" 1
must n_lines "$T/two" 1
echo 3 >"$T/end.one" # not expected: started again
must n_lines "$T/one" 2
echo 0 >"$T/end.one"
must in_state one EXITED
mps_expect 0 start brief
must in_state brief EXITED
in_state two RUNNING || fail "two is $(state two)"
all_alive "$T/helper" || fail "the helper was ended though two runs"

say "with the last of them, and with its status, all others end; nobody of their trees is left"
echo 7 >"$T/end.two"
run_ended 7
all_gone "$T/helper" || fail "some of the helper live on"

say "one that is stopped by hand is waited for no more, but ends nothing; nor do others"
: >"$T/helper"
rm -f "$T/two" "$T/brief"
run_mpsup
must n_lines "$T/two" 1
must n_lines "$T/helper" $N_TREE
mps_expect 0 stop one two
mps_expect 0 start brief
must in_state brief EXITED
all_alive "$T/helper" || fail "mpsup run has ended all"
mps_expect 0 start two
must n_lines "$T/two" 2
echo 0 >"$T/end.two"
run_ended 0
all_gone "$T/helper" || fail "some of the helper live on"

say "one that ends by itself while a reload is at work is the last one all the same"
rm -f "$T/one" "$T/two"
: >"$T/helper"
run_mpsup
must n_lines "$T/one" 1
must n_lines "$T/two" 1
must n_lines "$T/helper" $N_TREE
sed -i "s,^command=$W --pidfile,command=$W --ignore TERM --pidfile,; s/^stopwaitsecs=1\$/stopwaitsecs=3600/" "$CONF"
mps_expect 0 reload
mps_expect 0 stop one
must n_lines "$T/helper" $((2 * N_TREE))
sed -i "1,${N_TREE}d" "$T/helper"
sed -i 's/^stopwaitsecs=3600$/stopwaitsecs=1\nenvironment=A="1"/' "$CONF"
mps reload >"$T/reload.out" 2>&1 </dev/null &
reload=$!
must in_state helper STOPPING
echo 6 >"$T/end.two"
must in_state two EXITED
xargs kill -KILL <"$T/helper" 2>/dev/null # the second run of its tree; all of it ignores TERM
run_ended 6
wait $reload

say "also where the supervisor is killed before the reload is done"
rm -f "$T/two"
: >"$T/helper"
sed -i 's/^stopwaitsecs=1$/stopwaitsecs=3600/' "$CONF"
run_mpsup
must n_lines "$T/two" 1
must n_lines "$T/helper" $N_TREE
mps_expect 0 stop one
sed -i 's/^stopwaitsecs=3600$/stopwaitsecs=1/; s/^environment=A="1"$/environment=A="2"/' "$CONF"
mps reload >"$T/reload.out" 2>&1 </dev/null &
reload=$!
must in_state helper STOPPING
echo 8 >"$T/end.two"
must in_state two EXITED
supervisor=$(role supervisor)
kill -KILL "$supervisor"
next_supervisor
in_state helper STOPPING || fail "the helper is $(state helper)"
xargs kill -KILL <"$T/helper" 2>/dev/null
run_ended 8
wait $reload

say "its own supervisor may be killed meanwhile"
rm -f "$T/one" "$T/two"
run_mpsup
must n_lines "$T/one" 1
must n_lines "$T/two" 1
kill -KILL "$(role supervisor)"
echo 0 >"$T/end.one"
echo 5 >"$T/end.two"
run_ended 5

config <<X
[program:exits]
command=$W $(tree "$T/exits") --after 500 --exit 0
startsecs=0
stopwaitsecs=1
autorestart=false
[program:killed]
command=$W $(tree "$T/killed")
startsecs=0
stopwaitsecs=1
autorestart=false
[program:again]
command=$W $(tree "$T/again")
startsecs=0
stopwaitsecs=1
[program:stopped]
command=$W $(tree "$T/stopped")
startsecs=0
stopwaitsecs=1
X
say "a worker that exits, is killed, or is stopped takes its three levels along"
start_mpsup
for p in exits killed again stopped; do must n_lines "$T/$p" $N_TREE; done
must in_state exits EXITED
all_gone "$T/exits" || fail "some live on after the exit"
cp "$T/again" "$T/again.first"
kill -KILL "$(pid_of killed)" "$(pid_of again)"
must in_state killed EXITED
all_gone "$T/killed" || fail "some live on after SIGKILL"
must n_lines "$T/again" $((2 * N_TREE))
all_gone "$T/again.first" || fail "some of the first run live on in the second"
mps_expect 0 stop stopped
all_gone "$T/stopped" || fail "some live on after stop"
contains "$LOG" 'reaped unknown pid' && fail "somebody's child was taken for a stranger's: $(grep reaped "$LOG")"
shutdown_mpsup
