#!/bin/bash
# The other scripts as a user without any rights, from a copy that this user can read.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
[ "$(id -u)" = 0 ] || { echo "run as root; the other scripts run as a plain user already" && exit 77; }

copy=$T/copy
mkdir -p "$copy/tests" "$copy/b/e2e" "$copy/tmp"
cp -r "$(dirname "$0")" "$copy/tests/e2e"
cp "$T/bin/mpsup" "$T/bin/mpsup-host" "$copy/b/"
cp "$W" "$T/bin/worker.so" "$copy/b/e2e/"
chmod 1777 "$copy/tmp"
cd "$copy" || exit 1
unset XDG_RUNTIME_DIR
for s in start life crash child rundir; do
  setpriv --reuid 65534 --regid 65534 --clear-groups env B="$copy/b" HOME=/ TMPDIR="$copy/tmp" \
    timeout $((60 * SLOW)) "tests/e2e/$s.sh" >"$T/$s.out" 2>&1 || { cat "$T/$s.out" && fail "$s as nobody"; }
  say "$s"
done
cd /
