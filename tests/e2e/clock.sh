#!/bin/bash
# The wall clock jumps, a year back and forth: no wait gets longer or shorter, and nothing is shown as negative.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
[ -z "${SAN:-}" ] || { echo "a sanitizer's library must be the first that is loaded" && exit 77; }
command -v cc >/dev/null || { echo "no cc" && exit 77; }

cc -D_GNU_SOURCE -shared -fPIC -o "$T/clock.so" "$(dirname "$0")/../faults/clock.c" >"$T/out" 2>"$T/err" || fail "cc"
export CLOCK_OFFSET=$T/offset
year=31536000
next=$(date -d "@$(($(date +%s) + year))" +%Y)
jump() { # seconds
  echo "$1" >"$T/offset.new"
  mv "$T/offset.new" "$T/offset"
}
jump 0

config <<X
[program:steady]
command=$W --pidfile $T/steady
startsecs=2
[program:retry]
command=$W --pidfile $T/retry --exit 1
startretries=100
restart_delay=1
restart_delay_max=1
[program:deaf]
command=$W --ignore TERM --pidfile $T/deaf
startsecs=0
stopwaitsecs=1
[program:limited]
command=$W --pidfile $T/limited --after 200 --exit 1
startsecs=0
restart_delay=0
restart_limit=3/3600
autorestart=true
X
export LD_PRELOAD=$T/clock.so
mps start --no-wait >"$T/out" 2>"$T/err" || mps pid >/dev/null || fail "start: $(cat "$T/err")"
supervisor=$(role supervisor)
keeper=$(role keeper)
grep -q "$T/clock.so" "/proc/$supervisor/maps" || fail "the supervisor has the machine's own clock"

must n_lines "$T/deaf" 1
for offset in -$year $year 0; do
  say "by $offset s"
  jump "$offset"
  n=$(wc -l <"$T/retry")
  t0=$(now_ms)
  must -t 10 n_lines "$T/retry" $((n + 3))
  t=$(($(now_ms) - t0))
  # Three, of which the first may be due at once.
  if [ $t -lt 1500 ] || [ $t -gt 6000 ]; then fail "three tries a second apart took $t ms"; fi

  n=$(wc -l <"$T/deaf")
  t0=$(now_ms)
  mps_expect 0 restart deaf
  t=$(($(now_ms) - t0))
  if [ $t -lt 950 ] || [ $t -gt 4000 ]; then fail "stopwaitsecs=1 took $t ms"; fi
  must n_lines "$T/deaf" $((n + 1))

  t0=$(now_ms)
  mps_expect 0 restart steady
  t=$(($(now_ms) - t0))
  if [ $t -lt 1900 ] || [ $t -gt 5000 ]; then fail "startsecs=2 took $t ms"; fi

  mps status >"$T/status"
  contains "$T/status" '[ ,]-[0-9]' && fail "something negative: $(cat "$T/status")"
  contains "$T/status" 'steady +RUNNING +[0-9]+ +00:0' || fail "uptime: $(cat "$T/status")"
done
say "restarts that count within a span are not forgotten"
must in_state limited FATAL
[ "$(wc -l <"$T/limited")" -le 6 ] || fail "limited was started $(wc -l <"$T/limited") times"

say "the log has the time of the clock"
jump $year
mps_expect 0 restart deaf
tail -n 1 "$LOG" >"$T/last"
contains "$T/last" "^$next-" || fail "the last line of the log is $(cat "$T/last")"
shutdown_mpsup
unset LD_PRELOAD
