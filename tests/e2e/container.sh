#!/bin/bash
# mpsup run as process 1 of a container: a PID namespace of its own, a read-only root, a user that nobody knows.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
unshare -pfm --mount-proc true 2>/dev/null || { echo "unshare -p is not permitted" && exit 77; }

contained() { # command...: in the background; $run is unshare's pid, $one that of process 1 as seen from here
  unshare -pfm --mount-proc "$@" >"$T/run.out" 2>"$T/run.err" </dev/null &
  run=$!
  must is_one
}
is_one() {
  one=$(role keeper)
  [ -n "$one" ]
}
ended() { # status
  wait_status "$run" "$1"
  must -t 3 nothing_left
  rm -f "$T"/pids*
}
in_run() { # pattern
  contains "$T/run.out" "$1"
}
nspid() { # pid as seen from here: as the container sees it
  awk '/^NSpid/ { print $NF }' "/proc/$1/status"
}

# The supervisor's log goes to standard error, and no pid file is written, as an image would have it.
for_container() {
  config_with "$@"
  sed -i '/^logfile=/d; /^pidfile=/d' "$CONF"
}

say "strangers are reaped; the program's lines have its name; its exit status comes through"
mkfifo "$T/go"
for_container exit_on=exit:main <<X
[program:main]
command=/bin/sh -c '$W --write 2 --daemonize { --pidfile $T/pids.s --exit 0 } --daemonize { --setsid --clear-env --pidfile $T/pids.s --exit 3 } --exit 0; read x <$T/go; exit 9'
startsecs=0
autorestart=false
X
contained "$MPSUP" run -c "$CONF"
[ "$(nspid "$one")" = 1 ] || fail "the keeper is process $(nspid "$one") of the container"
must n_lines "$T/pids.s" 2
# The supervisor, and the shell of the program: what has ended is not even a zombie.
two_children() { [ "$(pgrep -c -P "$one")" = 2 ]; }
must -t 2 two_children
must in_run '^main.*\| line 2$'
echo >"$T/go"
ended 9

say "a program that a signal ends: 128 and its number"
for_container exit_on=exit:main <<X
[program:main]
command=$W --signal KILL
startsecs=0
autorestart=false
X
unshare -pfm --mount-proc "$MPSUP" run -c "$CONF" >"$T/run.out" 2>"$T/run.err" </dev/null &
run=$!
ended 137

say "TERM: what does not end gets KILL after its stopwaitsecs, not later"
for_container <<X
[program:deaf]
command=$W --note TERM $T/pids.term --fork 2 { --setsid --ignore TERM --pidfile $T/pids } --pidfile $T/pids
startsecs=0
stopwaitsecs=1
[program:quick]
command=$W --pidfile $T/pids
startsecs=0
X
contained "$MPSUP" run -c "$CONF"
must n_lines "$T/pids" 4
t0=$(now_ms)
kill -TERM "$one"
ended 0
t=$(($(now_ms) - t0))
if [ $t -lt 950 ] || [ $t -gt $((4000 * SLOW)) ]; then fail "ended after $t ms, with stopwaitsecs=1"; fi

say "a second TERM kills at once"
sed -i 's/^stopwaitsecs=.*/stopwaitsecs=60/' "$CONF"
contained "$MPSUP" run -c "$CONF"
must n_lines "$T/pids" 4
kill -TERM "$one"
must contains "$T/pids.term" TERM
t0=$(now_ms)
kill -TERM "$one"
ended 0
t=$(($(now_ms) - t0))
[ $t -lt $((4000 * SLOW)) ] || fail "took $t ms after a second TERM"

# mount-all-read-only TMPFS FOLDER COMMAND...: all but a fresh tmpfs is read-only; FOLDER is seen in /mnt.
mkdir "$T/image"
cp -r "$T/bin" "$T/image/bin"
cat >"$T/image/conf" <<X
[supervisord]
identifier=$ID
exit_on=exit:main
[program:main]
command=/bin/sh -c '/mnt/bin/worker --write 3 --exit 0; touch /mnt/x /usr/x /etc/x 2>/dev/null && exit 1; /mnt/bin/mpsup status -c /mnt/conf other && exit 5'
startsecs=0
autorestart=false
[program:other]
command=/mnt/bin/worker
startsecs=0
X
cat >"$T/mount-all-read-only" <<'X'
set -e
tmpfs=$1
image=$2
shift 2
mount --make-rprivate /
awk '{ print $2 }' /proc/self/mounts | while read -r m; do
  case $m in
  /proc | /proc/* | /sys | /sys/* | /dev | /dev/*) ;;
  *) mount -o remount,bind,ro "$m" ;;
  esac
done
mount --bind "$image" /mnt
mount -o remount,bind,ro /mnt
mount -t tmpfs -o mode=1777 none "$tmpfs"
cd /
exec "$@"
X
for x in "0 /run" "12345 /tmp" "12345 /run XDG_RUNTIME_DIR=/run"; do
  read -r user tmpfs set <<<"$x"
  say "a read-only root, user $user, and a tmpfs on $tmpfs"
  # shellcheck disable=SC2086 # none, or one
  unshare -pfm --mount-proc sh "$T/mount-all-read-only" "$tmpfs" "$T/image" \
    setpriv --reuid "$user" --regid "$user" --clear-groups env -u XDG_RUNTIME_DIR HOME=/ $set \
    /mnt/bin/mpsup run -c /mnt/conf >"$T/run.out" 2>"$T/run.err" </dev/null &
  run=$!
  ended 5
  in_run '^main.*\| line 3$' || fail "the program's lines: $(cat "$T/run.out")"
  in_run '^main.*\| other.*(RUNNING|STARTING)' || fail "no status from inside: $(cat "$T/run.out")"
done

say "no place for the runtime directory: told, with what would help"
unshare -pfm --mount-proc sh "$T/mount-all-read-only" /srv "$T/image" setpriv --reuid 12345 --regid 12345 --clear-groups \
  env -u XDG_RUNTIME_DIR /mnt/bin/mpsup run -c /mnt/conf >"$T/run.out" 2>"$T/run.err" </dev/null &&
  fail "runs without a runtime directory"
contains "$T/run.err" '/tmp/mpsup-12345.*XDG_RUNTIME_DIR' || fail "it says '$(cat "$T/run.err")'"
