#!/bin/bash
# mpsup reload and SIGHUP: what changed is done process by process, nothing else is touched.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

# program NAME [LINE...]: a section of one that stays up; ended by an empty line.
program() {
  local name=$1
  shift
  printf '%s\n' "[program:$name]" "command=$W --pidfile $T/pids.$name" startsecs=0 "$@" ''
}

reload() { # exit status, arguments
  local rc=$1
  shift
  mps_expect "$rc" reload "$@"
}

told() { # pattern
  contains "$T/out" "$1" || fail "reload says '$(cat "$T/out")', not $1"
}

# same NAME PID: still the same process, and up.
same() {
  [ "$(pid_of "$1")" = "$2" ] || fail "$1 is another process than $2"
  alive "$2" || fail "$1 ($2) has gone"
}

fds() {
  find "/proc/$supervisor/fd" -mindepth 1 2>/dev/null | wc -l
}

no_programs_but() {
  [ "$(workers)" = "$1" ]
}

keeper_fds() {
  find "/proc/$keeper/fd" -mindepth 1 2>/dev/null | wc -l
}

{
  program a
  program b
  program old
  program web numprocs=3 'process_name=%(process_num)d'
} | config
start_mpsup
a=$(pid_of a) b=$(pid_of b) w0=$(pid_of web:0) w1=$(pid_of web:1) w2=$(pid_of web:2) old=$(pid_of old)

say "the same file changes nothing"
reload 0
told '^nothing has changed$'
same a "$a"

say "mistakes change nothing, and each is told with its line"
cp "$CONF" "$T/good"
{ cat "$T/good" && printf '[program:new]\ncommand=x\nautostart=perhaps\nnumprocs=x\n'; } >"$CONF"
reload 1
n=$(($(wc -l <"$T/good") + 3))
contains "$T/err" "^$CONF:$n: error: program:new.autostart: 'perhaps'" || fail "the first: $(cat "$T/err")"
contains "$T/err" "^$CONF:$((n + 1)): error: program:new.numprocs: " || fail "the second: $(cat "$T/err")"
contains "$T/err" '2 errors; nothing was changed' || fail "$(cat "$T/err")"
must contains "$LOG" 'ERRO reload: .*: program:new.autostart'
same a "$a"
rm "$CONF"
reload 1 -s "$RUNTIME/control.sock"
must contains "$LOG" "ERRO reload: $CONF: No such file"
cp "$T/good" "$CONF"

say "added, removed, changed, changed live"
{
  program a stopwaitsecs=3
  program b 'environment=K="1"'
  program web numprocs=5 'process_name=%(process_num)d'
  program new
} | config_with loglevel=debug minfds=1030
reload 0 --dry-run
for line in '^a +would be changed live \(stopwaitsecs\)$' '^b +would be restarted \(environment\)$' '^old +would be removed$' \
  '^web:3 +would be added$' '^new +would be added$' '^\[supervisord\] +would be changed live \(loglevel\)$' \
  '^\[supervisord\] +minfds: takes effect at the next start'; do
  told "$line"
done
same b "$b" && same old "$old"
in_state new RUNNING && fail "a dry run started something"
reload 0
for line in '^a +changed live \(stopwaitsecs\)$' '^b +restarted \(environment\)$' '^old +removed$' '^web:3 +added$' \
  '^web:4 +added$' '^new +added$'; do
  told "$line"
done
[ "$(wc -l <"$T/out")" = 8 ] || fail "8 lines were expected: $(cat "$T/out")"
must contains "$LOG" 'INFO reload: b restarted \(environment\)'
same a "$a" && same web:0 "$w0" && same web:1 "$w1" && same web:2 "$w2"
gone "$old" || fail "old runs on"
mps_expect 4 status old
[ "$(pid_of b)" != "$b" ] || fail "b was not restarted"
tr '\0' '\n' <"/proc/$(pid_of b)/environ" | grep -qx K=1 || fail "b does not have its variable"
for p in b new web:3 web:4; do in_state $p RUNNING || fail "$p is $(state $p)"; done

say "fewer processes, and a group that others join and leave"
b=$(pid_of b) new=$(pid_of new)
{
  program a stopwaitsecs=3
  program b 'environment=K="1"'
  program web numprocs=2 'process_name=%(process_num)d'
  program new
  printf '%s\n' '[group:g]' programs=b
} | config
reload 0
same a "$a" && same web:0 "$w0" && same web:1 "$w1" && same new "$new"
gone "$w2" || fail "web:2 runs on"
[ "$(mps status 'web:*' | grep -c RUNNING)" = 2 ] || fail "$(mps status)"
told '^b +removed$' && told '^g:b +added$'
gb=$(pid_of g:b)
{
  program a stopwaitsecs=3
  program b 'environment=K="1"'
  program web numprocs=2 'process_name=%(process_num)d'
  program new
  printf '%s\n' '[group:g]' programs=b,new
} | config
reload 0
same g:b "$gb" && same a "$a"
in_state g:new RUNNING || fail "g:new is $(state g:new)"

say "SIGHUP does the same, and more than one at once"
{ program a stopwaitsecs=4 && program b && program hup; } | config
kill -HUP "$keeper"
must in_state hup RUNNING
must in_state b RUNNING
same a "$a"
must contains "$LOG" 'reload: hup added'
sed -i 's/stopwaitsecs=4/stopwaitsecs=5/' "$CONF"
for _ in 1 2 3 4 5; do kill -HUP "$keeper"; done
must contains "$LOG" 'reload: a changed live \(stopwaitsecs\)'
same a "$a"
{ program a autostart=maybe; } | config
kill -HUP "$keeper"
must contains "$LOG" 'reload: 1 error: nothing was changed'
same a "$a"

say "what is down: given up is tried again, stopped stays so, and BACKOFF takes the new settings"
{
  program a
  printf '%s\n' '[program:bad]' "command=$T/nothing" startretries=0
  printf '%s\n' '[program:slow]' "command=$W --exit 1" startretries=20
  program byhand
  program manual autostart=false
} | config
reload 3
told '^bad +added, but not up: exec .*/nothing'
must in_state bad FATAL
must in_state slow BACKOFF
mps_expect 0 stop byhand
{
  program a
  program bad
  program slow
  program byhand 'environment=K="1"'
  program manual 'environment=K="1"' autostart=false
} | config
reload 0
in_state bad RUNNING || fail "bad is $(state bad)"
in_state slow RUNNING || fail "slow is $(state slow)"
in_state byhand STOPPED || fail "byhand is $(state byhand)"
told '^byhand +changed \(environment\)$'
mps_expect 0 start byhand
tr '\0' '\n' <"/proc/$(pid_of byhand)/environ" | grep -qx K=1 || fail "byhand has its old settings"

say "while something is stopping, restarting, or waited for"
deaf() { # NAME [LINE...]
  local name=$1
  shift
  printf '%s\n' "[program:$name]" "command=$W --ignore TERM --pidfile $T/pids.$name" startsecs=0 stopwaitsecs=60 "$@" ''
}
{ program a && deaf go && deaf change && deaf back; } | config
rm -f "$T"/pids.*
reload 0
for p in go change back; do must n_lines "$T/pids.$p" 1; done
go=$(pid_of go) change=$(pid_of change) back=$(pid_of back)
mps start go >"$T/start.out" 2>&1
mps restart go >"$T/restart.out" 2>&1 &
asked=$!
mps stop change >"$T/stop.out" 2>&1 &
asked="$asked $!"
mps restart back >"$T/back.out" 2>&1 &
back_asked=$!
for p in go change back; do must in_state $p STOPPING; done
{ program a && deaf change 'environment=K="1"' && deaf back 'environment=K="1"'; } | config
mps reload >"$T/reload.out" 2>&1 &
reloading=$!
must contains "$LOG" 'reload: back restarted \(environment\)'
mps_expect 4 status go
reload 1
contains "$T/err" 'a reload is at work' || fail "a second reload: $(cat "$T/err")"
reload 0 --dry-run
told '^nothing has changed$'
kill -KILL "$go" "$change" "$back"
wait $reloading || fail "the reload ends with $?: $(cat "$T/reload.out")"
for p in $asked; do wait "$p"; done
wait "$back_asked" || fail "the restart that was asked for ends with $?: $(cat "$T/back.out")"
contains "$T/restart.out" 'go: .*(removed|stopped)' || fail "restart of what is removed: $(cat "$T/restart.out")"
contains "$T/stop.out" 'change: stopped' || fail "$(cat "$T/stop.out")"
contains "$T/reload.out" '^go +removed$' || fail "$(cat "$T/reload.out")"
contains "$T/reload.out" '^change +changed \(environment\)$' || fail "$(cat "$T/reload.out")"
in_state change STOPPED || fail "change is $(state change)"
in_state back RUNNING || fail "back is $(state back)"
tr '\0' '\n' <"/proc/$(pid_of back)/environ" | grep -qx K=1 || fail "back has its old settings"

back=$(pid_of back)
{ program a; } | config
reload 0 --no-wait
kill -KILL "$back"
reload_works() { mps reload >"$T/out" 2>&1; }
must reload_works

say "a listening socket stays open over a reload, another address is another socket"
fcgi() { # backlog
  printf '%s\n' '[fcgi-program:f]' "command=$W" startsecs=0 "socket=unix://$T/$1" "socket_mode=$2" ''
}
{ program a && fcgi one 0700; } | config
reload 0
inode=$(stat -c %i "$T/one")
f=$(pid_of f)
{ program a && fcgi one 0770; } | config
reload 0
told '^f +changed live \(socket_mode\)$'
same f "$f"
[ "$(stat -c '%i %a' "$T/one")" = "$inode 770" ] || fail "$(stat -c '%i %a' "$T/one") instead of $inode 770"
{ program a && fcgi two 0770; } | config
reload 0
[ "$(pid_of f)" != "$f" ] || fail "f was not restarted"
[ -S "$T/two" ] || fail "no new socket"
{ program a && fcgi none/such 0770; } | config
f=$(pid_of f)
reload 1
contains "$T/err" "mpsup.conf:[0-9]*: socket $T/none/such" || fail "$(cat "$T/err")"
same f "$f"

say "--json"
{ program a && program json; } | config
reload 0 --json
python3 -c 'import json,sys; d=json.load(open(sys.argv[1])); r={x["name"]:x for x in d["processes"]}
assert d["errors"]==0 and d["messages"]==[]; assert r["json"]["action"]=="added" and r["json"]["state"]=="RUNNING", r
assert r["f"]["action"]=="removed"' "$T/out" || fail "$(cat "$T/out")"

say "200 reloads, each with another half of 20 programs, leave nothing behind"
some() { # seed
  local i
  RANDOM=$1
  {
    program a
    for i in {1..20}; do
      [ $((RANDOM % 2)) = 0 ] || program "p$i" "log_timestamp=$((RANDOM % 2))" "stdout_logfile=$T/p.log" "priority=$((RANDOM % 3))"
    done
  } | config
}
only_a() {
  { program a; } | config
  reload 0
}
rss() {
  awk '/^VmRSS/ { print $2 }' "/proc/$supervisor/status"
}
only_a
a=$(pid_of a)
for n in {1..20}; do some "$n" && reload 0; done
only_a
files=$(fds) kept=$(keeper_fds) memory=$(rss)
for n in {21..200}; do some "$n" && reload 0; done
only_a
same a "$a"
must no_programs_but "$a"
[ "$(fds)" -le "$files" ] || fail "$(fds) descriptors instead of $files: $(ls -l "/proc/$supervisor/fd")"
[ "$(keeper_fds)" -le "$kept" ] || fail "the keeper has $(keeper_fds) descriptors instead of $kept"
if [ -z "${SAN:-}" ]; then
  [ $(($(rss) - memory)) -le 1024 ] || fail "grown by $(($(rss) - memory)) KiB in 180 reloads"
fi

say "included files, listeners of events, standard error, users"
mkdir "$T/more"
include() { printf '%s\n' '[include]' 'files=more/*.conf' ''; }
program in1 >"$T/more/a.conf"
{ program a && program r && include; } | config
reload 0
must in_state in1 RUNNING
a=$(pid_of a) r=$(pid_of r)
rm "$T/more/a.conf"
program in2 >"$T/more/b.conf"
{
  program a
  program r redirect_stderr=true
  printf '%s\n' '[eventlistener:ev]' "command=$W" startsecs=0 events=TICK_60 ''
  include
} | config
reload 0
for line in '^in1 +removed$' '^in2 +added$' '^ev +added$' '^r +restarted \(.*redirect_stderr'; do told "$line"; done
for p in in2 ev r; do must in_state "$p" RUNNING; done
same a "$a"
[ "$(pid_of r)" != "$r" ] || fail "r was not restarted"
sleeper() {
  printf '%s\n' '[program:z]' 'command=/bin/sleep 1000' startsecs=0 "$@" ''
}
if [ "$(id -u)" = 0 ]; then
  { program a && sleeper; } | config
  reload 0
  { program a && sleeper user=nobody; } | config
  reload 0
  told '^z +restarted \(user\)$'
  must in_state z RUNNING
  [ "$(stat -c %U "/proc/$(pid_of z)")" = nobody ] || fail "z runs as $(stat -c %U "/proc/$(pid_of z)")"
  same a "$a"
fi
rm -r "$T/more"
{ program a && program r; } | config
reload 0

say "one that takes over in the middle goes on"
{ program a && deaf going && deaf change; } | config
rm -f "$T"/pids.*
reload 0
for p in going change; do must n_lines "$T/pids.$p" 1; done
going=$(pid_of going) change=$(pid_of change) a=$(pid_of a)
{ program a && deaf change 'environment=K="2"' && program coming; } | config
reload 0 --no-wait
for _ in 1 2; do
  take_over
  must in_state change STOPPING
  alive "$going" || fail "going ($going) was killed"
  in_state coming RUNNING && fail "coming did not wait"
done
kill -KILL "$change"
must n_lines "$T/pids.change" 2
kill -KILL "$going"
must in_state coming RUNNING
must in_state change RUNNING
same a "$a"
mps_expect 1 pid going
take_over
must in_state coming RUNNING
mps_expect 1 pid going
[ "$(workers | wc -l)" = 3 ] || fail "workers: $(workers)"
{ program a && program coming; } | config
change=$(pid_of change)
reload 0 --no-wait
kill -KILL "$change"
must gone "$change"

say "while all is being stopped there is no reload"
{ program a && deaf stays; } | config
rm -f "$T/pids.stays"
reload 0
must n_lines "$T/pids.stays" 1
stays=$(pid_of stays)
mps_expect 0 shutdown --no-wait
reload 1
contains "$T/err" 'shutting down' || fail "$(cat "$T/err")"
kill -HUP "$keeper"
kill -KILL "$stays"
must -t 5 nothing_left
