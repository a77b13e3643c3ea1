#!/bin/bash
# The manual pages, the help and the example say the same as the program.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
here=$(cd "$(dirname "$0")/../.." && pwd) || exit 1
man=$here/man

# same WHAT: $T/left and $T/right hold the same lines, in any order.
same() {
  sort -u -o "$T/left" "$T/left"
  sort -u -o "$T/right" "$T/right"
  [ -s "$T/left" ] || fail "found none: $1"
  [ -z "$(comm -3 "$T/left" "$T/right")" ] ||
    fail "$1: <only in the program> <tab> <only in the page>: $(comm -3 "$T/left" "$T/right" | tr '\n' ';')"
}

say "the verbs of help are those of mpsup(1)"
"$MPSUP" help | sed -n '/^verbs:/,/^$/s/^  \([a-z]*\) .*/\1/p' >"$T/left"
sed -n '/^\.Sh VERBS/,/^\.Ss/s/^\.It Cm \([a-z]*\).*/\1/p' "$man/mpsup.1" >"$T/right"
same verbs

say "and so are those of its synopsis"
{ "$MPSUP" help | sed -n '/^verbs:/,/^$/s/^  \([a-z]*\) .*/\1/p' && echo completion; } >"$T/left"
sed -n '/^\.Sh SYNOPSIS/,/^\.Sh DESC/{/^\.Nm/{n;s/^\.Cm //;s/ | /\n/g;p}}' "$man/mpsup.1" >"$T/right"
same "verbs of the synopsis"
sed -i /^completion/d "$T/left"

say "the signals are those of mpsup(1)"
sed -n '/handled\[\] = /s/.*{ \(.*\) };/\1/p' "$here/lib/sup/signals_uv.c" | tr -d ' ' | tr , '\n' >"$T/right"
sed -n '/^\.Sh SIGNALS/,/^\.Sh ENV/s/^\.It Dv //p' "$man/mpsup.1" | tr -d ' ' | tr , '\n' >"$T/left.signals"
mv "$T/left" "$T/verbs" && mv "$T/left.signals" "$T/left"
same signals
mv "$T/verbs" "$T/left"

say "every verb explains itself, with a prefix too"
while read -r verb; do
  expect 0 "$MPSUP" "$verb" --help
  contains "$T/out" "^usage: mpsup $verb( |\$)" || fail "mpsup $verb --help has no usage line"
  expect 0 "$MPSUP" help "$verb"
  cmp -s "$T/out" <("$MPSUP" "$verb" --help) || fail "help $verb is not $verb --help"
done <"$T/left"

say "every option of a verb is in mpsup(1)"
while read -r verb; do
  "$MPSUP" "$verb" --help | sed -n '/^options:/,$s/.*--\([a-z-]*\).*/\1/p'
done <"$T/left" | sort -u >"$T/options"
while read -r option; do
  contains "$man/mpsup.1" "Fl -$option( |\$)" || fail "--$option is not in mpsup(1)"
done <"$T/options"

say "every key is in mpsup.conf(5)"
"$MPSUP" keys --json | python3 -c 'import json, sys
for key in json.load(sys.stdin): print(key["name"])' | sort -u >"$T/keys"
n_lines "$T/keys" 50 || fail "mpsup keys --json has only $(wc -l <"$T/keys") keys"
while read -r key; do
  contains "$man/mpsup.conf.5" "^\\.It Ic (.* )?$key( |\$)" || fail "$key is not in mpsup.conf(5)"
done <"$T/keys"

say "the files that are looked for are those of the README and of mpsup.conf(5)"
sed -n '/names\[\] = {/,/};/s/^\t"\([^@].*\)",/\1/p' "$here/lib/conf/find.c" | sed 's,^[^/],./&,' >"$T/places"
n_lines "$T/places" 7 || fail "found only $(wc -l <"$T/places") places"
# shellcheck disable=SC2016 # backquotes of Markdown
sed -n '/^A verb may be cut/,/are looked for/p' "$here/README.md" | grep -oE '`\.?/[^`]*`' | tr -d '`' >"$T/readme"
cmp -s "$T/places" "$T/readme" || fail "README.md has others: $(diff "$T/places" "$T/readme")"
sed -n '/^\.Sh FILES/,/^\.El/s/^\.Pa \([.\/].*\)/\1/p' "$man/mpsup.conf.5" >"$T/page"
cmp -s "$T/places" "$T/page" || fail "mpsup.conf(5) has others: $(diff "$T/places" "$T/page")"

say "the methods of the control protocol are those of mpsup-ipc(7)"
grep -oE '\{ "[a-z_.]+", method_' "$here/lib/sup/method_uv.c" | sed 's/{ "//; s/".*//' >"$T/left"
sed -n '/^\.Sh METHODS/,/^\.S[hs] A row/s/^\.It Ic \([a-z_.]*\).*/\1/p' "$man/mpsup-ipc.7" >"$T/right"
same methods

say "every field of a row of status is in mpsup-ipc(7)"
grep -oE '\{ "[a-z_]+", ROW_' "$here/lib/sup/status_uv.c" | cut -d'"' -f2 >"$T/fields"
n_lines "$T/fields" 20 || fail "found only $(wc -l <"$T/fields") fields"
sed -n '/^\.Ss A row/,/^\.S[hs] FAULT/p' "$man/mpsup-ipc.7" >"$T/row"
while read -r field; do
  contains "$T/row" "^\.(It )?Ic (.* )?$field( |\$)" || fail "$field is not in mpsup-ipc(7)"
done <"$T/fields"

say "the events are those of mpsup-ipc(7)"
sed -n 's/^\tX([A-Z_]*, "\([a-z_]*\)").*/\1/p' "$here/lib/sup/events.h" >"$T/left"
sed -n '/^\.Sh EVENTS/,/^\.Sh FAULT/s/^\.It Ic \([a-z_]*\).*/\1/p' "$man/mpsup-ipc.7" >"$T/right"
same events

say "the examples are accepted"
expect 0 "$MPSUP" check --strict -c "$here/supervisor.ini.example"
contains "$T/out" ' 0 errors, 0 warnings' || fail "warnings in supervisor.ini.example"
for example in "$here"/tests/examples/*.ini; do
  expect 0 "$MPSUP" check --strict -c "$example"
  contains "$T/out" ' 0 errors, 0 warnings' || fail "warnings in $example"
done
expect 0 "$MPSUP" keys --example
cp "$T/out" "$T/keys.ini"
expect 0 "$MPSUP" check --strict -c "$T/keys.ini"

say "the pages are well formed"
if command -v mandoc >/dev/null; then
  for page in "$man"/*.[1-9]; do
    expect 0 mandoc -Tlint -Wwarning "$page"
    ! mandoc -Tutf8 "$page" | LC_ALL=C grep $'\xe2\x80\x98[^\xe2]*\xe2\x80\x98' || fail "a quote of $page does not end"
  done
fi

say "the help fits a terminal of 80 columns"
for verb in "" $("$MPSUP" help | sed -n '/^verbs:/,/^$/s/^  \([a-z]*\) .*/\1/p'); do
  expect 0 "$MPSUP" ${verb:+"$verb"} --help
  [ -s "$T/out" ] || fail "there is no help for '$verb'"
  ! grep '.\{80\}' "$T/out" || fail "a line of mpsup $verb --help is longer"
done

say "every verb is in the README, and what it links to is there"
while read -r verb; do
  contains "$here/README.md" "\`(mpsup )?${verb}[^a-z]" || fail "$verb is not in README.md"
done < <("$MPSUP" help | sed -n '/^verbs:/,/^$/s/^  \([a-z]*\) .*/\1/p')
grep -ohE '\]\([^):#]+\)' "$here"/*.md | sed 's/](\(.*\))/\1/' | sort -u >"$T/links"
while read -r link; do
  [ -e "$here/$link" ] || fail "a link leads to $link, which is not there"
done <"$T/links"

say "the table of the faults has the rows that make faults tries, all of them ours without a failure"
# shellcheck disable=SC2016 # dollars of awk
awk -F ' [|] ' '/^[|] fault [|]/ { on = 1 } on && !/^[|]/ { exit } on && !/^[|](---| fault)/ { print substr($1, 3) "|" $2 }' "$here/README.md" >"$T/table"
cut -d '|' -f 1 "$T/table" >"$T/readme"
env -u FAULTS_KILLS "$here/tests/faults/run" --list | sed 's/^[^ ]*  *//' >"$T/faults"
n_lines "$T/faults" 20 || fail "make faults has few rows"
cmp -s "$T/faults" "$T/readme" || fail "the table has others: $(diff "$T/faults" "$T/readme")"
! grep -v '|ok$' "$T/table" || fail "a failure of ours"

command -v socat >/dev/null || {
  say "no socat: its examples are not tried"
  exit 0
}

config <<X
[program:db]
command=$W --pidfile $T/db
startsecs=0
autostart=false
[program:web]
command=$W --pidfile $T/web
startsecs=0
X
start_mpsup

# The commands of mpsup-ipc(7), one a line, without the prompt and without jq, which may not be installed.
mandoc -Tascii -Owidth=200 "$man/mpsup-ipc.7" 2>/dev/null | sed 's/.\x08//g' |
  sed -n '/^EXAMPLES/,$p' | sed -e ':a' -e '/|$/{N; s/\n */ /; ta' -e '}' |
  sed -n 's/^ *\$ //p' | sed 's/ | jq.*//; /^S=/d' >"$T/commands"
S=$RUNTIME/control.sock
export S
[ "$(wc -l <"$T/commands")" = 4 ] || fail "4 commands were expected in mpsup-ipc(7): $(cat "$T/commands")"

say "socat: info"
expect 0 sh -c "$(sed -n 1p "$T/commands")"
contains "$T/out" '^\{"id":1,"result":\{.*"protocol":1' || fail "info answers $(cat "$T/out")"

say "socat: status"
expect 0 sh -c "$(sed -n 2p "$T/commands")"
contains "$T/out" '"state":"RUNNING"' || fail "status answers $(cat "$T/out")"

say "socat: start with progress"
expect 0 sh -c "$(sed -n 3,4p "$T/commands")"
contains "$T/out" '^\{"event":"state","data":\{"name":"db","state":"STARTING","from":"STOPPED","pid":0\}\}$' ||
  fail "no event of db: $(cat "$T/out")"
contains "$T/out" '^\{"id":1,"result":.*"name":"db","code":80,"status":"SUCCESS"' || fail "start answers $(cat "$T/out")"
shutdown_mpsup
