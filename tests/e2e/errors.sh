#!/bin/bash
# Each row is a command whose nth allocation, process, descriptor or write fails (tests/preload/nth.c). Then it is dead by no
# signal, does not hang, leaves nothing, and either says what failed and exits so, or has done all. A run tries some rows and
# some n; SWEEP=1 tries all, ROWS="map lock" and KINDS="memory" pick, and what the call was made by is told where a row fails.
# shellcheck disable=SC2034 # lib.sh reads it
ALONE=1
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
[ -z "${SAN:-}" ] || { echo "a sanitizer's library must be the first that is loaded" && exit 77; }
[ -e "$B/preload/nth.so" ] || fail "no $B/preload/nth.so: make tests"
# With a +, all such calls of the next 0.3 s fail as well.
KINDS=${KINDS:-memory memory+ process process+ descriptor descriptor+ space space+ short}
# So many of a row and a kind, which ones by SEED, and by that also the row to begin with.
TRIES=${TRIES:-1}
RANDOM=${SEED:-1}
# Seconds after which no row is begun; ROWS and SWEEP are all of them.
ENOUGH=20

A=unix:$T/m.sock
seq 40 >"$T/lines"
head -n 20 "$T/lines" | "$MPSUP" map -l "$T/listed" -- echo {} >/dev/null || fail "map"
O=mpse$$
program() { # name, then lines
  printf '%s\n' "[program:$1]" "command=$W" startsecs=0 redirect_stderr=true stdout_logfile="$T/$1.log" "${@:2}"
}
{
  program web numprocs=2 'process_name=%(process_num)d'
  program talk "command=$T/talk" control=self
  program does "command=$T/does $T" control=self
} >"$T/programs"
# shellcheck disable=SC2016 # for that shell
printf '#!/bin/bash\nseq 100\nexec cat <&"$MPSUP_CONTROL_FD" >/dev/null\n' >"$T/talk"
cat >"$T/does" <<'X'
#!/bin/bash
# What comes in is done, and its status goes back.
while :; do
  (. "$1/do")
  echo $? >"$1/done"
done
X
mkfifo "$T/do" "$T/done"
chmod 755 "$T/talk" "$T/does"
config <"$T/programs"
sed 's/numprocs=2/numprocs=20/' "$CONF" >"$T/many.conf"

# ------------------------------------------------------------------------------------------------ what is tried

life() { # all of an instance's life; the first that fails is what it was
  mps start && mps status --compat >"$T/status" && mps restart talk && mps signal HUP 'web:*' && mps stop all && mps shutdown &&
    whole_lines
}
never() { # what: no failure is a reason for it
  echo "$*" >&2
  return 200
}
whole_lines() {
  ! grep -vxE '[0-9]+' "$T/talk.log" >&2 || never "torn lines"
}
end_life() {
  [ -z "$(role keeper)" ] || mps shutdown >/dev/null 2>&1
}
at_work() { # pid: it waits, or has ended
  sits "$1" || ! alive "$1"
}
watch() { # file, verb, arguments: an instance, from its start to its end; what it has printed is in the file
  local p rc=0
  mps start || return
  "$MPSUP" "${@:2}" -c "$CONF" >"$1" &
  p=$!
  wait_for at_work $p && mps restart talk && mps stop all && mps shutdown || rc=9
  wait $p && return $rc
}
listen() {
  watch "$T/told" events -t exit,shutdown || return
  grep -o '"event":"[a-z]*".*"name":"talk"' "$T/told" | wc -l
}
follow() {
  rm -f "$T/talk.log"
  watch "$T/followed" logs -f -n all talk || return
  cmp "$T/talk.log" "$T/followed" || never "not all was followed"
}
is_up() { # pid
  n_lines "$T/talk.log" 100 || ! alive "$1"
}
front() { # in the foreground
  local rc=0
  rm -f "$T/talk.log"
  "$MPSUP" run -c "$CONF" &
  wait_for is_up $! || never "it does not come up" || rc=$?
  kill -TERM $! 2>/dev/null
  wait $! && whole_lines && return $rc
}
inside() { # mpsup's arguments: in a program, and with what makes it fail here
  {
    export -p | grep -E ' (FAIL.*|LD_PRELOAD)='
    printf '%q ' "$MPSUP" "$@"
    echo ">$T/inside.out 2>&1"
  } >"$T/do"
  local rc
  read -r rc <"$T/done"
  cat "$T/inside.out"
  return "$rc"
}
hears() { # the supervisor, what a program tells
  inside tell "STATUS=$n" || return
  says does status "$n" || never "nothing was told"
}
serves() { # pid
  n_lines "$T/address" 1 || ! alive "$1"
}
manage() { # all of a manager's
  : >"$T/address"
  "$MPSUP" manager --address "unix:$T/other.sock" --snapshot "$T/snapshot" >"$T/address" &
  wait_for serves $!
  n_lines "$T/address" 1 || { wait $! && return 9; return; }
  local to=(-m "unix:$T/other.sock") rc=0
  "$MPSUP" dict d set k v "${to[@]}" && "$MPSUP" queue q put 1 2 "${to[@]}" && "$MPSUP" counter c add "${to[@]}" || rc=$?
  kill -TERM $!
  wait $! && [ -s "$T/snapshot" ] && return $rc
}
again() { # with what it has kept
  : >"$T/address"
  "$MPSUP" manager --address "unix:$T/other.sock" --snapshot "$T/kept" >"$T/address" &
  wait_for serves $!
  n_lines "$T/address" 1 || { wait $! && return 9; return; }
  "$MPSUP" dict d get k -m "unix:$T/other.sock"
  local rc=$?
  kill -TERM $!
  wait $! && return $rc
}
keeps() { # a file, which is to go, but then is not
  # shellcheck disable=SC2016 # for that shell
  "$MPSUP" exec -- sh -c '"$1" ipc register file "$2" && "$1" ipc unregister file "$2"' sh "$MPSUP" "$1"
}

# name | in which programs | what is printed where it is no failure: same, any | what is done | and afterwards
# shellcheck disable=SC2016 # for eval
rows='
version  | mpsup version  | same | $MPSUP version |
help     | mpsup help     | same | $MPSUP help start |
check    | mpsup check    | same | mps check |
keys     | mpsup keys     | same | $MPSUP keys --example |
complete | mpsup complet  | same | $MPSUP completion bash |
exec     | mpsup exec     | same | $MPSUP exec -- echo done |
lock     | mpsup lock     | same | $MPSUP lock "$ID" -- echo done |
sem      | mpsup sem      | same | $MPSUP sem "$ID" -n 2 -- echo done |
map      | mpsup map      | same | $MPSUP map -j 2 -- echo {} <"$T/lines" |
workers  | mpsup map      | same | $MPSUP map -j 2 -- cat <"$T/lines" |
joblog   | mpsup map      | same | $MPSUP map -j 2 -l "$T/joblog" -- echo {} <"$T/lines" && wc -l <"$T/joblog" | rm -f "$T/joblog"
resume   | mpsup map      | same | cp "$T/listed" "$T/joblog" && $MPSUP map -j 2 -l "$T/joblog" --resume -- echo {} <"$T/lines" | rm -f "$T/joblog"
ipc      | mpsup ipc      | any  | $MPSUP ipc ls |
clean    | mpsup ipc      | any  | $MPSUP ipc clean --dry-run |
unlink   | mpsup ipc      | same | touch "/dev/shm/$O" && $MPSUP ipc unlink "/$O" | rm -f "/dev/shm/$O"
remove   | mpsup ipc      | same | touch "/dev/shm/$O" && $MPSUP ipc clean --match "$O" | rm -f "/dev/shm/$O"
register | mpsup ipc      | same | touch "$T/mine" && $MPSUP exec -- "$MPSUP" ipc register file "$T/mine" && [ ! -e "$T/mine" ] | rm -f "$T/mine"
unregist | mpsup ipc      | same | touch "$T/mine" && keeps "$T/mine" && [ -e "$T/mine" ] | rm -f "$T/mine"
ls       | mpsup ls       | any  | $MPSUP ls |
status   | mpsup status   | any  | mps status |
detail   | mpsup status   | any  | mps status talk |
json     | mpsup status   | any  | mps status --json |
top      | mpsup top      | any  | mps top |
pid      | mpsup pid      | same | mps pid |
logs     | mpsup logs     | same | mps logs -n 50 talk |
tell     | mpsup tell     | same | hears |
send     | mpsup send     | same | mps send talk text |
signal   | mpsup signal   | same | mps signal HUP "web:*" |
wait     | mpsup wait     | same | mps wait talk |
pipes    | mpsup pipes    | same | mps pipes |
graph    | mpsup graph    | same | mps graph |
upgrade  | mpsup upgrade  | any  | mps upgrade |
reload   | mpsup reload   | any  | mps reload |
restart  | mpsup restart  | same | mps restart web:0 |
begin    | mpsup start    | same | mps stop talk && mps start talk | mps start talk
stop     | mpsup stop     | same | mps stop talk | mps start talk
dict     | mpsup dict     | same | $MPSUP dict d set k v -m "$A" |
list     | mpsup list     | any  | $MPSUP list l append v -m "$A" |
queue    | mpsup queue    | same | $MPSUP queue q put v -m "$A" | $MPSUP queue q get -t 0 -m "$A"
counter  | mpsup counter  | any  | $MPSUP counter c add -m "$A" |
event    | mpsup event    | same | $MPSUP event e set -m "$A" |
barrier  | mpsup barrier  | any  | $MPSUP barrier b wait -n 1 -m "$A" |
info     | mpsup manager  | any  | $MPSUP manager info -m "$A" |
locks    | mpsup lock     | same | $MPSUP lock "$ID" --manager "$A" -- echo done |
start    | mpsup start    | any  | life | end_life
stop_all | mpsup stop     | any  | mps start && mps stop | end_life
shutdown | mpsup shutdown | any  | mps start && mps shutdown | end_life
events   | mpsup events   | same | listen | end_life
follow   | mpsup logs     | same | follow | end_life
run      | mpsup run      | any  | front | end_life
front    | mpsup supervi  | any  | front | end_life
keeper   | mpsup-host     | any  | life | end_life
many     | mpsup-host     | any  | CONF=$T/many.conf life | CONF=$T/many.conf end_life
superv   | mpsup supervi  | any  | life | end_life
manager  | mpsup manager  | any  | manage | rm -f "$T/snapshot"
kept     | mpsup manager  | same | again |
'

# ------------------------------------------------------------------------------------------------ trying

# In a shell of its own, so that what it starts in the background is its own, too.
attempt() { # kind, n, who, what
  head -c 16 /dev/zero >"$T/count"
  : >"$T/trace"
  export FAIL=${1%+} FAIL_AT=$2${1//[a-z]/} FAIL_IN=$3 FAIL_COUNT=$T/count FAIL_TRACE=$T/trace
  (
    trap - EXIT
    export LD_PRELOAD=$B/preload/nth.so
    eval "$4"
  ) >"$T/out" 2>"$T/err" </dev/null &
  local p=$!
  ended() { ! kill -0 "$p" 2>/dev/null; }
  unset FAIL FAIL_AT FAIL_IN FAIL_COUNT FAIL_TRACE
  wait_for -t 20 ended || { kill -KILL $p && kill_more; }
  wait $p 2>/dev/null
}
n_calls() {
  od -An -tu8 -N8 "$T/count" | tr -d ' '
}
more() { # pids that were not there before the row
  local now
  now=$(ours)
  comm -13 <(sort <<<"$before") <(sort <<<"$now")
}
no_more() { # a program may be another process by now
  local now
  now=$(ours)
  [ "$(wc -l <<<"$now")" -le "$(wc -l <<<"$before")" ]
}

kill_more() {
  # shellcheck disable=SC2046 # words
  kill -KILL $(more) 2>/dev/null
}

wrong=0
complain() { # what
  wrong=$((wrong + 1))
  echo "  WRONG: $name: $kind $n: $*; it said '$(head -c 500 "$T/err")'"
  [ ! -s "$T/trace" ] || sed -n '3,12p' "$T/trace" | grep -o '[^/]*$' | sed 's/\[.*//' | paste -sd' ' | sed 's/^/    /'
}
# libuv aborts where its loop cannot have the descriptors that there was room for a moment ago (fd_check_room()).
is_libuvs() {
  grep -qs '(uv_loop_init' "$T/trace"
}
judge() { # exit status
  if [ "$1" -ge 128 ]; then
    is_libuvs || complain "exit status $1"
  elif [ "$1" != 0 ]; then
    [ -s "$T/err" ] || grep -qE 'memory|cannot|open files|[Nn]o space|unavailable' "$T/out" || complain "exit status $1 without a word"
  elif [ "$how" = same ]; then
    cmp -s "$T/out" "$T/want" || complain "no failure, but another output: $(diff "$T/want" "$T/out" | head -n 3 | paste -sd' ')"
  fi
}
things() { # all that has a name here
  {
    find "$T" /run/mpsup -mindepth 1 2>/dev/null
    in_shm
  } | sort
}
check_left() {
  local new
  if ! wait_for -t 3 no_more; then
    complain "left behind: $(more | paste -sd' ')"
    kill_more
  fi
  new=$(comm -13 "$T/things" <(things))
  [ -z "$new" ] || complain "left behind: $(paste -sd' ' <<<"$new")"
}
try_row() {
  local calls step
  attempt "$kind" 0 "$who" "$what" || { cat "$T/err" && fail "$name does not work at all"; }
  cp "$T/out" "$T/want"
  eval "$after" >/dev/null
  things >"$T/things"
  calls=$(n_calls)
  step=1
  [ -n "${SWEEP:-}" ] || step=$(((calls + TRIES - 1) / TRIES))
  of=$((of + calls))
  [ "$calls" != 0 ] || return
  for ((n = 1 + RANDOM % step; n <= calls; n += step)); do
    attempt "$kind" "$n" "$who" "$what"
    judge $?
    eval "$after" >/dev/null 2>&1
    tried=$((tried + 1))
    [ -z "${SWEEP:-}" ] || check_left
  done
}

# The manager and the supervisor that verbs are tried on.
"$MPSUP" manager --address "$A" >"$T/address" 2>"$T/serve.err" </dev/null &
server=$!
must n_lines "$T/address" 1
"$MPSUP" manager --address "unix:$T/first.sock" --snapshot "$T/kept" >"$T/first" 2>"$T/serve.err" </dev/null &
first=$!
must n_lines "$T/first" 1
for d in d e f; do expect 0 "$MPSUP" dict $d set k v -m "unix:$T/first.sock"; done
kill -TERM $first
wait $first
up() {
  [ -z "$keeper" ] || return
  start_mpsup
  must n_lines "$T/talk.log" 100
}
down() {
  [ -n "$keeper" ] || return 0
  mps_expect 0 shutdown
  keeper=
}
try() { # a line of the table
  IFS='|' read -r name who how what after <<<"$1"
  name=${name// /}
  who=${who# }
  who=${who%%  *}
  who=${who% }
  how=${how// /}
  case " ${ROWS:-$name} " in *" $name "*) ;; *) return ;; esac
  case $after in *end_life*) down ;; *) up ;; esac
  n=0
  tried=0
  of=0
  before=$(ours)
  for kind in $KINDS; do try_row; done
  check_left
  say "$name: $tried of $of"
}
mapfile -t all < <(grep . <<<"$rows")
first=$((RANDOM % ${#all[@]}))
for ((row = 0; row < ${#all[@]}; row++)); do
  [ -n "${SWEEP:-}${ROWS:-}" ] || [ $SECONDS -lt $ENOUGH ] || break
  try "${all[(first + row) % ${#all[@]}]}"
done
kill -TERM $server
wait $server
down
must nothing_left
[ $wrong = 0 ] || fail "$wrong failures were no good ones"
