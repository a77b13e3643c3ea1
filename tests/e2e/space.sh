#!/bin/bash
# Few addresses (ulimit -v): there is room for fewer programs, but for the ones that there are.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
[ -z "${SAN:-}" ] || { echo "a sanitizer needs more addresses than that" && exit 77; }

lines() { # file, so many, from 1 on
  [ "$(wc -l 2>/dev/null <"$1")" = "$2" ] && cmp -s "$1" <(seq -f 'line %.0f' "$2")
}

for kib in 4000000 600000; do
  say "$kib KiB"
  rm -f "$T"/log* "$T/go"
  mkfifo "$T/go"
  config <<X
[program:talk]
command=/bin/sh -c 'i=0; while read -r n <$T/go; do while [ \$n -gt 0 ]; do echo "line \$((i += 1))"; n=\$((n - 1)); done; done'
stdout_logfile=$T/log
startsecs=0
[program:many]
command=$W
process_name=%(process_num)d
numprocs=30
stdout_logfile=$T/log.%(process_num)d
startsecs=0
X
  (
    ulimit -S -v $kib
    start_mpsup
  ) || exit 1
  keeper=$(role keeper)
  supervisor=$(role supervisor)
  grep -q "^Max address space *$((kib * 1024)) " "/proc/$supervisor/limits" || fail "it has another limit"
  exec 5<>"$T/go"
  echo 100 >&5
  must lines "$T/log" 100
  take_over
  echo 100 >&5
  must lines "$T/log" 200
  [ "$(mps status --compat | grep -c RUNNING)" = 31 ] || fail "not all run"
  exec 5>&-
  shutdown_mpsup
done
