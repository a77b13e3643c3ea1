#!/bin/bash
# Pipes between programs: who has which end, the end of the file, restarts of everything, and not one byte lost.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
cp "$B/e2e/plumb" "$T/bin/" || exit 1
P=$T/bin/plumb

# The field of a pipe's row: field NAME KEY
field() {
  mps pipes --json 2>/dev/null | python3 -c 'import json, sys
for row in json.load(sys.stdin)["pipes"]:
    if row["name"] == sys.argv[1]: print(row[sys.argv[2]])' "$1" "$2"
}

is() { # NAME KEY VALUE
  [ "$(field "$1" "$2")" = "$3" ]
}

is_full() { # NAME; a line that does not fit into the last page leaves some bytes free
  [ "$(field "$1" waiting)" -gt $(($(field "$1" capacity) * 9 / 10)) ]
}

# same FILE FROM TO: the numbers from FROM to TO, each once and in order.
same() {
  cmp -s "$1" <(seq "$2" "$3")
}

# The pids of ours that have /proc/PID/fd/FD (of a process) open for reading (0) or writing (1); of a socket, at all.
holders() { # link, mode
  local p f flags
  for p in $(ours); do
    for f in "/proc/$p/fd"/*; do
      [ "$(readlink "$f" 2>/dev/null)" = "$1" ] || continue
      flags=$(sed -n 's/^flags:[[:space:]]*//p' "/proc/$p/fdinfo/${f##*/}" 2>/dev/null)
      case $1 in pipe:*) [ $((${flags:-3} & 3)) = "$2" ] || continue ;; esac
      echo "$p"
      break
    done
  done
}

is_held_by() { # link, mode, pid...
  local link=$1 mode=$2
  shift 2
  [ "$(holders "$link" "$mode" | sort | xargs)" = "$(printf '%s\n' "$@" | sort | xargs)" ]
}

say "mistakes are told with their place"
config <<X
[program:a]
command=$P rest
[program:many]
command=$P rest
numprocs=2
process_name=%(process_num)d
stdout_logfile=$T/many.log
[fcgi-program:f]
command=$P rest
socket=unix://$T/f.sock
[pipe:one]
from=a
to=many
[pipe:two]
from=a,many
to=aa,f
[pipe:both]
from=a:9
to=many:9
mode=duplex
[pipe:no-name]
from=a
to=f
[pipe:One]
from=a:8
to=f:8
[pipe:missing]
from=a:7
[pipe:high]
from=a:300
to=f:7
X
mps_expect 1 check
line() { # text: the line in the file where it stands
  grep -nF -- "$1" "$CONF" | cut -d: -f1 | head -n 1
}
told() { # place, pattern
  contains "$T/out" "mpsup.conf:$1: error: $2" || fail "not told: $1: $2: $(cat "$T/out")"
}
told "$(line 'from=a,many')" "pipe:two.from: descriptor 1 of 'a' is taken by \[pipe:one\] \(.*mpsup.conf:$(line 'from=a')\)"
told "$(line 'to=aa,f')" "pipe:two.to: there is no \[program:aa\] \(did you mean a\?\)"
told "$(line 'to=aa,f')" "pipe:two.to: descriptor 0 of 'f' is taken by its listening socket"
told "$(line "stdout_logfile=$T/many.log")" 'program:many.stdout_logfile: cannot be: this stream goes into \[pipe:two\]'
told "$(line 'to=many:9')" 'pipe:both.to: 2 processes at one end of a duplex pipe'
told "$(line '[pipe:no-name]')" "pipe:no-name: 'no-name' is no name of a pipe"
told "$(line '[pipe:One]')" 'pipe:One: its variable MPSUP_PIPE_ONE is that of \[pipe:one\] too'
told "$(line '[pipe:missing]')" 'pipe:missing: to= is missing'
told "$(line 'from=a:300')" "pipe:high.from: 'a:300': what follows the : must be a descriptor from 0 to 255"

config <<X
[program:a]
command=$P wait $T/go lines one 1 3000 lines err 1 3 rest
startsecs=0
autorestart=false
[program:b]
command=cat
startsecs=0
autorestart=unexpected
[program:c]
command=$P copy two $T/c.out touch $T/c.done
startsecs=0
autorestart=unexpected
[program:asks]
command=$P ask talk $T/asked 50 rest
startsecs=0
autorestart=false
[program:answers]
command=$P double talk touch $T/answers.done
startsecs=0
autorestart=false
[program:alone]
command=$W --dump $T/alone.dump
startsecs=0
[program:errors]
command=$P copy err $T/errors.out
startsecs=0
[pipe:one]
from=a
to=b
[pipe:two]
from=b
to=c
size=128KB
[pipe:err]
from=a:2
to=errors:none
[pipe:talk]
from=asks:none
to=answers:7
mode=duplex
size=128KB
X
say "a chain a -> b -> c: each has its own ends and no others"
export MPSUP_PIPE_STRAY=9
start_mpsup
for p in a b c asks answers alone errors; do
  must in_state $p RUNNING
done
pa=$(pid_of a) pb=$(pid_of b) pc=$(pid_of c)
one=$(readlink "/proc/$pa/fd/1") two=$(readlink "/proc/$pb/fd/1")
[ "$one" = "$(readlink "/proc/$pb/fd/0")" ] || fail "a and b are not at one pipe"
[ "$two" = "$(readlink "/proc/$pc/fd/0")" ] || fail "b and c are not at one pipe"
must is_held_by "$one" 1 "$keeper" "$supervisor" "$pa"
must is_held_by "$one" 0 "$keeper" "$supervisor" "$pb"
must is_held_by "$two" 1 "$keeper" "$supervisor" "$pb"
must is_held_by "$two" 0 "$keeper" "$supervisor" "$pc"
must is_held_by "$(readlink "/proc/$(pid_of asks)/fd/3")" - "$keeper" "$supervisor" "$(pid_of asks)"
must is_held_by "$(readlink "/proc/$(pid_of answers)/fd/7")" - "$keeper" "$supervisor" "$(pid_of answers)"
must [ -s "$T/alone.dump" ]
contains "$T/alone.dump" '^env MPSUP_PIPE_' && fail "a program without pipes has a variable of one"
[ "$(grep -c '^fd ' "$T/alone.dump")" = 3 ] || fail "alone has descriptors: $(grep '^fd ' "$T/alone.dump")"
is two capacity 131072 || fail "two holds $(field two capacity)"
is talk capacity 262144 || fail "talk holds $(field talk capacity)"
is one state open || fail "one is $(field one state)"

say "duplex goes both ways"
must n_lines "$T/asked" 50
cmp -s "$T/asked" <(seq 2 2 100) || fail "answers: $(head -n 5 "$T/asked" | xargs)"
mps_expect 0 stop asks
must [ -e "$T/answers.done" ]

say "status NAME lists the pipes that a program is at"
mps_expect 0 status b
contains "$T/out" '^  reads from  one at 0, from a: open, 0 bytes wait$' || fail "status b: $(cat "$T/out")"
contains "$T/out" '^  writes to   two at 1, to c: open, 0 bytes wait$' || fail "status b: $(cat "$T/out")"
mps_expect 3 status answers
contains "$T/out" '^  talks on    talk at 7, with asks: closed$' || fail "status answers: $(cat "$T/out")"
mps_expect 0 status alone
contains "$T/out" 'bytes wait' && fail "alone is at a pipe"
[ "$(mps status --json b | python3 -c 'import json, sys
print([(p["name"], p["side"], p["fd"]) for p in json.load(sys.stdin)["processes"][0]["pipes"]])')" = "[('one', 'to', 0), ('two', 'from', 1)]" ] ||
  fail "status --json b: $(mps status --json b)"

say "a restart by request is no end"
mps_expect 0 restart b c
in_state a RUNNING || fail "a is $(state a)"
[ ! -e "$T/c.done" ] || fail "c saw an end"
pb=$(pid_of b)
[ "$(readlink "/proc/$pb/fd/0")" = "$one" ] || fail "b reads from another pipe"
must is_held_by "$one" 0 "$keeper" "$supervisor" "$pb"

say "what waits is counted; killed, a consumer and the supervisor are followed by others that lose nothing"
freeze "$pb"
touch "$T/go"
bytes=$(seq 3000 | wc -c)
must is one waiting "$bytes"
take_over
is one waiting "$bytes" || fail "after the takeover $(field one waiting) bytes wait"
[ "$(pid_of b)" = "$pb" ] || fail "b was restarted by the takeover"
must is_held_by "$one" 1 "$keeper" "$supervisor" "$pa"
kill -KILL "$pb"
must n_lines "$T/c.out" 3000
same "$T/c.out" 1 3000 || fail "c has not what a has written"
must n_lines "$T/errors.out" 3

say "the end comes when the last producer has ended for good, through the chain"
[ ! -e "$T/c.done" ] || fail "c saw the end while a was running"
take_over
mps_expect 0 stop a
must in_state b EXITED
must in_state c EXITED
[ -e "$T/c.done" ] || fail "c did not see the end"
must is one state closed
is_held_by "$one" 1 || fail "somebody holds a write end: $(holders "$one" 1)"
is_held_by "$one" 0 || fail "somebody holds a read end: $(holders "$one" 0)"

say "started again by hand, all is as at first; a first consumer is waited for"
rm -f "$T/c.done" "$T/c.out"
mps_expect 0 start a
must is one waiting "$bytes"
mps_expect 0 start c
mps_expect 0 start b
must n_lines "$T/c.out" 3000
same "$T/c.out" 1 3000 || fail "c has not what a has written"
two=$(readlink "/proc/$(pid_of c)/fd/0")

say "a producer that comes back finds the consumer that has stayed"
freeze "$(pid_of c)"
mps_expect 0 stop b
must is two state ended
mps_expect 0 start b
must is two state open
[ "$(readlink "/proc/$(pid_of b)/fd/1")" = "$two" ] || fail "b writes into another pipe"
kill -CONT "$(pid_of c)"
shutdown_mpsup

config <<X
[program:make]
command=$P lines p 1 1000000
startsecs=0
autorestart=false
[program:take]
command=$P copy p $T/million
startsecs=0
[pipe:p]
from=make
to=take
X
say "the supervisor is killed while a million lines go through"
export MPSUP_NO=crash_limit
start_mpsup
n=0
until in_state take EXITED; do
  take_over
  n=$((n + 1))
done
same "$T/million" 1 1000000 || fail "after $n takeovers there are $(wc -l <"$T/million") lines"
must contains "$LOG" 'supervisor .* was ended by signal 9'
shutdown_mpsup
unset MPSUP_NO

config <<X
[program:make]
command=$P packets jobs 1 2000
startsecs=0
autorestart=false
[program:work]
command=$P take jobs $T/work-%(process_num)d
numprocs=4
process_name=%(program_name)s_%(process_num)d
startsecs=0
autorestart=unexpected
[program:two]
command=$P lines back %(process_num)d001 500
numprocs=2
numprocs_start=1
process_name=%(program_name)s_%(process_num)d
startsecs=0
autorestart=false
[program:collect]
command=$P copy back $T/back
startsecs=0
autorestart=unexpected
[pipe:jobs]
from=make:none
to=work
mode=packet
[pipe:back]
from=two
to=collect
X
say "packets: four consumers share one queue, each message whole and once; two producers of a stream"
start_mpsup
for i in 0 1 2 3; do must in_state work:work_$i EXITED; done
sort -n "$T"/work-* >"$T/all"
same "$T/all" 1 2000 || fail "messages are missing, torn or doubled: $(wc -l <"$T/all")"
must in_state collect EXITED
sort -n "$T/back" >"$T/all"
cmp -s "$T/all" <(seq 1001 1500; seq 2001 2500) || fail "lines are missing or torn"
is jobs state closed || fail "jobs is $(field jobs state)"
shutdown_mpsup

config <<X
[program:make]
command=$P wait $T/started lines out 1 100000
startsecs=0
autorestart=false
stderr_logfile=$T/make.err
[program:deaf]
command=$P wait $T/started packets out2 1 1000000
startsecs=0
autorestart=false
stderr_logfile=$T/deaf.err
[program:eat]
command=$P touch $T/started rest
startsecs=0
autostart=false
[program:last]
command=$P copy kept $T/kept touch $T/kept.done
startsecs=0
autorestart=false
[program:gives]
command=$P lines kept 1 100
startsecs=0
autorestart=false
[pipe:out]
from=make
to=eat
[pipe:out2]
from=deaf
to=eat:5
mode=packet
[pipe:kept]
from=gives
to=last
on_end=keep
X
say "while a consumer may come, producers wait; when the last is gone for good they get SIGPIPE"
start_mpsup
mps_expect 0 start eat
must is_full out
in_state make RUNNING || fail "make is $(state make)"
take_over
mps_expect 0 stop eat
must in_state make EXITED
mps status --json make | grep -q '"signal": *"PIPE"' || fail "make has not ended by SIGPIPE: $(mps status --json make)"
must in_state deaf EXITED
[ "$(cat "$T/deaf.err")" = "plumb: write: EPIPE" ] || fail "deaf was told: $(cat "$T/deaf.err")"

say "on_end=keep: no end comes, and what is in the pipe stays"
must n_lines "$T/kept" 100
must in_state gives EXITED
is kept state open || fail "kept is $(field kept state)"
[ ! -e "$T/kept.done" ] || fail "last saw an end"
mps_expect 0 stop last
mps_expect 0 start gives
must is kept waiting "$(seq 100 | wc -c)"
rm -f "$T/kept"
mps_expect 0 start last
must n_lines "$T/kept" 100
shutdown_mpsup

config <<X
[program:first]
command=$P copy made $T/first touch $T/first.done
startsecs=0
autorestart=false
priority=1
[program:nosuch]
command=no-such-command-$ID
startretries=0
startsecs=0
priority=2
[program:crashes]
command=$P lines back 1 1 wait $T/nothing
startsecs=0
restart_delay=60
restart_delay_max=60
[program:hears]
command=$P copy back $T/hears touch $T/hears.done
startsecs=0
autorestart=false
[program:endless]
command=$P lines much 1 100000000
startsecs=0
autorestart=false
[program:head]
command=head -n 1
startsecs=0
autorestart=false
[program:served]
entry=$B/examples/collect.so:collect
start_method=forkserver
startsecs=0
autorestart=false
[program:feeds]
command=$P lines in 1 3 rest
startsecs=0
autorestart=false
[program:gets]
command=$P copy result $T/result touch $T/result.done
startsecs=0
autorestart=false
[pipe:made]
from=nosuch
to=first
[pipe:back]
from=crashes
to=hears
[pipe:much]
from=endless
to=head
[pipe:in]
from=feeds
to=served
[pipe:result]
from=served
to=gets
X
say "a producer that is given up without having started once has ended for good"
mps_expect 7 start
must in_state first EXITED
[ -e "$T/first.done" ] || fail "first did not see the end"

say "a consumer that ends by itself and is not started again: SIGPIPE"
must in_state endless EXITED
mps status --json endless | grep -q '"signal": *"PIPE"' || fail "endless has not ended by SIGPIPE: $(mps status --json endless)"

say "no end while a producer that has crashed waits to be started again"
must n_lines "$T/hears" 1
mps_expect 0 signal KILL crashes
must in_state crashes BACKOFF
must is back waiting 0
in_state hears RUNNING || fail "hears is $(state hears)"
is back state open || fail "back is $(field back state)"
mps_expect 0 restart crashes
must n_lines "$T/hears" 2
mps_expect 0 stop crashes
must in_state hears EXITED

say "a forkserver keeps no end of what it starts"
keeper=$(role keeper) supervisor=$(role supervisor)
must in_state served RUNNING
in=$(readlink "/proc/$(pid_of served)/fd/0") result=$(readlink "/proc/$(pid_of served)/fd/1")
must is_held_by "$in" 0 "$keeper" "$supervisor" "$(pid_of served)"
must is_held_by "$in" 1 "$keeper" "$supervisor" "$(pid_of feeds)"
must is_held_by "$result" 1 "$keeper" "$supervisor" "$(pid_of served)"
mps_expect 0 stop feeds
must [ -e "$T/result.done" ]
contains "$T/result" '^all 3 jobs are done$' || fail "gets has $(cat "$T/result")"
is_held_by "$in" 1 || fail "somebody holds a write end: $(holders "$in" 1)"
is_held_by "$result" 1 || fail "somebody holds a write end: $(holders "$result" 1)"
shutdown_mpsup

say "a reload adds, changes and removes pipes"
config <<X
[program:a]
command=$P wait $T/g1 lines one 1 10 rest
startsecs=0
[program:b]
command=$P copy one $T/r1 rest
startsecs=0
[program:c]
command=$W
startsecs=0
[pipe:one]
from=a
to=b
X
start_mpsup
pa=$(pid_of a) pb=$(pid_of b) pc=$(pid_of c)
sed -i "s,^\[pipe:one\],[pipe:two]\nfrom=c:none\nto=b:none\n&\nsize=256KB," "$CONF"
mps_expect 0 reload
contains "$T/out" '^\[pipe:one\] +changed live \(size\)' || fail "one is not told: $(cat "$T/out")"
contains "$T/out" '^\[pipe:two\] +added' || fail "two is not told: $(cat "$T/out")"
contains "$T/out" '^b +restarted \(to\)' || fail "b is not told: $(cat "$T/out")"
[ "$(pid_of a)" = "$pa" ] || fail "a was restarted"
[ "$(pid_of b)" != "$pb" ] || fail "b was not restarted"
is one capacity 262144 || fail "one holds $(field one capacity)"
touch "$T/g1"
must n_lines "$T/r1" 10
sed -i 's/^size=.*/mode=packet/' "$CONF"
mps_expect 0 reload
contains "$T/out" '^\[pipe:one\] +made anew \(mode, size\)' || fail "one is not told: $(cat "$T/out")"
[ "$(pid_of a)" != "$pa" ] || fail "a was not restarted"
case $(readlink "/proc/$(pid_of a)/fd/1") in socket:*) ;; *) fail "a still writes into a pipe" ;; esac
pa=$(pid_of a)
sed -i 's/^mode=packet/&\nsize=48KB/' "$CONF"
mps_expect 0 reload
contains "$T/out" '^\[pipe:one\] +changed live \(size\)' || fail "one is not told: $(cat "$T/out")"
[ "$(pid_of a)" = "$pa" ] || fail "a was restarted"
is one capacity 98304 || fail "one holds $(field one capacity)" # the kernel doubles it (socket(7))
sed -i '/^\[pipe:two\]/,/^to=/d' "$CONF"
mps_expect 0 reload
contains "$T/out" '^\[pipe:two\] +removed' || fail "two is not told: $(cat "$T/out")"
[ "$(pid_of a)" = "$pa" ] || fail "a was restarted"
[ -z "$(field two state)" ] || fail "two is still there"
take_over
[ "$(pid_of a)" = "$pa" ] || fail "a was restarted by the takeover"
is one state open || fail "one is $(field one state)"

shutdown_mpsup

say "consumers that take each other's place in a reload find what has been written, and the producer notices nothing"
rm -f "$T/g1" "$T/r2"
config <<X
[program:a]
command=$P wait $T/g1 lines one 1 10 rest
startsecs=0
[program:b]
command=$W
startsecs=0
[program:c]
command=$W
startsecs=0
[pipe:one]
from=a
to=b
mode=packet
X
start_mpsup
pa=$(pid_of a)
touch "$T/g1"
is_filled() { [ "$(field one waiting)" -gt 0 ]; }
must is_filled
sed -i 's/^to=b/to=c/' "$CONF" # there already, and restarted for it
mps_expect 0 reload
[ "$(pid_of a)" = "$pa" ] || fail "a was restarted"
is_filled || fail "what was written is lost"
sed -i "s,^\[pipe:one\],[program:d]\ncommand=$P copy one $T/r2 rest\nstartsecs=0\n&,; s,^to=c,to=d," "$CONF" # a new one
mps_expect 0 reload
must n_lines "$T/r2" 10
[ "$(pid_of a)" = "$pa" ] || fail "a was restarted"

say "a table, and drawings"
mps_expect 0 pipes
contains "$T/out" '^one +packet +open +[0-9]+ +[0-9]+ +a +d$' || fail "pipes: $(cat "$T/out")"
mps_expect 0 graph
contains "$T/out" '^\| a \| == one ==> \| d \|$' || fail "graph: $(cat "$T/out")"
contains "$T/out" '^without pipes: b, c$' || fail "graph: $(cat "$T/out")"
mps_expect 0 graph --dot
contains "$T/out" 'n0 -> n3 \[label="one", style=dashed\];' || fail "graph --dot: $(cat "$T/out")"
if command -v dot >/dev/null; then
  expect 0 dot -Tdot "$T/out"
fi
shutdown_mpsup

say "the example of the README"
sed "s,^identifier.*,identifier = $ID,; s,%(here)s/../../build,$B,g" "$(dirname "$0")/../examples/pipeline.ini" >"$CONF"
mps_expect 0 run
[ "$(grep -cE 'worker [0-3] has done job [0-9]+$' "$T/out")" = 20 ] || fail "not 20 jobs were done"
for i in 0 1 2 3; do
  contains "$T/out" "worker $i has done" || fail "worker $i has done nothing"
done
contains "$T/out" 'all 20 jobs are done' || fail "the collector did not end by itself"
contains "$T/err" 'worker:worker_2 asks for RESTART=1' || fail "worker 2 did not ask for its restart"
[ "$(grep -c "spawned: 'worker_2'" "$T/err")" -gt "$(grep -c "spawned: 'worker_1'" "$T/err")" ] || fail "worker 2 was not restarted"
