#!/bin/bash
# Keeper and supervisors under valgrind while one takes over from the other, by crash and by upgrade: no error of memory,
# no leak, and nobody holds one descriptor more than after the first time.
# `make valgrind` builds for it: few instances, since valgrind has not the addresses for the log windows of many.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/../e2e/lib.sh"
command -v valgrind >/dev/null || { echo "valgrind is not installed" && exit 77; }
SLOW=6
# It knows no second process in the same memory; and it takes every death for a crash that comes too soon after the last.
export MPSUP_NO=clone_vm,crash_limit
# Forked children end by exec; libc must not free the environment before it is looked at.
VALGRIND=(valgrind --trace-children=yes "--trace-children-skip=*/worker" --child-silent-after-fork=yes
  --track-fds=yes --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite
  --run-libc-freeres=no "--log-file=$T/valgrind.%p")

# The title is not seen in /proc, where valgrind's own arguments are.
role() { # keeper or supervisor
  mps status --json 2>/dev/null | sed -n "s/.*\"$1_pid\": *\([0-9]*\).*/\1/p"
}

n_fds() { # pid
  find "/proc/$1/fd" -mindepth 1 2>/dev/null | wc -l
}

has_fds() { # pid, number
  [ "$(n_fds "$1")" = "$2" ]
}

# The number is that of the first time: what is under way, such as our own question, is awaited.
no_more_fds() {
  must has_fds "$supervisor" "$supervisor_fds"
  must has_fds "$keeper" "$keeper_fds"
}

upgrade() { # under valgrind the new one may be too late for the keeper
  must mps upgrade >"$T/out" 2>"$T/err"
  retired+=("$supervisor")
  supervisor=$(role supervisor)
}

config <<X
[program:calm]
command=$W --pidfile $T/calm
stdout_logfile=$T/calm.log
[program:piped]
command=/bin/sh -c 'while read -r line <&3; do echo "\$line"; done 3<$T/fifo; exec $W --pidfile $T/piped'
log_timestamp=true
stdout_logfile=AUTO
startsecs=0
[program:waits]
command=$W --exit 3
restart_delay=1000
startretries=infinite
stdout_logfile=NONE
[fcgi-program:fcgi]
command=$W --pidfile $T/fcgi
socket=unix://$T/fcgi.sock
process_name=%(program_name)s
X
mkfifo "$T/fifo"
exec 7<>"$T/fifo"
echo 'a line' >&7
retired=()

say "start"
expect 0 "${VALGRIND[@]}" "$MPSUP" start --no-wait -c "$CONF"
supervisor=$(role supervisor)
keeper=$(role keeper)
must in_state calm RUNNING
must in_state piped RUNNING
must in_state fcgi:fcgi RUNNING
must in_state waits BACKOFF
victim=$(pid_of calm)
take_over
supervisor_fds=$(n_fds "$supervisor")
keeper_fds=$(n_fds "$keeper")
say "  the supervisor holds $supervisor_fds descriptors, the keeper $keeper_fds"

say "crashes"
for _ in 1 2; do
  take_over
  no_more_fds
done

say "upgrades"
for _ in 1 2 3; do
  upgrade
  no_more_fds
done

say "stops, starts and reloads in between"
mps_expect 0 restart calm
[ "$(pid_of calm)" != "$victim" ] || fail "calm has the same pid"
sed -i 's/^restart_delay=.*/restart_delay=2000/' "$CONF"
mps_expect 0 reload
upgrade
take_over
no_more_fds
upgrade
mps_expect 0 shutdown
must -t 5 nothing_left

say "what valgrind has to say"
errors='Invalid (read|write|free)|uninitialised|invalid file descriptor|Mismatched|unaddressable|are definitely lost'
for f in "$T"/valgrind.*; do
  ! contains "$f" "$errors" || { cat "$f" && fail "errors"; }
done
for p in "$keeper" "$supervisor"; do
  contains "$T/valgrind.$p" 'ERROR SUMMARY: 0 errors' || { cat "$T/valgrind.$p" && fail "errors of $p"; }
done
# It has closed all that it has opened, and all that it was handed down.
open=$(sed -n '/FILE DESCRIPTORS/,/HEAP SUMMARY/p' "$T/valgrind.$supervisor" | grep -E 'Open ' | grep -vF "$T/valgrind.")
[ -z "$open" ] || { cat "$T/valgrind.$supervisor" && fail "left open by the last one: $open"; }
# Those that made room held as many as each other.
counts=$(for p in "${retired[@]}"; do grep -hoE 'FILE DESCRIPTORS: [0-9]+' "$T/valgrind.$p"; done | sort | uniq -c)
say "  ${#retired[@]} supervisors have made room: $(tr -s ' \n' ' ' <<<"$counts")"
[ "$(wc -l <<<"$counts")" = 1 ] || fail "they held more and more descriptors"
