#!/bin/bash
# What a program is started with: a clean image, whatever the caller of mpsup looks like, and messages that tell the line
# of the configuration when it cannot be started.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

mkdir -p "$T/dir" "$T/dumps"
chmod 777 "$T/dumps"
config_with "environment=GLOBAL=g,BOTH=global" <<X
[program:plain]
command=$W --dump $T/dumps/plain
startsecs=0
[program:set]
command=$W --dump $T/dumps/set
directory=$T/dir
umask=027
environment=MINE="a b",BOTH=program
startsecs=0
[group:pair]
programs=left,right
[program:left]
command=$W --dump $T/dumps/left
startsecs=0
[program:right]
command=$W --dump $T/dumps/right
startsecs=0
X
[ "$(id -u)" != 0 ] || cat >>"$CONF" <<X
[program:user]
command=$W --dump $T/dumps/user
user=nobody
startsecs=0
X

has() { # dump, pattern
  contains "$T/dumps/$1" "$2" || { cat "$T/dumps/$1" && fail "$1: no line $2"; }
}
hasnt() { # dump, pattern
  ! contains "$T/dumps/$1" "$2" || { cat "$T/dumps/$1" && fail "$1: a line $2"; }
}
value() { # dump, key
  awk -v k="$2" '$1 == k { print $2 }' "$T/dumps/$1"
}

# A caller that leaks: descriptors, ignored and blocked signals.
python3 - "$MPSUP" "$CONF" >"$T/out" 2>"$T/err" <<'X' || fail "start failed"
import os, signal, sys
fd = os.open("/etc/passwd", os.O_RDONLY)
for n in (7, 33, 200):
    os.dup2(fd, n, inheritable=True)
for s in (signal.SIGPIPE, signal.SIGUSR1, signal.SIGXFSZ):
    signal.signal(s, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM, signal.SIGTERM, signal.SIGRTMIN})
os.umask(0o77)
os.chdir("/usr")
# glibc's posix_spawn leaves its own two real-time signals ignored, as a start by make does
pid = os.posix_spawn(sys.argv[1], ["mpsup", "start", "-c", sys.argv[2]], os.environ)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
X
keeper=$(role keeper)
for d in plain set left right; do must test -e "$T/dumps/$d"; done

say "no descriptors but 0, 1 and 2"
hasnt plain '^fd ([3-9]|[0-9][0-9])'
has plain '^fd 0 '
has plain '^fd 1 '
has plain '^fd 2 '

say "empty mask, default dispositions"
for key in SigBlk SigIgn SigCgt; do has plain "^$key:[[:space:]]0000000000000000\$"; done

say "child of the keeper, leader of its own group and session"
[ "$(value plain ppid)" = "$keeper" ] || fail "the parent is $(value plain ppid), not the keeper $keeper"
[ "$(value plain pgid)" = "$(value plain pid)" ] || fail "not its own process group"
[ "$(value plain sid)" = "$(value plain pid)" ] || fail "not its own session"

say "directory and umask"
has set "^cwd $T/dir\$"
has set '^Umask:[[:space:]]0027$'
has plain '^Umask:[[:space:]]0022$'

say "environment: the supervisor's, [supervisord]'s, the program's, and what tells it who it is"
has plain '^env GLOBAL=g$'
has plain '^env BOTH=global$'
has plain "^env MPSUP_TEST=$T\$"
has set '^env MINE=a b$'
has set '^env BOTH=program$'
has plain '^env SUPERVISOR_ENABLED=1$'
has plain '^env SUPERVISOR_PROCESS_NAME=plain$'
has plain '^env SUPERVISOR_GROUP_NAME=plain$'
has left '^env SUPERVISOR_PROCESS_NAME=left$'
has left '^env SUPERVISOR_GROUP_NAME=pair$'
has plain '^env MPSUP_INSTANCE='
[ "$(grep '^env MPSUP_INSTANCE=' "$T/dumps/left")" != "$(grep '^env MPSUP_INSTANCE=' "$T/dumps/right")" ] ||
  fail "two programs with one MPSUP_INSTANCE"
[ -z "$(sed -n 's/^env \([^=]*\)=.*/\1/p' "$T/dumps/set" | sort | uniq -d)" ] || fail "a variable twice"

if [ "$(id -u)" = 0 ]; then
  say "user: ids, groups, HOME, USER"
  must test -e "$T/dumps/user"
  u=$(id -u nobody) g=$(id -g nobody)
  has user "^Uid:(\s+$u){4}\$"
  has user "^Gid:(\s+$g){4}\$"
  has user "^Groups:\s+$g *\$"
  has user '^env USER=nobody$'
  has user "^env HOME=$(getent passwd nobody | cut -d: -f6)\$"
fi
shutdown_mpsup

say "why a program cannot be started, with the line of the file"
config <<X
[program:chdir]
command=$W
directory=$T/nowhere
startretries=0
[program:exec]
command=$T/bin/nothing
startretries=0
[program:script]
command=$T/bad-script
startretries=0
[program:noexec]
command=$CONF
startretries=0
[program:good]
command=$W
startsecs=0
X
printf '#!/no/such/interpreter\n' >"$T/bad-script"
chmod +x "$T/bad-script"
mps start >"$T/out" 2>"$T/start.err" && fail "start exits 0 though four programs cannot be started"
line() { # the line of the file that starts with this below the section
  awk -v s="[program:$1]" -v k="$2=" '$0 == s { on = 1 } on && index($0, k) == 1 { print NR; exit }' "$CONF"
}
for x in "chdir directory nowhere" "exec command nothing" "script command /no/such/interpreter" "noexec command mpsup.conf"; do
  read -r name key text <<<"$x"
  must in_state "$name" FATAL
  for f in "$LOG" "$T/start.err"; do
    grep "$text" "$f" | grep -q "mpsup.conf:$(line "$name" "$key")\>" ||
      fail "$name: no line of $f with $text and mpsup.conf:$(line "$name" "$key")"
  done
  mps status "$name" >"$T/out"
  contains "$T/out" "$text" || fail "$name: status does not say why"
done
in_state good RUNNING || fail "one that cannot start kept another from running"
shutdown_mpsup

say "an unknown user is an error of the configuration or of the start, with its line"
config <<X
[program:user]
command=$W
user=no-such-user
startretries=0
X
mps start >"$T/out" 2>"$T/err" && fail "start exits 0 with an unknown user"
cat "$LOG" >>"$T/err"
contains "$T/err" "$CONF:$(line user user):.*no-such-user" || fail "nothing names no-such-user and its line"
[ -z "$(role keeper)" ] || shutdown_mpsup
