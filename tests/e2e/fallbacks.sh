#!/bin/bash
# On a kernel without pidfds, close_range(2) or /proc/PID/task/TID/children the same scripts must pass.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

for without in pidfd,close_range,children pidfd; do
  for s in life tree child; do
    [ $without = pidfd ] && [ $s != tree ] && continue
    MPSUP_NO=$without TMPDIR=$T timeout 60 "$(dirname "$0")/$s.sh" >"$T/$s.out" 2>&1 ||
      { cat "$T/$s.out" && fail "$s with MPSUP_NO=$without"; }
    say "$s without $without"
  done
done
