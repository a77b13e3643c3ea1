#!/bin/bash
# What a newcomer copies: the tour of the README line by line, its configurations, and the examples of mpsup(1), mpsup-map(1),
# mpsup-manager(7) and mpsup.conf(5). Only names, ports and times are ours. (mpsup-worker(7) and leaks: examples.sh;
# mpsup-ipc(7): docs.sh; section 3 and mpsup(7): library-examples.sh; recipes of the README: manager.sh, map-joblog.sh.)
# shellcheck disable=SC2016 # marks of Markdown, and dollars of others
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
here=$(cd "$(dirname "$0")/../.." && pwd) || exit 1
export PATH="$T/bin:$PATH"
ports=$((200 + $$ % 300)) # and two digits

# The lines of a section of a manual page that are shown as they are.
shown() { # page, section
  awk -v s="$2" '/^\.Sh/ { on = $0 == ".Sh " s } /^\.Ed/ { block = 0 } on && block { print }
    /^\.Bd -literal/ { block = 1 } on && /^\.Dl / { print substr($0, 5) }' "$here/man/$1" |
    sed "s/\\\\(aq/'/g; s/\\\\&//g; s/\\\\\\[u21BA\\]/↺/"
}

# What differs from one run to the next: numbers and their units, generated names, the widths of columns.
plain() {
  sed -E "s,$ID,shop,g; s,(/[a-zA-Z0-9_.-]+)+/([a-z]+)-(std[a-z]+)---shop-[^ ]*,\\2-\\3,; s,(/[a-zA-Z0-9_.-]+)+/(shop|wrong).conf,\\2.conf,
    s/[0-9]+(\\.[0-9]+)?[KMG]/9M/g; s/[0-9]+/9/g; s/9[.:]9/9/g; s/9[.:]9/9/g; s/ +/ /g; s/ \$//"
}

# A session as it is shown: each command after a $ says what stands below it.
session() { # file
  local command='' want='' line
  while IFS= read -r line || [ -n "$line" ]; do
    case $line in
    '$ '*)
      answers "$command" "$want"
      command=${line#\$ }
      want=
      ;;
    *) want+=$line$'\n' ;;
    esac
  done <"$1"
  answers "$command" "$want"
}

answers() { # command, output
  [ -n "$1" ] || return 0
  (timeout -k 2 60 bash -c "$1") </dev/null >"$T/out" 2>&1
  plain <"$T/out" >"$T/is"
  # This line is for terminals.
  printf %s "$2" | sed '/^supervisor started/d' | plain >"$T/shown"
  # Programs start at once: which one is up first is theirs.
  case $1 in *' start '* | *' stop '* | *' restart '*) sort -o "$T/is" "$T/is" && sort -o "$T/shown" "$T/shown" ;; esac
  diff "$T/shown" "$T/is" >"$T/diff" || fail "$1 does not say (<) what is shown: $(cat "$T/diff")"
  tried=$((tried + 1))
}
tried=0

# Who is in $T is ours.
elsewhere() (
  cd / && "$@"
)

cd "$T" || exit 1
say "the tour of the README"
sed -n '/^## A tour/,/^## Commands/p' "$here/README.md" >"$T/tour"
CONF=$T/shop.conf
sed -n '/^```ini/,/^```$/{/^```/!p}' "$T/tour" |
  sed "s/= shop\$/= $ID/; s/ 80%(process_num)02d/ $ports%(process_num)02d --bind 127.0.0.1/; s/sleep 8/sleep 4/" >"$CONF"
contains "$CONF" "^identifier = $ID" || fail "there is no configuration in the tour"
awk '/^```$/ { on = !on; n += on; next } on { print > ("session" n) }' <(sed '/^```ini/,/^```$/d' "$T/tour")
[ -s session5 ] || fail "the tour has less than five sessions"
session session1
keeper=$(role keeper)
restarted() {
  mps status --json mail | grep -q '"state":"RUNNING".*"restarts":1,'
}
must restarted
session session2
session session3
sed '/^\$ ps/,$d' session4 >stop
session stop
must elsewhere nothing_left
printf '%s\n' '[supervisord]' 'identifier = shop' '' '[program:web]' 'command = /usr/bin/web' '' 'numproc = 4' '' \
  'stopwaitsecs = 5 min' >wrong.conf
session session5

say "the configurations of the README and of mpsup.conf(5)"
sed -n '/^## Configuration/,/^## One command/{/^```ini/,/^```$/{/^```/!p}}' "$here/README.md" >readme.conf
printf '%s\n' '[program:mail]' 'command = mail' >>readme.conf
shown mpsup.conf.5 DESCRIPTION >page.conf
for f in readme.conf page.conf; do
  n_lines $f 6 || fail "$f is not found"
  expect 0 mpsup check -c $f
  contains "$T/out" '(^| )0 errors' || fail "check says $(cat "$T/out")"
done

say "make, where what it needs is not installed"
(
  unset MAKEFLAGS MFLAGS MAKELEVEL
  PKG_CONFIG_LIBDIR=$T PKG_CONFIG_PATH='' timeout -k 2 60 make -C "$here" B="$T/tree" all
) >"$T/out" 2>&1 && fail "make goes on without libraries"
contains "$T/out" '^missing to build: libuv inih jansson zlib nettle msgpack$' || fail "make does not say what is missing"
contains "$T/out" '^make deps installs it' || fail "make does not say what to do"
! contains "$T/out" '^  CC' || fail "make compiles first"

say "mpsup(1)"
shown mpsup.1 EXAMPLES >examples
n_lines examples 14 || fail "mpsup(1) has few examples"
cat >"$CONF" <<X
[supervisord]
identifier=$ID
[program:web]
command=$W --pidfile $T/%(process_num)d.pid
process_name=%(process_num)d
numprocs=2
startsecs=0
X
sed -n '1,/^\$ mpsup status/p' examples | sed '$d' >session1
session session1
expect 0 mpsup status -c shop.conf
plain <"$T/out" | sed -n 1p >"$T/is"
grep '^NAME ' examples | plain | cmp -s - "$T/is" || fail "status has other columns than mpsup(1)"
# The rest without -c, in the folder of the file.
sed "s,^identifier=.*,&\nlogfile=$LOG," "$CONF" >mpsup.conf
printf '%s\n' '[program:migrate]' 'command=true' 'startsecs=0' 'autostart=false' 'autorestart=false' >>mpsup.conf
expect 0 mpsup shutdown -c shop.conf
expect 0 mpsup start
commands=$(sed -e ':a' -e '/|$/{N; s/\n */ /; ta' -e '}' examples | sed -n '/mpsup stop/,$s/^\$ //p')
line() { # pattern
  grep -F -- "$1" <<<"$commands" | head -n 1
}
[ "$(wc -l <<<"$commands")" = 5 ] || fail "5 more commands were expected in mpsup(1): $commands"
expect 0 bash -c "$(line 'mpsup start migrate')"
expect 0 bash -c "$(line 'mpsup signal HUP')"
if command -v jq >/dev/null; then
  mpsup stop web:0 >/dev/null
  expect 0 bash -c "$(line 'mpsup status --json')"
  [ "$(sort "$T/out" | xargs)" = "migrate web:0" ] || fail "down are $(cat "$T/out")"
  mkfifo names
  timeout -k 2 60 bash -c "$(line 'mpsup events')" >names 2>"$T/err" &
  exec 5<names
  subscribed() {
    mpsup signal KILL web:1 >/dev/null && read -r -t 2 name <&5
  }
  must -t 30 subscribed
  [ "$name" = web:1 ] || fail "events tell of '$name'"
fi
expect 0 bash -c "$(line 'mpsup stop')"
exec 5<&-
must elsewhere nothing_left
sed -n 's/^ENTRYPOINT //p' examples | python3 -c 'import json, sys
words = json.load(sys.stdin)
print(*words[:2] + ["--help"])' >entry
expect 0 bash -c "$(cat entry)"
completion=$(sed -n 's/^\.Dl \$ source/source/p' "$here/man/mpsup.1")
expect 0 bash -c "$completion && complete -p mpsup"

say "mpsup-map(1)"
shown mpsup-map.1 EXAMPLES | sed -n 's/^\$ //p' >commands
n_lines commands 3 || fail "mpsup-map(1) has few examples"
mkdir map && cd map || exit 1
touch "a b.png" c.png
printf '%s\n' one two >texts
printf '%s\n' x y >urls
printf '#!/bin/sh\necho "$1" "$2"\n' >"$T/bin/convert"
printf '#!/bin/sh\necho "$1" >>fetched\n' >fetch
printf '%s\n' 'import sys' 'for line in sys.stdin: print(len(line) - 1, flush=True)' >classify.py
chmod 755 "$T/bin/convert" fetch
printf '%s\n' a.png b.png >pictures
printf '%s\n' '#include <stdio.h>' 'int main(int argc, char **argv) { return argc != 2 || printf("scaled %s\n", argv[1]) < 0; }' >scale.c
cc -shared -fPIC -o scale.so scale.c || fail "scale.so"
while IFS= read -r command; do
  expect 0 bash -c "$command"
  case $command in find*) [ "$(sort "$T/out" | xargs)" = './a b.png ./a b.webp ./c.png ./c.webp' ] || fail "it says $(cat "$T/out")" ;; esac
done <../commands
[ "$(xargs <labels)" = "3 3" ] || fail "the labels are $(xargs <labels)"
expect 0 bash -c "$(tail -n 1 ../commands)"
[ "$(sort fetched | xargs)" = "x y" ] || fail "with --resume it was fetched again: $(xargs <fetched)"

say "mpsup-manager(7)"
shown mpsup-manager.7 "FROM THE SHELL" >../commands
n_lines ../commands 6 || fail "mpsup-manager(7) has few examples"
printf '#!/bin/sh\necho "fetched $1"\n' >"$T/bin/fetch"
chmod 755 "$T/bin/fetch"
printf '%s\n' one two >list
mpsup manager --address "unix:$T/m" >address 2>&1 </dev/null &
manager=$!
must test -s address
export MPSUP_MANAGER_NEW=unix:$T/m
sed -i 's/^while url/mpsup queue urls close; &/; s/^mpsup event/mpsup event ready set; &/' ../commands
expect 0 bash -e ../commands
contains "$T/out" '^fetched two$' || fail "it says $(cat "$T/out")"
kill "$manager"
must elsewhere nothing_left
cd / || exit 1
say "$tried commands say what is shown"
