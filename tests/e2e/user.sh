#!/bin/bash
# user= of [supervisord], as root: the keeper, the supervisor and what they make are that user's.
# As on a machine where nothing of ours has ever run: nobody has made /run/mpsup yet.
if [ "$(id -u)" = 0 ] && [ -z "${FRESH:-}" ] && unshare -m true 2>/dev/null; then
  # shellcheck disable=SC2016 # of the inner shell
  FRESH=1 exec unshare -m sh -c 'mount -t tmpfs none /run && exec "$0"' "$0"
fi
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
[ "$(id -u)" = 0 ] || exit 77

say "a program of another user may open its streams by name, whether they are logs or pipes between programs"
mkdir -m 777 "$T/open"
config <<X
[program:from]
command=sh -c 'echo by name >/dev/stdout; echo to the log >/dev/stderr; $W'
user=nobody
startsecs=0
stderr_logfile=$T/from.err
[program:to]
command=sh -c 'head -n 1 /dev/stdin >$T/open/to; $W'
user=nobody
startsecs=0
[pipe:p]
from=from
to=to
X
start_mpsup
must contains "$T/from.err" '^to the log$'
must contains "$T/open/to" '^by name$'
shutdown_mpsup

say "the daemon runs as the user, and root steers it"
mkdir "$T/own"
chown nobody "$T/own"
chmod 711 "$T"
config <<X
[program:a]
command=$W
startsecs=0
X
sed -i "s,^\[supervisord\],[supervisord]\nuser=nobody,; s,^childlogdir=.*,childlogdir=$T/own,; s,^logfile=.*,logfile=$T/own/log,; s,^pidfile=.*,pidfile=$T/own/pid," "$CONF"
AS=(setpriv --groups "0,4,27")
mps start >"$T/out" 2>"$T/err" || fail "start: $(cat "$T/err")"
AS=()
keeper=$(cat "$T/own/pid")
[ "$(stat -c %U "/proc/$keeper")" = nobody ] || fail "the keeper is $(stat -c %U "/proc/$keeper")'s"
for p in "$keeper" "$(role supervisor)" "$(pid_of a)"; do
  [ "$(sed -n 's/^Groups:[[:space:]]*//p' "/proc/$p/status" | xargs)" = "$(id -G nobody)" ] || fail "the groups of $p: $(grep ^Groups "/proc/$p/status")"
  [ "$(sed -n 's/^CapEff:[[:space:]]*//p' "/proc/$p/status")" = 0000000000000000 ] || fail "$p has capabilities"
done
mps status a >"$T/out" || fail "status exits $?"
mps stop >"$T/out" 2>"$T/err" || fail "stop exits $?"

say "what the other user's instance has left is no hindrance for root's, nor the other way round"
cp "$CONF" "$T/nobody.conf"
sed -i "/^user=nobody/d" "$CONF"
mps_expect 0 start
[ "$(stat -c %u "$RUNTIME")" = 0 ] || fail "the runtime directory is $(stat -c %U "$RUNTIME")'s"
cp "$T/nobody.conf" "$CONF"
mps_expect 0 stop
mkdir -p "$RUNTIME"
chmod 700 "$RUNTIME"
touch "$RUNTIME/lock"
mps_expect 0 start
[ "$(stat -c %U "$RUNTIME" "$RUNTIME/lock" | sort -u)" = nobody ] || fail "not all is nobody's"

say "a running instance is not taken over"
sed -i "/^user=nobody/d" "$CONF"
expect 1 "$MPSUP" run -c "$CONF"
contains "$T/err" "already running: $ID .pid [1-9]" || fail "it says '$(cat "$T/err")'"
[ "$(stat -c %U "$RUNTIME")" = nobody ] || fail "the runtime directory is $(stat -c %U "$RUNTIME")'s"
cp "$T/nobody.conf" "$CONF"
mps_expect 0 stop

say "a start that fails leaves no runtime directory"
rm -rf "$RUNTIME"
sed -i "/^user=nobody/d; s,^logfile=.*,logfile=$CONF/log," "$CONF"
mps_expect 1 start
[ ! -e "$RUNTIME" ] || fail "$RUNTIME is left"
cp "$T/nobody.conf" "$CONF"

say "a user that does not exist is named, and nothing starts"
sed -i "s,^user=nobody,user=no-such-user," "$CONF"
mps start >"$T/out" 2>"$T/err" && fail "start as no-such-user exits 0"
contains "$T/err" "no-such-user" || fail "it says '$(cat "$T/err")'"
