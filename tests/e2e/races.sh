#!/bin/bash
# Many clients at once: the same request from all, requests that contradict each other, many on one connection. Never two
# processes of one program, each request answered once, and in the end all is as the last one said.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

# together N COMMAND...: N times at once; the exit statuses are in $T/status, one a line.
together() {
  local n=$1 i jobs=()
  shift
  rm -f "$T"/said.*
  for ((i = 0; i < n; i++)); do
    timeout 30 "$@" >"$T/said.$i" 2>&1 </dev/null &
    jobs+=($!)
  done
  for i in "${jobs[@]}"; do
    wait "$i"
    echo $?
  done >"$T/status"
}
all_say() { # statuses that are allowed, as a pattern
  ! grep -vxE "$1" "$T/status" >/dev/null || { tail -n 2 "$T"/said.* && fail "exit statuses: $(sort "$T/status" | uniq -c)"; }
}

config <<X
[program:many]
command=$W
process_name=%(program_name)s_%(process_num)d
numprocs=5
startsecs=0
X
say "ten starts of an instance that does not run: there is one, whoever made it"
together 10 "$MPSUP" start -c "$CONF"
all_say 0
keeper=$(role keeper)
supervisor=$(role supervisor)
n_keepers() {
  for p in $(ours); do tr '\0' ' ' <"/proc/$p/cmdline" && echo; done 2>/dev/null | grep -c '^mpsup: keeper'
}
[ "$(n_keepers)" = 1 ] || fail "$(n_keepers) keepers"
must in_state many:many_4 RUNNING
[ "$(workers | wc -l)" = 5 ] || fail "$(workers | wc -l) workers instead of 5"

shutdown_mpsup

say "one that waits for the lock is told of its end too early, as it is when its holder is killed"
mkdir -p "$RUNTIME"
chmod 711 "$RUNTIME"
mkfifo "$T/go"
python3 - "$RUNTIME/lock" "$T/go" <<'X' &
import fcntl, os, sys
lock, other = (os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600) for _ in range(2))
fcntl.flock(lock, fcntl.LOCK_EX)
words = open(sys.argv[2])
words.readline()
os.close(other)
words.readline()
fcntl.flock(lock, fcntl.LOCK_UN)
words.readline()
X
holder=$!
exec 3>"$T/go"
held() {
  ! flock -n "$RUNTIME/lock" true
}
must held
"$MPSUP" start -c "$CONF" >"$T/waits" 2>&1 </dev/null 3>&- &
waiter=$!
waits() { # in poll(2)
  [ "$(awk '{ print $1 }' "/proc/$waiter/syscall")" = 7 ] && readlink "/proc/$waiter"/fd/* | grep -q inotify
}
must waits
echo >&3
must waits
echo >&3
wait "$waiter" || fail "$(cat "$T/waits")"
exec 3>&-
wait "$holder"
supervisor=$(role supervisor)
keeper=$(role keeper)
must in_state many:many_4 RUNNING
shutdown_mpsup

config <<X
[program:a]
command=$W --pidfile $T/a
startsecs=0
autostart=false
[program:b]
command=$W --pidfile $T/b --fork 1 { --setsid --pidfile $T/b }
startsecs=0
autostart=false
stopwaitsecs=1
[program:slow]
command=$W --on-term 300
startsecs=0
autostart=false
[program:many]
command=$W
process_name=%(program_name)s_%(process_num)d
numprocs=5
startsecs=0
X

start_mpsup
say "ten starts of one program: one process"
together 10 "$MPSUP" start -c "$CONF" a
all_say 0
must n_lines "$T/a" 1
[ "$(wc -l <"$T/a")" = 1 ] || fail "started $(wc -l <"$T/a") times"
say "  $(cat "$T"/said.* | sort | uniq -c | tr '\n' ';')"

say "ten stops of one program"
together 10 "$MPSUP" stop -c "$CONF" a
all_say 0
in_state a STOPPED || fail "a is $(state a)"
all_gone "$T/a" || fail "its process lives on"

say "starts, stops and restarts of the same names, all at once, again and again"
mps_expect 0 start b
max=0
turns() { # seed, count
  local i verbs=(start stop restart stop restart)
  for ((i = 0; i < $2; i++)); do
    "$MPSUP" "${verbs[$((($1 + i) % 5))]}" -c "$CONF" b slow
    # A start or a restart that a stop came after has failed; nothing but that may.
    case $? in 0 | 1 | 7) ;; *) echo "$?" >>"$T/odd" ;; esac
  done
}
jobs=()
for seed in 0 1 2 3; do
  turns $seed 8 >"$T/turns.$seed" 2>&1 </dev/null &
  jobs+=($!)
done
busy() {
  local j
  for j in "${jobs[@]}"; do ! kill -0 "$j" 2>/dev/null || return 0; done
  return 1
}
mains() { # processes whose parent is the keeper and that were started as b
  local p n=0
  for p in $(pgrep -P "$keeper"); do
    case $(tr '\0' ' ' 2>/dev/null <"/proc/$p/cmdline") in "$W --pidfile $T/b "*) n=$((n + 1)) ;; esac
  done
  echo $n
}
watched() { # until all clients are done
  local n
  n=$(mains)
  [ "$n" -le $max ] || max=$n
  ! busy
}
must -t 60 watched
wait "${jobs[@]}"
[ ! -e "$T/odd" ] || fail "exit statuses $(sort "$T/odd" | uniq -c): $(tail -n 3 "$T"/turns.*)"
# A child that was forked and orphaned before it came to its setsid counts for a moment too.
[ $max -le 2 ] || fail "$max processes of b at a time"
grep -hE 'ERROR|mpsup:' "$T"/turns.* | sort | uniq -c | sed 's/^/  /'

say "after the last word, a restart, each has one process"
mps_expect 0 restart b slow
in_state b RUNNING || fail "b is $(state b)"
n=$(wc -l <"$T/b")
b_is_alone() {
  local p n=0
  while read -r p; do ! alive "$p" || n=$((n + 1)); done <"$T/b"
  [ $n = 2 ]
}
must b_is_alone
[ "$(wc -l <"$T/b")" -le $((n + 1)) ] || fail "b was started once more after the last restart"
mps_expect 0 stop b slow
all_gone "$T/b" || { show_left && fail "something of b lives on after the last stop"; }
[ "$(workers | wc -l)" = 5 ] || { show_left && fail "$(workers | wc -l) workers instead of 5"; }

say "many requests on one connection: each is answered, once"
python3 - "$RUNTIME/control.sock" <<'X' || fail "see above"
import collections, json, socket, sys
s = socket.socket(socket.AF_UNIX)
s.settimeout(20)
s.connect(sys.argv[1])
methods = [("status", {}), ("info", {}), ("start", {"targets": ["a"]}), ("restart", {"targets": ["many:*"]}),
           ("stop", {"targets": ["a"]}), ("start", {"targets": ["nobody"]}), ("nonsense", {}),
           ("restart", {"targets": ["slow"]}), ("stop", {"targets": ["slow"], "wait": False})]
sent = []
text = b""
for i in range(60):
    m, p = methods[i % len(methods)]
    ident = i if i % 2 else "id-%d" % i
    sent.append(ident)
    text += json.dumps({"id": ident, "method": m, "params": p}).encode() + b"\n"
half = len(text) // 2  # also in the middle of a line
s.sendall(text[:half])
s.sendall(text[half:])
s.shutdown(socket.SHUT_WR)
answers = collections.Counter()
order = []
for line in s.makefile("rb"):
    m = json.loads(line)
    if "event" not in m and not m.get("more"):
        answers[m["id"]] += 1
        order.append(m["id"])
wrong = [i for i in sent if answers[i] != 1]
if wrong or len(answers) != len(sent):
    raise SystemExit("not answered once: %s of %d; odd: %s" % (wrong, len(sent), set(answers) - set(sent)))
print("  %d answers, %s" % (len(order), "in order" if order == sent else "not in the order of the requests"))
X
must in_state many:many_4 RUNNING
mps_expect 0 stop a slow
shutdown_mpsup
