#!/bin/bash
# user= of [supervisord], as root: the keeper, the supervisor and what they make are that user's.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
[ "$(id -u)" = 0 ] || exit 77

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
mps start >"$T/out" 2>"$T/err" || fail "start: $(cat "$T/err")"
keeper=$(cat "$T/own/pid")
[ "$(stat -c %U "/proc/$keeper")" = nobody ] || fail "the keeper is $(stat -c %U "/proc/$keeper")'s"
mps status a >"$T/out" || fail "status exits $?"
mps stop >"$T/out" 2>"$T/err" || fail "stop exits $?"

say "a user that does not exist is named, and nothing starts"
sed -i "s,^user=nobody,user=no-such-user," "$CONF"
mps start >"$T/out" 2>"$T/err" && fail "start as no-such-user exits 0"
contains "$T/err" "no-such-user" || fail "it says '$(cat "$T/err")'"
