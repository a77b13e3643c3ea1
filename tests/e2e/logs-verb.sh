#!/bin/bash
# mpsup logs: the last lines through rotated files, and following through all that can happen to a file.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
export TZ=UTC

# A program that writes lines as they are put into the file $T/NAME.in: bytes, as they are.
cat >"$T/say" <<'Y'
#!/bin/sh
: >"$1.in"
exec tail -n +1 -f "$1.in"
Y
chmod +x "$T/say"
program() { # name, further keys
  printf '%s\n' "[program:$1]" "command=$T/say $T/$1" stopasgroup=true "${@:2}"
}
config <<Y
$(program one stdout_logfile="$T/log/one.log" stdout_logfile_maxbytes=0)
$(program two stdout_logfile="$T/log/two.log" stdout_logfile_maxbytes=0 redirect_stderr=true)
$(program auto)
$(program turning stdout_logfile="$T/log/turning.log" stdout_logfile_maxbytes=3000 stdout_logfile_backups=200)
$(program packed stdout_logfile="$T/log/packed.log" stdout_logfile_maxbytes=3000 stdout_logfile_backups=200 \
  stdout_logfile_compress=true)
[program:late]
command=/bin/sh -c 'echo first; exec sleep 1000'
autostart=false
[program:mute]
command=/bin/sleep 1000
stdout_logfile=NONE
[program:both]
command=/bin/sh -c 'echo out; echo err >&2; exec sleep 1000'
[program:same]
command=/bin/sleep 1000
stdout_logfile=$T/log/one.log
stdout_logfile_maxbytes=0
Y
start_mpsup
must test -e "$T/one.in" -a -e "$T/two.in" -a -e "$T/auto.in" -a -e "$T/turning.in" -a -e "$T/packed.in"

put() { # name, text for printf
  # shellcheck disable=SC2059 # that is what it is for
  printf "$2" >>"$T/$1.in"
}

lines_from() { # word, first, last
  seq -f "$1 %.0f" "$2" "$3"
}

log_has() { # file, line
  grep -aqxF -- "$2" "$T/log/$1" 2>/dev/null
}

shows() { # expected lines; what mpsup logs printed is in $T/out
  diff <(printf '%s\n' "$@") "$T/out" >"$T/diff" || fail "it prints: $(cat "$T/diff")"
}

say "the last lines"
lines_from one 1 30 >>"$T/one.in"
must log_has one.log "one 30"
mps_expect 0 logs one
cmp -s "$T/out" <(lines_from one 21 30) || fail "not the last ten: $(cat "$T/out")"
mps_expect 0 logs -n 2 one
shows "one 29" "one 30"
mps_expect 0 logs one --lines all
cmp -s "$T/out" <(lines_from one 1 30) || fail "not all: $(cat "$T/out")"
mps_expect 0 logs -n 0 one
[ ! -s "$T/out" ] || fail "it prints something"
put one "no end"
must grep -qF "no end" "$T/log/one.log"
mps_expect 0 logs -n 2 one
shows "one 30" "no end"
put one "\n"
for wrong in "-n x" "-n -1" "--since noon" "--since 25:00"; do
  # shellcheck disable=SC2086 # an option and its value
  mps_expect 2 logs $wrong one
done

say "several: by name, as JSON, and what has no file"
put two 'a\tb\377\n'
put auto 'of auto\n'
must log_has two.log "$(printf 'a\tb\377')"
must eval 'mps logs auto | grep -q "of auto"'
mps_expect 0 logs -n 1 two auto
shows "$(printf 'two  | a\tb\377')" "auto | of auto"
mps_expect 0 logs -n 1 two auto --json
shows '{"name":"two","stream":"stdout","line":"a\tb�"}' '{"name":"auto","stream":"stdout","line":"of auto"}'
mps_expect 0 logs --stderr both
shows err
mps_expect 0 logs --stderr two -n 1 --json
shows '{"name":"two","stream":"stdout","line":"a\tb�"}'
contains "$T/err" "two: its standard error is in the log of its standard output" || fail "$(cat "$T/err")"
mps_expect 1 logs mute
contains "$T/err" "mute: its standard output goes nowhere" || fail "$(cat "$T/err")"
mps_expect 0 logs mute one
mps_expect 1 logs -f mute
mps_expect 1 logs on
contains "$T/err" "no such process" || fail "$(cat "$T/err")"
mps_expect 0 logs one same -n 1
contains "$T/err" "same: writes to the same file as one" || fail "$(cat "$T/err")"
mps_expect 0 logs late
contains "$T/err" "late: has no log yet" || fail "$(cat "$T/err")"
mv "$T/log/two.log" "$T/log/away"
mkdir "$T/log/two.log"
mps_expect 1 logs two one -n 1
contains "$T/err" "two.log: not a regular file" || fail "$(cat "$T/err")"
contains "$T/out" "^one " || fail "the other is not shown"
rmdir "$T/log/two.log"
mv "$T/log/away" "$T/log/two.log"
NO_COLOR=1 script -qec "$MPSUP logs -c $CONF -n 1 two auto" /dev/null </dev/null >"$T/out" 2>&1
contains "$T/out" "^auto \| of auto" || fail "NO_COLOR: $(cat "$T/out")"
env -u NO_COLOR TERM=xterm script -qec "$MPSUP logs -c $CONF -n 1 two auto" /dev/null </dev/null >"$T/out" 2>&1
contains "$T/out" $'^\033\\[33mauto \\|\033\\[0m of auto' || fail "no colours: $(cat -v "$T/out")"

say "back through rotated files, also compressed ones"
for name in turning packed; do
  lines_from line 1 2000 >>"$T/$name.in"
  must log_has "$name.log" "line 2000"
  for n in 1 100 1234 1999 2000 5000 all; do
    mps_expect 0 logs -n $n "$name"
    first=1
    [ $n = all ] || [ $n -gt 2000 ] || first=$((2001 - n))
    cmp -s "$T/out" <(lines_from line $first 2000) ||
      fail "$name, -n $n: $(wc -l <"$T/out") lines, first $(head -n 1 "$T/out"), last $(tail -n 1 "$T/out")"
  done
done
must test -e "$T/log/packed.log.3.gz"
cp "$T/log/packed.log.2.gz" "$T/keep.gz"
printf 'no gzip' | dd of="$T/log/packed.log.2.gz" bs=1 seek=40 conv=notrunc 2>/dev/null
mps_expect 1 logs -n 1500 packed
contains "$T/err" "packed.log.2.gz: " || fail "what cannot be read is not told: $(cat "$T/err")"
contains "$T/out" "^line 2000$" || fail "what can be read is not shown"
mv "$T/keep.gz" "$T/log/packed.log.2.gz"

say "since"
{
  echo "2026-03-01 10:00:00,123 early"
  echo "  of early"
  echo "2026-03-01T12:00:00Z noon"
  echo "  of noon"
  echo "2026-03-01T14:00:00.5+01:00 later"
} >>"$T/auto.in"
must eval 'mps logs auto | grep -q later'
mps_expect 0 logs auto --since "2026-03-01 11:00"
shows "2026-03-01T12:00:00Z noon" "  of noon" "2026-03-01T14:00:00.5+01:00 later"
mps_expect 0 logs auto --since 2026-03-01T12:30:00Z
shows "2026-03-01T14:00:00.5+01:00 later"
mps_expect 0 logs auto --since 2026-03-01 -n 2
shows "  of noon" "2026-03-01T14:00:00.5+01:00 later"
mps_expect 0 logs auto --since 1m
[ ! -s "$T/out" ] || fail "it prints $(cat "$T/out")"
touch -d '2 hours ago' "$T/log/turning.log".[3-9]
mps_expect 0 logs turning --since 1h
lines=$(cat "$T/log/turning.log.2" "$T/log/turning.log.1" "$T/log/turning.log" | wc -l)
[ "$(wc -l <"$T/out")" = "$lines" ] || fail "files without a time: $(wc -l <"$T/out") lines, not $lines"

# ---------------------------------------------------------------------------------------------------- following
follower=
follow() { # arguments
  : >"$T/f.out"
  env --default-signal=INT "$MPSUP" logs -c "$CONF" -f "$@" >"$T/f.out" 2>"$T/f.err" </dev/null &
  follower=$!
}
follow_from() { # as it is sure to watch: name, arguments
  put "$1" "begin\n"
  must eval "mps logs -n 1 $1 | grep -q begin"
  follow -n 1 "$@"
  must contains "$T/f.out" begin
}
got() { # line
  grep -qxF -- "$1" "$T/f.out"
}
must_get() {
  must got "$1"
}
stop_following() {
  kill -INT "$follower"
  wait "$follower"
  [ $? = 130 ] || fail "interrupted, its status is not 130"
}
all_once() { # word, first, last: all of these lines, in order, and no other
  cmp -s <(grep "^$1 " "$T/f.out") <(lines_from "$1" "$2" "$3") ||
    fail "lost, doubled or mixed: $(diff <(grep "^$1 " "$T/f.out") <(lines_from "$1" "$2" "$3") | head -n 5)"
}

say "-f: rotation by size, thousands of times, also with gzip"
for name in turning packed; do
  follow_from "$name"
  lines_from n 1 30000 >>"$T/$name.in"
  must -t 30 got "n 30000"
  all_once n 1 30000
  grep -vE '^(n [0-9]+|begin)$' "$T/f.out" && fail "torn lines"
  stop_following
done

say "-f: moved away and made again, many at once; a half line goes on in the next file"
# Written by us: mpsup would write on to the file that was moved.
mps_expect 0 stop one same two
follow_from_file() {
  echo "begin" >>"$T/log/one.log"
  follow -n 1 one
  must_get begin
}
follow_from_file
for i in {1..20}; do
  echo "m $((2 * i - 1))" >>"$T/log/one.log"
  printf 'm ' >>"$T/log/one.log"
  for k in {20..1}; do [ ! -e "$T/log/one.log.$k" ] || mv "$T/log/one.log.$k" "$T/log/one.log.$((k + 1))"; done
  mv "$T/log/one.log" "$T/log/one.log.1"
  echo "$((2 * i))" >>"$T/log/one.log"
done
must_get "m 40"
all_once m 1 40
say "-f: stopped while files go by, it reads them all"
kill -STOP "$follower"
for i in {1..9}; do
  echo "s $i" >>"$T/log/one.log"
  for k in {30..1}; do [ ! -e "$T/log/one.log.$k" ] || mv "$T/log/one.log.$k" "$T/log/one.log.$((k + 1))"; done
  mv "$T/log/one.log" "$T/log/one.log.1"
done
echo "s 10" >>"$T/log/one.log"
kill -CONT "$follower"
must_get "s 10"
all_once s 1 10
say "-f: truncated, removed and made again, with its folder"
# A file that is as long again before it was looked at is not seen to have been truncated: nobody could.
lines_from filler 1 100 >>"$T/log/one.log"
must_get "filler 100"
n_read() {
  awk '/^rchar/ { print $2 }' "/proc/$follower/io"
}
before=$(n_read)
printf 'half' >>"$T/log/one.log"
has_read_more() {
  [ "$(n_read)" -ge $((before + 4)) ]
}
must has_read_more
: >"$T/log/one.log"
echo "after" >>"$T/log/one.log"
must_get after
got half || fail "what was before the truncation is not a line of its own: $(tail -n 3 "$T/f.out")"
contains "$T/f.err" "one.log: was truncated" || fail "it does not say so"
rm "$T/log/one.log"*
echo "made again" >>"$T/log/one.log"
must_get "made again"
mv "$T/log" "$T/log-away"
mkdir "$T/log"
echo "another folder" >>"$T/log/one.log"
must_get "another folder"
rm -r "$T/log"
mkdir -p "$T/log"
echo "a third" >>"$T/log/one.log"
must_get "a third"
stop_following
follow one
rm -r "$T/log"
mkdir "$T/log"
echo "it did not exist" >>"$T/log/one.log"
must_get "it did not exist"
stop_following
rm -r "$T/log"
mv "$T/log-away" "$T/log"

say "-f: several, by whole lines; one that starts later; a closed reader"
mps_expect 0 start one two
: >"$T/log/one.log"
put two "begin\n"
must eval 'mps logs -n 1 two | grep -q begin'
follow -n 1 one two late
must_get "two  | begin"
put one "part"
must grep -qF part "$T/log/one.log"
put two "whole\n"
must_get "two  | whole"
put one " and end\n"
must_get "one  | part and end"
mps_expect 0 start late
must_get "late | first"
stop_following
put one "many\n"
expect 0 bash -c "set -o pipefail; '$MPSUP' logs -c '$CONF' -f -n all one | { head -n 1; } || [ \$? = 141 ]" &
reader=$!
must log_has one.log many
until ! alive $reader; do
  put one "more\n"
done
wait $reader || fail "with a closed reader"
[ ! -s "$T/err" ] || fail "it says $(cat "$T/err")"

say "-f: a takeover, a reload that brings another program, the end"
put auto "begin\n"
must eval 'mps logs -n 1 auto | grep -q begin'
follow -n 1 one auto
must_get "auto | begin"
put one "before\n"
must_get "one  | before"
take_over
put one "behind\n"
must_get "one  | behind"
put auto "auto too\n"
must_get "auto | auto too"
stop_following
follow -n 1
must contains "$T/f.out" '^auto .*auto too'
program added >>"$CONF"
mps_expect 0 reload
must test -e "$T/added.in"
put added "by reload\n"
must grep -qE '^added +\| by reload$' "$T/f.out"
put one "no end"
must grep -qF "no end" "$T/log/one.log"
mps_expect 0 shutdown
wait "$follower" || fail "at the end of the supervisor its status is $?: $(cat "$T/f.err")"
contains "$T/f.err" "the supervisor has ended" || fail "$(cat "$T/f.err")"
grep -qE '^one +\| .*no end$' "$T/f.out" || fail "the last line, which has no end, is not shown"
mps_expect 7 logs one
