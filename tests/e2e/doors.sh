#!/bin/bash
# What strangers find: the runtime directory, the sockets in it, logs. As root, with a plain user who tries them.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
[ "$(id -u)" = 0 ] || { echo "run as root" && exit 77; }

stranger=65533
them() {
  setpriv --reuid $stranger --regid $stranger --clear-groups "$@"
}
# What a user who connects to the socket is told: an answer, nothing, or that he may not.
ask() { # socket
  echo '{"id":1,"method":"shutdown"}' | them socat -t 5 - "UNIX-CONNECT:$1" >"$T/answer" 2>"$T/refusal"
  if [ -s "$T/answer" ]; then
    echo answer
  elif contains "$T/refusal" 'Permission denied'; then
    echo "no entry"
  else
    echo end
  fi
}

config <<X
[program:a]
command=$W
startsecs=0
stdout_logfile=AUTO
[inet_http_server]
port=127.0.0.1:9
X
start_mpsup

say "root's runtime directory can be passed, not listed, and nothing in it is for others but the tracker's socket"
[ "$(stat -c '%a %u' "$RUNTIME")" = "711 0" ] || fail "it is $(stat -c '%a %u' "$RUNTIME")"
them ls "$RUNTIME" >"$T/out" 2>&1 && fail "it can be listed"
find "$RUNTIME" -mindepth 1 -perm /066 -printf '%f\n' | grep -vx 'ipc.sock' >"$T/out" && fail "open to others: $(cat "$T/out")"

say "the control socket lets nobody in but root, whatever its mode"
[ "$(ask "$RUNTIME/control.sock")" = "no entry" ] || fail "a stranger gets in"
chmod 777 "$RUNTIME/control.sock"
[ "$(ask "$RUNTIME/control.sock")" = end ] || fail "a stranger is answered"
alive "$supervisor" || fail "the supervisor has gone"
in_state a RUNNING || fail "a is $(state a)"

say "nothing of it listens on the network, also where supervisord would"
find "/proc/$keeper/fd" "/proc/$supervisor/fd" -lname 'socket:*' -printf '%l\n' | tr -cd '0-9\n' | sort -u >"$T/sockets"
n_lines "$T/sockets" 2 || fail "its sockets are not found"
awk 'FNR > 1 { print $10 }' /proc/net/tcp /proc/net/udp | sort | comm -12 - "$T/sockets" >"$T/out"
[ ! -s "$T/out" ] || fail "it has sockets of the network: $(cat "$T/out")"

say "the files of locks are for their owner, and nobody else makes any"
# shellcheck disable=SC2016 # of the inner shell
expect 0 "$MPSUP" lock "$ID" -- setpriv --reuid $stranger --regid $stranger --clear-groups sh -c '
  [ -e "$0/$1.lock" ] || exit 3
  ! (: <"$0/$1.lock") 2>/dev/null || exit 4
  ! (: >"$0/$1.other.lock") 2>/dev/null || exit 5' "$(dirname "$RUNTIME")/locks" "$ID"

say "AUTO logs are for their owner, in whatever folder"
find "$T" -name "a-*---$ID-*.log" -perm 600 | grep -q . || fail "its mode is another"
shutdown_mpsup

say "a user's own instance: nobody else gets as far as its directory"
as_user 65532
start_mpsup
[ "$(stat -c '%a %u' "$RUNTIME")" = "700 65532" ] || fail "it is $(stat -c '%a %u' "$RUNTIME")"
[ "$(ask "$RUNTIME/control.sock")" = "no entry" ] || fail "a stranger gets in"
chmod 755 "$T/run" "$T/run/mpsup" "$RUNTIME"
chmod 777 "$RUNTIME/control.sock"
[ "$(ask "$RUNTIME/control.sock")" = end ] || fail "a stranger is answered"
chmod 700 "$RUNTIME" "$T/run/mpsup" "$T/run"
say "root does"
expect 0 "$MPSUP" status -s "$RUNTIME/control.sock"

say "what a program says of itself has no control characters when it is shown"
shutdown_mpsup
cat >"$T/says.sh" <<'Y'
"$1" tell "STATUS=$(printf 'red \033[31m \033]0;title\007')"
exec "$2"
Y
sed -i "s,^command=.*,command=sh $T/says.sh $MPSUP $W," "$CONF"
start_mpsup
shown() {
  mps status a >"$T/out" && contains "$T/out" red
}
must shown
LC_ALL=C grep -q $'[\033\007]' "$T/out" && fail "it shows $(cat -v "$T/out")"
shutdown_mpsup

say "a runtime directory of somebody else, or one that others may enter, is not used"
mkdir -p "$RUNTIME"
mps_expect 1 start
contains "$T/err" "$RUNTIME belongs to user 0, not to 65532; remove it" || fail "it says '$(cat "$T/err")'"
chown 65532 "$RUNTIME"
chmod 755 "$RUNTIME"
mps_expect 1 start
contains "$T/err" "$RUNTIME is open to others .mode 755.; chmod 700 it" || fail "it says '$(cat "$T/err")'"
chmod 700 "$RUNTIME"

say "a user without rights cannot have programs of other users"
sed -i '/^command=/i user=root' "$CONF"
mps start >"$T/out" 2>&1 && fail "it is started"
contains "$T/out" "root" || fail "it says '$(cat "$T/out")'"
shutdown_mpsup
AS=()
