#!/bin/bash
# mpsup map --joblog and --resume: GNU parallel's columns, torn files, other inputs; and the recipes of the README.
# shellcheck source=tests/e2e/lib.sh
# shellcheck disable=SC1083,SC2016 # braces are placeholders; dollars are the tasks' own
. "$(dirname "$0")/lib.sh"
here=$(cd "$(dirname "$0")/../.." && pwd) || exit 1
L=$T/log

map() { # status, arguments
  local want=$1
  shift
  expect "$want" "$MPSUP" map -j 2 "$@"
}
out_is() {
  [ "$(cat "$T/out")" = "$1" ] || fail "the output is '$(head -c 300 "$T/out")' and not '$1'"
}
task='echo {}; [ {} != 2 ] || exit 7; [ {} != 3 ] || kill -KILL $$'

say "a line a task, in the columns of GNU parallel"
map 1 --joblog "$L" -- sh -c "$task" < <(seq 4)
[ "$(head -n 1 "$L")" = $'Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand' ] || fail "the title"
sort -n "$L" | tail -n 4 | grep -cP '^[1-4]\t:\t\d{10}\.\d{3}\t {1,8}\d+\.\d{3}\t0\t2\t\d\t\d\tsh -c echo' | grep -qx 4 || fail "$(cat "$L")"
sort -n "$L" | awk -F'\t' 'NR > 1 { print $7, $8 }' | tr '\n' ';' | grep -qx '0 0;7 0;0 9;0 0;' || fail "$(cat "$L")"
if command -v parallel >/dev/null; then
  parallel -j 2 --joblog "$T/parallel.log" sh -c "'$task'" ::: 1 4 >/dev/null 2>&1 || fail "parallel"
  cmp -s <(head -n 1 "$L") <(head -n 1 "$T/parallel.log") || fail "another title"
  [ "$(sed -n 2p "$T/parallel.log" | tr -cd '\t' | wc -c)" = "$(sed -n 2p "$L" | tr -cd '\t' | wc -c)" ] || fail "another number of columns"
fi

say "--resume leaves out what is listed, --resume-failed what has succeeded"
map 0 --joblog "$L" --resume -- sh -c "$task" < <(seq 4)
out_is ''
map 0 --joblog "$L" --resume -- sh -c "$task" < <(seq 6)
out_is $'5\n6'
[ "$(wc -l <"$L")" = 7 ] || fail "$(cat "$L")"
map 0 --joblog "$L" --resume-failed -- sh -c 'echo {}' < <(seq 6)
out_is $'2\n3'
contains "$T/err" "^mpsup: map: --resume: task 1 is not what $L lists under its number" || fail "it says '$(cat "$T/err")'"
map 0 --joblog "$L" --resume-failed -- sh -c 'echo {}' < <(seq 6)
out_is ''

say "workers too: the task is what is listed"
map 1 --joblog "$L" -- sh -c 'while read -r x; do [ $x != 3 ] || exit 5; echo $x; done' < <(seq 5)
[ "$(sort -n "$L" | awk -F'\t' 'NR > 1 { print $1, $7, $9 }' | tr '\n' ';')" = '1 0 1;2 0 2;3 5 3;4 0 4;5 0 5;' ] || fail "$(cat "$L")"
map 0 --joblog "$L" --resume-failed -- cat < <(seq 6)
out_is $'3\n6'
[ ! -s "$T/err" ] || fail "it says '$(cat "$T/err")'"

say "a last line that is torn is done again, lines that are none are left out"
map 0 --joblog "$L" -- echo {} < <(seq 3)
{ echo nonsense && sort -n "$L" | tail -n 1 | head -c 20; } >>"$T/more"
sort -n "$L" | head -n 3 | cat - "$T/more" >"$T/torn"
map 0 --joblog "$T/torn" --resume -- echo {} < <(seq 4)
out_is $'3\n4'
contains "$T/err" '1 lines of it are none of a joblog' || fail "it says '$(cat "$T/err")'"
tail -n 3 "$T/torn" | cut -f 1 | sort | tr '\n' ';' | grep -qx '3;4;nonsense;' || fail "$(cat "$T/torn")"

say "killed at any moment, and resumed, until all is done: nothing is done that was listed"
rm -f "$L" "$T/done"
for i in $(seq 100); do
  "$MPSUP" map -j 3 --joblog "$L" --resume -- sh -c 'echo {} >>"$0"' "$T/done" < <(seq 300) >/dev/null 2>&1 &
  front=$!
  [ "$i" -gt 8 ] || wait_for -t 5 n_lines "$T/done" $((i * 20))
  [ "$i" -gt 8 ] || kill -KILL "$front" 2>/dev/null
  wait "$front" 2>/dev/null && break
  must -t 5 nothing_left
done
[ "$(sort -n "$T/done" | uniq | tr '\n' ' ')" = "$(seq 300 | tr '\n' ' ')" ] || fail "not all was done"
[ "$(sort "$T/done" | uniq -d | wc -l)" -lt $((3 * i + 5)) ] || fail "$(sort "$T/done" | uniq -d | wc -l) were done twice"
[ "$(cut -f 1 "$L" | sort | uniq -d | wc -l)" = 0 ] || fail "some are listed twice"

say "a full disk is said, and the rest goes on"
map 1 --joblog /dev/full -- echo {} < <(seq 3)
out_is $'1\n2\n3'
contains "$T/err" '^mpsup: map: --joblog /dev/full: No space left on device; nothing is logged from here on$' || fail "it says '$(cat "$T/err")'"

say "the recipes of the README do what they say"
sed -n '/^## Many tasks/,/^## /{/^```sh/,/^```$/p}' "$here/README.md" | grep -v '^```' >"$T/recipes"
n_lines "$T/recipes" 3 || fail "there are none"
mkdir "$T/work" && cd "$T/work" || exit 1
mkdir logs pages && seq 100 >logs/a.log && seq 50 >logs/b.log && seq 3 >urls
export PATH=$T/bin:$PATH
printf '#!/bin/sh\necho "page of $1"\n' >"$T/bin/fetch"
cat >classify.py <<'P'
import sys
for line in sys.stdin:
    print("long" if len(line) > 3 else "short", flush=True)
P
seq 98 102 >texts
chmod 755 "$T/bin/fetch"
timeout 60 bash -e "$T/recipes" >"$T/out" 2>"$T/err" || fail "the recipes"
[ -s logs/a.log.gz ] || fail "no logs were packed"
[ "$(cat labels)" = $'short\nshort\nlong\nlong\nlong' ] || fail "labels: $(cat labels)"
[ "$(cat pages/1)-$(wc -l <done.log)" = "page of 1-4" ] || fail "no pages"
cd / && must -t 2 nothing_left
