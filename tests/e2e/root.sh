#!/bin/bash
# What root must not be led to do: a plain user who may write where root reads a configuration, writes a log, a pid file or
# a socket, tries to have another file in its place.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
[ "$(id -u)" = 0 ] || { echo "run as root" && exit 77; }

mkdir "$T/theirs"
chown 65534:65534 "$T/theirs"
them() {
  setpriv --reuid 65534 --regid 65534 --clear-groups "$@"
}

# ------------------------------------------------------------------------------------------------ configurations
simple() { # file
  printf '%s\n' '[supervisord]' "identifier=$ID" "logfile=$LOG" "pidfile=$T/mpsup.pid" "childlogdir=$T" \
    '[program:a]' "command=$W" 'startsecs=0' >"$1"
}

verbs=(check graph run start status pid "logs a" reload shutdown)
# refused FILE PATTERN: by every kind of verb, which says what is wrong and what can be done about it.
refused() {
  local verb
  for verb in "${verbs[@]}"; do
    # shellcheck disable=SC2086 # a verb and its argument
    timeout -k 2 60 "$MPSUP" $verb -c "$1" >"$T/out" 2>&1 </dev/null && fail "$verb accepts $1"
    [ "$verb" != graph ] || "$MPSUP" check -c "$1" >"$T/out" 2>&1 # it says that check tells
    contains "$T/out" "$2" || fail "$verb says '$(cat "$T/out")'"
    contains "$T/out" '--insecure' || fail "$verb does not say what can be done: '$(cat "$T/out")'"
  done
  nothing_left || fail "something was started"
  expect 0 "$MPSUP" check --insecure -c "$1"
  expect 4 "$MPSUP" status --insecure -c "$1" # there is none
}
accepted() {
  expect 0 "$MPSUP" check -c "$1"
}

say "a configuration that others may write"
simple "$T/c.conf"
accepted "$T/c.conf"
chmod 664 "$T/c.conf"
refused "$T/c.conf" "others may write the file .owner 0, mode 664."
chmod 646 "$T/c.conf"
refused "$T/c.conf" "others may write the file .owner 0, mode 646."
chmod 644 "$T/c.conf"
chown 65534 "$T/c.conf"
refused "$T/c.conf" "others may write the file .owner 65534, mode 644."

say "one of root's, in a folder whose names others may change"
simple "$T/theirs/c.conf"
refused "$T/theirs/c.conf" "others may write the folder $T/theirs .owner 65534"
mkdir "$T/theirs/roots"
simple "$T/theirs/roots/c.conf"
refused "$T/theirs/roots/c.conf" "others may write the folder $T/theirs .owner 65534"
mkdir -m 777 "$T/open"
simple "$T/open/c.conf"
refused "$T/open/c.conf" "others may write the folder $T/open "
chmod 1777 "$T/open" # names of root's files cannot be changed there
accepted "$T/open/c.conf"

say "one that is included; who only looks for the supervisor does without it"
verbs=(check graph run)
simple "$T/main.conf"
printf '[include]\nfiles=%s\n' "$T/theirs/*.conf" >>"$T/main.conf"
refused "$T/main.conf" "main.conf:[0-9]+: error: .*c.conf: others may write the folder|others may write the folder $T/theirs"

verbs=(check run start status reload)

say "links: root's lead on, others' do not, wherever they lead"
simple "$T/good.conf"
ln -s "$T/good.conf" "$T/link.conf"
accepted "$T/link.conf"
ln -s "$T/open" "$T/dir"
accepted "$T/dir/c.conf"
them ln -s "$T/good.conf" "$T/open/link.conf"
refused "$T/open/link.conf" "behind a link that others have made"
them ln -s "$T" "$T/theirs/up"
refused "$T/theirs/up/good.conf" "others may write the folder $T/theirs"

say "what root's shell hands over"
accepted /dev/stdin <"$T/good.conf"
"$MPSUP" check -c <(cat "$T/good.conf") >"$T/out" 2>&1 || fail "a pipe: $(cat "$T/out")"

say "others are not asked: who is not root reads as ever"
chmod 666 "$T/open/c.conf"
them "$MPSUP" check -c "$T/open/c.conf" >"$T/out" 2>&1 || fail "it says $(cat "$T/out")"
expect 1 "$MPSUP" check -c "$T/open/c.conf"

say "--insecure stays with the supervisor, for reloads and for the one that follows it"
simple "$CONF"
chmod 666 "$CONF"
expect 0 "$MPSUP" start --insecure -c "$CONF"
supervisor=$(role supervisor)
keeper=$(role keeper)
expect 1 "$MPSUP" reload -c "$T/none.conf" # none is there
expect 0 "$MPSUP" reload --insecure -c "$CONF"
chmod 644 "$CONF"
take_over
chmod 666 "$CONF"
expect 0 "$MPSUP" reload --insecure -c "$CONF"
chmod 644 "$CONF"
shutdown_mpsup

say "a reload does not read what has been opened to others, unless told to"
start_mpsup
sock=$RUNTIME/control.sock
chmod 666 "$CONF"
expect 1 "$MPSUP" reload -s "$sock"
contains "$T/err" "others may write the file" || fail "it says '$(cat "$T/err")'"
must contains "$LOG" "reload: .*others may write the file"
expect 0 "$MPSUP" reload --insecure -c "$CONF"
chmod 644 "$CONF"
shutdown_mpsup

# ------------------------------------------------------------------------------------------------ files
say "a pid file, logs and their backups do not follow links of others"
echo precious >"$T/precious"
chmod 600 "$T/precious"
mkdir "$T/logs"
chown 65534:65534 "$T/logs"
them ln -s "$T/precious" "$T/logs/log"
them ln -s "$T" "$T/logs/up"
them ln -s "$T/precious" "$T/logs/pid"
untouched() {
  [ "$(cat "$T/precious") $(stat -c '%u %a' "$T/precious")" = "precious 0 600" ] || fail "$T/precious was changed"
}
simple "$CONF"
sed -i "s,^logfile=.*,logfile=$T/logs/log," "$CONF"
mps_expect 1 start
contains "$T/err" "logfile $T/logs/log: is a link, .*name what it leads to" || fail "it says '$(cat "$T/err")'"
untouched
sed -i "s,^logfile=.*,logfile=$T/logs/up/made," "$CONF"
mps_expect 1 start
[ ! -e "$T/made" ] || fail "a log was made behind the link"
sed -i "s,^logfile=.*,logfile=$T/logs/up/new/made," "$CONF"
mps_expect 1 start
[ ! -e "$T/new" ] || fail "a folder was made behind the link"
simple "$CONF"
sed -i "s,^pidfile=.*,pidfile=$T/logs/up/made," "$CONF"
mps_expect 0 start
contains "$T/err" "could not write pidfile $T/logs/up/made: is a link" || fail "it says '$(cat "$T/err")'"
[ ! -e "$T/made" ] || fail "a pid file was made behind the link"
mps_expect 0 shutdown
must nothing_left
sed -i "s,^pidfile=.*,pidfile=$T/logs/pid," "$CONF"
mps_expect 0 start
untouched
[ ! -L "$T/logs/pid" ] || fail "the pid file is a link yet"
mps_expect 0 shutdown
must nothing_left

say "nor second names, FIFOs, or in a sticky folder what is somebody else's"
ln "$T/precious" "$T/logs/second"
them mkfifo "$T/logs/fifo"
mkdir -m 1777 "$T/tmp"
them touch "$T/tmp/theirs"
for f in "$T/logs/second" "$T/tmp/theirs"; do
  simple "$CONF"
  sed -i "s,^logfile=.*,logfile=$f," "$CONF"
  mps_expect 1 start
  contains "$T/err" "logfile $f: may be somebody else's file" || fail "it says '$(cat "$T/err")'"
done
exec 9<>"$T/logs/fifo"
sed -i "s,^logfile=.*,logfile=$T/logs/fifo," "$CONF"
mps_expect 1 start
exec 9>&-
untouched
[ ! -s "$T/tmp/theirs" ] || fail "it was written to"
rm "$T/logs/second" "$T/logs/fifo"

say "what mpsup map lists is written with the same care"
them ln -s "$T/precious" "$T/logs/job"
ln "$T/precious" "$T/logs/second"
for f in job second; do
  expect 1 "$MPSUP" map --joblog "$T/logs/$f" -- true {} </dev/null
  contains "$T/err" "joblog $T/logs/$f: (is a link|may be somebody else's file)" || fail "it says '$(cat "$T/err")'"
  untouched
done
expect 0 "$MPSUP" map --joblog "$T/logs/jobs" -- true {} </dev/null
rm "$T/logs/second"

say "while it runs too: programs' logs, after they were moved, and when they are rotated and compressed"
rm "$T/logs/log"
cat >"$CONF" <<Y
[supervisord]
identifier=$ID
logfile=$LOG
pidfile=$T/mpsup.pid
childlogdir=$T/tmp
[program:a]
command=sh -c 'while read -r x; do echo "\$x"; done <$T/go'
startsecs=0
stdout_logfile=$T/logs/out
stdout_logfile_maxbytes=100
stdout_logfile_backups=3
stdout_logfile_compress=true
[program:auto]
command=$W
startsecs=0
Y
mkfifo "$T/go"
start_mpsup
exec 5>"$T/go"
echo first >&5
must contains "$T/logs/out" first
them mv "$T/logs/out" "$T/logs/was"
them ln -s "$T/precious" "$T/logs/out"
echo second >&5
must contains "$LOG" "logs/out.*is a link"
untouched
rm "$T/logs/out"
must contains "$T/logs/out" second
them ln -s "$T/precious" "$T/logs/out.gz-part" 2>/dev/null
for i in $(seq 30); do
  echo "line $i of some length so that it is rotated" >&5
done
must contains "$T/logs/out" "line 30"
must test -e "$T/logs/out.2.gz"
untouched
exec 5>&-
shutdown_mpsup

say "a socket's owner and mode are set on the socket, whatever the name leads to then"
config <<Y
[fcgi-program:f]
command=$W
startsecs=0
socket=unix://$T/logs/sock
socket_owner=nobody
socket_mode=0666
Y
them ln -s "$T/precious" "$T/logs/sock"
start_mpsup
untouched
[ "$(stat -c '%F %U %a' "$T/logs/sock")" = "socket nobody 666" ] || fail "the socket is $(stat -c '%F %U %a' "$T/logs/sock")"
rm "$T/logs/sock"
them ln -s "$T/precious" "$T/logs/sock"
mps reload >"$T/out" 2>&1
untouched
shutdown_mpsup
if [ -z "${SAN:-}" ]; then # ASan wants to be the first that is loaded
  say "also where it is exchanged as soon as it is there"
  cat >"$T/swap.c" <<Y
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>
int bind(int fd, const struct sockaddr *a, socklen_t n)
{
	const char *name = strrchr(((const struct sockaddr_un *)a)->sun_path, '/');
	int r = (int)syscall(SYS_bind, fd, a, n);

	if (r == 0 && a->sa_family == AF_UNIX && name && !strcmp(name, "/sock") && unlink("$T/logs/sock") == 0)
		r = symlink("$T/precious", "$T/logs/sock");
	return r;
}
Y
  expect 0 "${CC:-cc}" -shared -fPIC -O1 -o "$T/swap.so" "$T/swap.c"
  rm -f "$T/logs/sock"
  LD_PRELOAD=$T/swap.so mps start >"$T/out" 2>&1
  contains "$T/out" "socket $T/logs/sock: somebody has put something else there" || fail "it says '$(cat "$T/out")'"
  [ -L "$T/logs/sock" ] || fail "it was not exchanged"
  untouched
  must nothing_left
fi

# ------------------------------------------------------------------------------------------------ programs
say "a program with user= has that user's groups and no others, and one without any gets no descriptor it did not ask for"
config <<Y
[program:groups]
command=sh -c 'id -u; id -G; grep -E "^(Cap(Eff|Prm|Amb)|Groups)" /proc/self/status; exec $W'
user=nobody
startsecs=0
stdout_logfile=$T/groups
[program:fds]
command=sh -c 'ls /proc/self/fd; exec $W'
startsecs=0
stdout_logfile=$T/fds
Y
exec 7<"$T/precious" 8>"$T/eight"
AS=(setpriv --groups "0,4,27")
start_mpsup
exec 7<&- 8>&-
must n_lines "$T/groups" 6
[ "$(sed -n 1p "$T/groups")" = "$(id -u nobody)" ] || fail "its user is $(sed -n 1p "$T/groups")"
[ "$(sed -n 2p "$T/groups")" = "$(id -G nobody)" ] || fail "its groups are $(sed -n 2p "$T/groups")"
! grep -E '^Cap' "$T/groups" | grep -vE '\s0+$' || fail "it has capabilities"
must n_lines "$T/fds" 4
[ "$(sort -n "$T/fds" | tr '\n' ' ')" = "0 1 2 3 " ] || fail "it has the descriptors $(tr '\n' ' ' <"$T/fds")" # 3: of ls
for p in $keeper $supervisor; do
  find "/proc/$p/fd" -lname "$T/precious" -o -lname "$T/eight" | grep -q . && fail "the caller's descriptors are kept by $p"
done
AS=()
shutdown_mpsup
