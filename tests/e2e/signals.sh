#!/bin/bash
# Signals for a supervisor that is killed before it has heard them: each is heard by the next one, once.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
export MPSUP_NO=crash_limit

unread() { # pid, number: the signal waits
  local mask
  mask=$(awk '/^ShdPnd/ { print $2 }' "/proc/$1/status") && [ $(((0x$mask >> ($2 - 1)) & 1)) = 1 ]
}
all_read() { # pid
  grep -q '^ShdPnd:[[:space:]]*0*$' "/proc/$1/status"
}
# deaf SIGNAL TO...: the supervisor stops, the signal is sent to each, and has come as far as it can; then it is killed.
deaf() {
  local sig=$1 to
  shift
  kill -STOP "$supervisor"
  for to in "$@"; do
    kill "-$sig" "$to"
    must heard_by "$to" "$sig"
  done
  kill -KILL "$supervisor"
}
heard_by() {
  if [ "$1" = "$keeper" ]; then all_read "$1"; else unread "$1" "$(kill -l "$2")"; fi
}
times() { # pattern: so often in the log
  grep -cE "$1" "$LOG"
}
programs() {
  printf '%s\n' '[program:calm]' "command=$W" startsecs=0
  printf '%s\n' '[program:slow]' "command=$W --ignore TERM --pidfile $T/slow.pids" startsecs=0 stopwaitsecs=60 autostart=false
}

programs | config
start_mpsup
calm=$(pid_of calm)
for way in keeper supervisor; do
  say "HUP and USR2, sent to the $way"
  : >"$LOG"
  n=$((${n:-0} + 1))
  { programs && printf '%s\n' "[program:new$n]" "command=$W" startsecs=0; } | config
  deaf HUP "${!way}"
  next_supervisor
  must in_state "new$n" RUNNING
  deaf USR2 "${!way}"
  next_supervisor
  must contains "$LOG" 'supervisord logreopen'
  take_over
  [ "$(times 'received SIGHUP')" = 1 ] || fail "HUP was heard $(times 'received SIGHUP') times"
  [ "$(times 'received SIGUSR2')" = 1 ] || fail "USR2 was heard $(times 'received SIGUSR2') times"
  [ "$(pid_of calm)" = "$calm" ] || fail "what is the same was started again"
done

say "one HUP after another"
kill -STOP "$supervisor"
for _ in 1 2 3; do kill -HUP "$keeper" && must all_read "$keeper"; done
: >"$LOG"
kill -KILL "$supervisor"
next_supervisor
must contains "$LOG" 'received SIGHUP'
must contains "$LOG" 'reload: nothing has changed'

for way in keeper supervisor; do
  say "TERM, and another one, sent to the $way"
  : >"$LOG"
  rm -f "$T/slow.pids"
  [ -n "$(role supervisor)" ] || start_mpsup
  mps_expect 0 start slow
  must n_lines "$T/slow.pids" 1
  deaf TERM "${!way}"
  must contains "$LOG" 'waiting for slow to stop'
  contains "$LOG" 'killing everything' && fail "one TERM was heard twice"
  next_supervisor
  alive "$(cat "$T/slow.pids")" || fail "slow was killed by one TERM"
  deaf TERM "${!way}"
  must -t 5 nothing_left
  [ "$(times 'received SIGTERM')" = 2 ] || fail "TERM was heard $(times 'received SIGTERM') times"
  must contains "$LOG" 'killing everything'
done
