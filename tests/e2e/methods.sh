#!/bin/bash
# Start methods: whatever way a program comes to be, it is started with the same, ends the same, fails with the same words,
# and is ended with its whole tree; and what becomes of a forkserver is not the workers' business.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

METHODS='spawn fork forkserver'
KINDS='command entry'
SO=$T/bin/worker.so
is_root=
[ "$(id -u)" != 0 ] || is_root=1

# program NAME KIND METHOD FILE ARGUMENTS: FILE is the worker's, or another's
program() {
  printf '[program:%s]\nstart_method=%s\nstartretries=0\nautorestart=false\nautostart=false\nstartsecs=0\n' "$1" "$3"
  if [ "$2" = command ]; then
    printf 'command=%s %s\n' "$4" "$5"
  else
    printf 'entry=%s:main\nargs=%s\n' "$4" "$5"
  fi
}

file_of() { # kind
  [ "$1" = command ] && echo "$W" || echo "$SO"
}

# What can be seen of all, without their places in the file, for seen().
look() {
  mps status --json >"$T/rows.json"
  python3 -c '
import json, re, sys
for row in json.load(sys.stdin)["processes"]:
    said = re.sub(r" \(mpsup\.conf:\d+\)", "", row.get("spawnerr") or "")
    print(row["name"], row["state"], row.get("exit"), said)' <"$T/rows.json" >"$T/rows"
}

seen() { # name
  sed -n "s/^$1 //p" "$T/rows"
}

cp "$W" "$T/bin/closed" && cp "$SO" "$T/bin/closed.so" && chmod 0 "$T/bin/closed" "$T/bin/closed.so"
{
  for kind in $KINDS; do
    for method in $METHODS; do
      cell=$kind-$method
      file=$(file_of "$kind")
      closed=$T/bin/closed${file#"$W"}
      program "exit-$cell" "$kind" "$method" "$file" "--exit 3"
      program "crash-$cell" "$kind" "$method" "$file" "--signal SEGV"
      program "kill-$cell" "$kind" "$method" "$file" ""
      program "dump-$cell" "$kind" "$method" "$file" "--dump $T/dump.$cell"
      printf 'environment=A="1"\ndirectory=/\numask=027\n'
      program "end-$cell" "$kind" "$method" "$file" "--end $T/end.$cell 4"
      program "missing-$cell" "$kind" "$method" "$T/bin/missing.so" ""
      program "closed-$cell" "$kind" "$method" "$closed" ""
      [ -z "$is_root" ] || printf 'user=nobody\n'
      program "folder-$cell" "$kind" "$method" "$file" ""
      printf 'directory=/nonexistent\n'
      if [ -n "$is_root" ]; then
        program "user-$cell" "$kind" "$method" "$file" "--dump $T/open/dump-user.$cell"
        printf 'user=nobody\n'
      fi
      program "tree-$cell" "$kind" "$method" "$file" "--pidfile $T/tree.$cell --tree 3 --daemonize { --pidfile $T/tree.$cell }"
      printf 'stopwaitsecs=1\n'
    done
  done
  for method in $METHODS; do
    program "symbol-entry-$method" entry "$method" "$SO" "" | sed 's/:main$/:no_such_function/'
  done
} | config
mkdir -m 777 "$T/open"
start_mpsup

# same NAME: what is seen of NAME-KIND-METHOD is the same for all of the kinds.
same() { # name, kinds
  local name=$1 kind method first now
  shift
  first=
  for kind in "$@"; do
    for method in $METHODS; do
      now=$(seen "$name-$kind-$method")
      [ -n "$first" ] || first=$now
      [ "$now" = "$first" ] || fail "$name-$kind-$method: '$now', not '$first'"
    done
  done
  echo "$first"
}

all_of() { # name, kinds: the names
  local name=$1 kind method
  shift
  for kind in "$@"; do
    for method in $METHODS; do
      echo "$name-$kind-$method"
    done
  done
}

in_states() { # states, names
  local states=$1 name
  shift
  look
  for name in "$@"; do
    case "|$states|" in *"|$(seen "$name" | cut -d' ' -f1)|"*) ;; *) return 1 ;; esac
  done
}

say "an exit, a crash and a kill are the same for all"
for name in exit crash kill; do
  # shellcheck disable=SC2046 # names
  mps start $(all_of $name command entry) >"$T/out" 2>"$T/err"
done
for name in $(all_of kill command entry); do
  kill -KILL "$(pid_of "$name")"
done
for name in exit crash kill; do
  # shellcheck disable=SC2046 # names
  must in_states EXITED $(all_of $name command entry)
done
look
case $(same exit command entry) in "EXITED {'code': 3} ") ;; *) fail "exit: $(seen exit-entry-fork)" ;; esac
case $(same crash command entry) in "EXITED {'signal': 'SEGV',"*) ;; *) fail "crash: $(seen crash-entry-fork)" ;; esac
case $(same kill command entry) in "EXITED {'signal': 'KILL',"*) ;; *) fail "kill: $(seen kill-entry-fork)" ;; esac

say "who returns has its handlers called and its output written; what a forkserver has constructed is not destroyed"
# A copy of the keeper lacks its threads: to LeakSanitizer, which looks when exit(3) is called, all is lost there.
if [ -z "${SAN:-}" ]; then
  # shellcheck disable=SC2046 # names
  mps start $(all_of end command entry) >"$T/out" 2>"$T/err"
  # shellcheck disable=SC2046 # names
  must in_states EXITED $(all_of end command entry)
  case $(same end command entry) in "EXITED {'code': 4} ") ;; *) fail "end: $(seen end-entry-fork)" ;; esac
  for name in $(all_of end command entry); do
    expected='atexit destructor stdio'
    [ "$name" != end-entry-forkserver ] || expected='atexit stdio'
    [ "$(sort "$T/end.${name#end-}" | xargs)" = "$expected" ] || fail "$name: $(xargs <"$T/end.${name#end-}")"
  done
fi

say "what cannot be started is told in the same words, with the place"
for name in missing closed folder; do
  # shellcheck disable=SC2046 # names
  mps start $(all_of $name command entry) >"$T/out" 2>"$T/err" && fail "start exits 0"
done
mps start symbol-entry-spawn symbol-entry-fork symbol-entry-forkserver >"$T/out" 2>"$T/err" && fail "start exits 0"
look
[ "$(same missing command)" = "FATAL None exec $T/bin/missing.so: No such file or directory" ] || fail "$(seen missing-command-spawn)"
[ "$(same missing entry)" = "FATAL None entry $T/bin/missing.so: cannot open shared object file: No such file or directory" ] ||
  fail "$(seen missing-entry-spawn)"
[ "$(same closed command)" = "FATAL None exec $T/bin/closed: is not executable" ] || fail "$(seen closed-command-spawn)"
[ "$(same closed entry)" = "FATAL None entry $T/bin/closed.so: cannot open shared object file: Permission denied" ] ||
  fail "$(seen closed-entry-spawn)"
[ "$(same symbol entry)" = "FATAL None entry $SO: undefined symbol: no_such_function" ] || fail "$(seen symbol-entry-spawn)"
[ "$(same folder command entry)" = "FATAL None chdir /nonexistent: No such file or directory" ] || fail "$(seen folder-entry-fork)"
mps status symbol-entry-fork >"$T/out"
line=$(grep -n 'program:symbol-entry-fork\]' "$CONF" | cut -d: -f1)
contains "$T/out" "no_such_function \(mpsup.conf:$((line + 6))\)" || fail "no place"

say "all are started with the same"
# shellcheck disable=SC2046 # names
mps_expect 0 start $(all_of dump command entry)
# Without what differs between any two processes. A copy of the keeper, which has threads, has libc's handler of signal 33;
# sanitizers have handlers of their own.
plain() { # file
  sed -E "s/(dump|A)[-.](user[-.])?(command|entry)-(spawn|fork|forkserver)/\1/g; /^(pid|pgid|sid|pgrp|session|NSpid|start)[ =:]/d; /^env MPSUP_INSTANCE=/d; s/(command|entry)-(spawn|fork|forkserver)//g; s/(pipe|socket):.*/\1/; s/^(SigCgt:.0{7})1/\10/${SAN:+; /^SigCgt/d}" "$1" | sort
}
for name in $(all_of dump command entry); do
  must test -s "$T/dump.${name#dump-}"
  diff <(plain "$T/dump.command-spawn") <(plain "$T/dump.${name#dump-}") >"$T/out" || fail "$name is started with something else"
done
if [ -n "$is_root" ]; then
  # shellcheck disable=SC2046 # names
  mps_expect 0 start $(all_of user command entry)
  for name in $(all_of user command entry); do
    must test -s "$T/open/dump-user.${name#user-}"
    diff <(plain "$T/open/dump-user.command-spawn") <(plain "$T/open/dump-user.${name#user-}") >"$T/out" ||
      fail "$name is started with something else"
    [ "$(stat -c %U "/proc/$(pid_of "$name")")" = nobody ] || fail "$name is $(stat -c %U "/proc/$(pid_of "$name")")'s"
  done
fi

say "stop ends the whole tree"
# shellcheck disable=SC2046 # names
mps_expect 0 start $(all_of tree command entry)
for name in $(all_of tree command entry); do
  must n_lines "$T/tree.${name#tree-}" 2
done
# shellcheck disable=SC2046 # names
mps_expect 0 stop $(all_of tree command entry)
for name in $(all_of tree command entry); do
  all_gone "$T/tree.${name#tree-}" || fail "something of $name is left"
done
shutdown_mpsup

# ------------------------------------------------------------------------------------------------ forkservers

server() { # name: its pid
  local p
  for p in $(ours); do
    case $(tr '\0' ' ' 2>/dev/null <"/proc/$p/cmdline") in
    "mpsup: forkserver $1 "* | "mpsup: forkserver $1")
      echo "$p"
      return
      ;;
    esac
  done
  return 1
}

is_other() { # name, pid: the server is there, and another
  local now
  now=$(server "$1") && [ "$now" != "$2" ]
}

forkserver_of() { # program: what status says
  mps status "$1" | sed -n 's/^  forkserver  *//p'
}

cp "$SO" "$T/bin/loaded.so" && cp "$SO" "$T/bin/crash.so" && cp "$SO" "$T/bin/hang.so"
config <<X
[forkserver:one]
preload=$T/bin/loaded.so

[forkserver:bad]
preload=$T/bin/loaded.so, $T/bin/crash.so

[forkserver:slow]
preload=$T/bin/hang.so

[program:h]
command=$W
start_method=forkserver
forkserver=slow
autostart=false

[program:r]
command=$W
start_method=forkserver
forkserver=slow
ready=notify
start_timeout=1
startretries=0
autostart=false

[program:t]
command=$W
start_method=forkserver
forkserver=slow
start_timeout=1
startretries=0
autostart=false

[program:d]
entry=$T/bin/crash.so:main
start_method=forkserver
forkserver=one
startsecs=0
autorestart=false
autostart=false

[program:e]
entry=$T/bin/loaded.so:main
start_method=forkserver
forkserver=bad
startretries=0
autostart=false

[program:a]
entry=$T/bin/loaded.so:main
start_method=forkserver
forkserver=one
startsecs=0

[program:b]
entry=$T/bin/loaded.so:main
args=--signal SEGV
start_method=forkserver
forkserver=one
startsecs=0
autorestart=false
autostart=false

[program:c]
command=$W
start_method=forkserver
startsecs=0
X
start_mpsup
must in_state a RUNNING
must in_state c RUNNING
a=$(pid_of a)
one=$(server one) || fail "no forkserver"

say "status tells of the method and of the server"
mps status >"$T/out"
contains "$T/out" "^NAME .* METHOD +INFO$" || fail "no method in the table"
contains "$T/out" "^a  .* forkserver" || fail "no method in the row"
[ "$(forkserver_of a)" = "one, pid $one, 1 started; has loaded $T/bin/loaded.so" ] || fail "it says '$(forkserver_of a)'"
[ "$(forkserver_of c)" = "default, pid $(server default), 1 started" ] || fail "it says '$(forkserver_of c)'"
[ "$(sed -n 's/^PPid:\t//p' "/proc/$a/status")" = "$keeper" ] || fail "the worker is not the keeper's child"
# The 41st field, after a name that may hold blanks
policy() { sed 's/.*) //' "/proc/$1/stat" | cut -d' ' -f39; }
[ "$(policy "$a")" = "$(policy "$keeper")" ] || fail "its scheduling policy is $(policy "$a")"

say "a server has nothing but its own end of a socket, on which nobody else can speak, and of a pipe from its spare"
fds=("/proc/$one/fd/"*)
[ "${fds[*]##*/}" = "0 1 2 3 4" ] || fail "it has $(ls -l "/proc/$one/fd")"
[[ $(readlink "/proc/$one/fd/4") = pipe:* ]] || fail "it has $(ls -l "/proc/$one/fd")"

say "its spare is the keeper's child, a copy that is made ahead and takes the next start itself"
# The one of a server: spare_of PID
spare_of() {
  local pid group title
  while read -r pid group title; do
    [ "$group $title" = "$1 mpsup: spare of forkserver one" ] && echo "$pid" && return
  done < <(ps --ppid "$keeper" -o pid=,pgid=,args=)
  return 1
}
another_spare() { spare=$(spare_of "$one") && [ "$spare" != "$1" ]; }
must another_spare 0
first=$spare
mps_expect 0 restart a
[ "$(pid_of a)" = "$first" ] || fail "the worker is $(pid_of a), not the spare $first"
must another_spare "$first"

say "a spare that is killed is followed by another"
first=$spare
kill -KILL "$first"
must another_spare "$first"
mps_expect 0 restart a
must in_state a RUNNING
[ "$(server one)" = "$one" ] || fail "the server is another"
a=$(pid_of a)

say "what a spare is sent is not for the program that it becomes"
must another_spare 0
first=$spare
kill -TERM "$first"
kill -HUP "$first"
mps_expect 0 restart a
[ "$(pid_of a)" = "$first" ] || fail "the worker is $(pid_of a), not the spare $first"
must in_state a RUNNING
must another_spare "$first"
[ "$(pid_of a)" = "$first" ] || fail "it was ended by what the spare was sent"
a=$first
[ "$(grep -E '^Sig(Pnd|Blk|Ign)|^ShdPnd' "/proc/$first/status" | cut -f2 | sort -u | xargs)" = 0000000000000000 ] ||
  fail "its signals are not as they should be: $(grep ^S "/proc/$first/status")"

say "a crash in a constructor is that of the worker alone, and one while a server loads fails the start"
mps start d >"$T/out" 2>"$T/err"
must in_state d EXITED
mps status d | grep -q 'signal SEGV\|SIGSEGV\|SEGV' || fail "it has ended otherwise: $(mps status d)"
mps start e >"$T/out" 2>"$T/err" && fail "start exits 0"
must in_state e FATAL
mps status e >"$T/out"
contains "$T/out" "forkserver bad: it was ended by signal 11 while it loaded" || fail "status does not say it"
[ "$(server one)" = "$one" ] || fail "the server has gone too"

say "a server that has no end of loading is told of, keeps no stop waiting, and is no excuse for start_timeout"
mps start h >"$T/start.out" 2>&1 </dev/null &
starting=$!
must server slow
info=$(mps status | sed -n 's/^h  .*  forkserver  *//p')
[ "$info" = "waits for forkserver slow" ] || fail "status says '$info'"
[ "$(forkserver_of h)" = "slow, pid $(server slow), 0 started; is loading $T/bin/hang.so" ] || fail "it says '$(forkserver_of h)'"
since=$(now_ms)
mps_expect 0 stop h
[ $(($(now_ms) - since)) -lt $((5000 * SLOW)) ] || fail "a program that is not there was given its time to end"
wait "$starting"
in_state h STOPPED || fail "h is $(state h)"
for name in r t; do
  mps_expect 7 start $name
  contains "$T/err" "its forkserver did not start it in time" || fail "start does not say why: $(cat "$T/err")"
  in_state $name FATAL || fail "$name is $(state $name)"
done

say "a crash in preloaded code is that of the worker alone"
mps start b >"$T/out" 2>"$T/err"
must in_state b EXITED
[ "$(server one)" = "$one" ] || fail "the server has gone too"
alive "$a" || fail "another worker has gone too"
alive "$keeper" || fail "the keeper has gone too"

say "a server that dies is followed by another, and nobody notices"
kill -KILL "$one"
must -t 2 is_other one "$one"
alive "$a" || fail "a has gone with the server"
[ "$(pid_of a)" = "$a" ] || fail "a is another"
one=$(server one)
kill -KILL "$one"
t=$(now_ms)
mps_expect 0 restart a
[ $(($(now_ms) - t)) -lt 2000 ] || fail "the restart has taken $(($(now_ms) - t)) ms"
is_other one "$one" || fail "no other server"

say "one that does not answer is replaced, with its spare"
one=$(server one)
must another_spare 0
first=$spare
kill -STOP "-$one"
mps_expect 0 restart a
must gone "$first"
is_other one "$one" || fail "no other server"

say "a stop does not wait for a server that says nothing"
one=$(server one)
must another_spare 0
kill -STOP "-$one"
mps stop a >"$T/out" 2>"$T/err"
mps_expect 0 start a
must in_state a RUNNING

say "of one that ends with its spare nothing is left, although the keeper hears of one death only"
is_zombie() { [[ $(ps -o stat= -p "$1") = Z* ]]; }
# With all of its threads
is_halted() { ! ps -L -o stat= -p "$1" | grep -qv '^T'; }
one=$(server one)
must another_spare 0
kill -STOP "$keeper"
must is_halted "$keeper"
kill -KILL "$one"
must is_zombie "$one"
kill -KILL "$spare"
must is_zombie "$spare"
kill -CONT "$keeper"
must test ! -e "/proc/$spare"
must -t 2 is_other one "$one"

say "who stops after it has taken a request holds up nobody for long, itself neither"
one=$(server one)
must another_spare 0
first=$spare
"$B/e2e/halt" "$spare" >"$T/halt.out" 2>"$T/err" </dev/null &
halt=$!
if wait_for -t 2 n_lines "$T/halt.out" 1; then
  mps_expect 0 restart a
  wait "$halt" || fail "it was not stopped"
  must test ! -e "/proc/$first"
  must in_state a RUNNING
else
  wait "$halt" && fail "it was stopped too soon"
  say "(not here: no process may be traced)"
fi

say "a preloaded file that has changed is loaded anew when a start is asked for, not before"
must server one
one=$(server one)
cp "$SO" "$T/bin/new.so" && mv "$T/bin/new.so" "$T/bin/loaded.so"
a=$(pid_of a)
kill -KILL "$a"
is_again() { in_state a RUNNING && [ "$(pid_of a)" != "$a" ]; }
must is_again
[ "$(server one)" = "$one" ] || fail "a crash has made another server"
mps_expect 0 restart a
must is_other one "$one"
one=$(server one)
mps_expect 0 restart a
[ "$(server one)" = "$one" ] || fail "made another server without need"

say "the supervisor's death is nothing to the server"
a=$(pid_of a)
before=$(forkserver_of a)
take_over
must in_state a RUNNING
[ "$(server one)" = "$one" ] || fail "the server is another"
[ "$(pid_of a)" = "$a" ] || fail "a is another"
[ "$(forkserver_of a)" = "$before" ] || fail "it says '$(forkserver_of a)', not '$before'"

say "one that no program is configured to use any more ends, and comes again with the next that is"
is_gone() { ! server "$1"; }
cp "$CONF" "$T/all.conf"
sed -i '/^\[program:c\]/,$d' "$CONF"
mps_expect 0 reload
must is_gone default
[ "$(server one)" = "$one" ] || fail "the other server has gone too"
[ "$(pid_of a)" = "$a" ] || fail "a is another"
sed -i 's/^start_method=.*/start_method=spawn/; /^forkserver=/d' "$CONF"
mps_expect 0 reload
must is_gone one
cp "$T/all.conf" "$CONF"
mps_expect 0 reload
must in_state c RUNNING
must server one
[ "$(forkserver_of c)" = "default, pid $(server default), 2 started" ] || fail "it says '$(forkserver_of c)'"

say "a server that cannot load what it should fails the starts, and says why"
sed -i "s,^preload=.*,preload=$T/bin/loaded.so\, $T/bin/none.so," "$CONF"
mps reload >"$T/out" 2>"$T/err"
must in_state a 'BACKOFF|FATAL'
mps status a >"$T/out"
contains "$T/out" "forkserver one: preload $T/bin/none.so: cannot open shared object file" || fail "status does not say it"
sed -i "s,^preload=.*,preload=$T/bin/loaded.so," "$CONF"
mps_expect 0 reload
mps start a >"$T/out" 2>"$T/err"
must in_state a RUNNING

say "the keeper's death takes all along"
kill -KILL "$keeper"
must -t 5 nothing_left
