#!/bin/bash
# What a program needs is taken away while it runs: its folder, its file, its environment. It keeps running; when it must
# be started again it says what is missing, with the line of the file; the others notice nothing; mended, it starts.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
# Root may read and enter everything.
[ "$(id -u)" != 0 ] || as_user 54323

mkdir "$T/home" "$T/own"
cp "$W" "$T/own/file"
cp "$W" "$T/own/image"
cp "$W" "$T/own/closed"
printf 'FROM=file\n' >"$T/env"
config <<X
[program:home]
command=$W
directory=$T/home
startsecs=0
startretries=0
[program:file]
command=$T/own/file
startsecs=0
startretries=0
[program:image]
command=$T/own/image
startsecs=0
startretries=0
[program:closed]
command=$T/own/closed
startsecs=0
startretries=0
[program:env]
command=$W
env_file=$T/env
startsecs=0
startretries=0
[program:other]
command=$W --pidfile $T/other
startsecs=0
X
[ ${#AS[@]} = 0 ] || chown -R 54323 "$T"
start_mpsup
must n_lines "$T/other" 1
for p in home file image closed env; do must in_state $p RUNNING; done

line() { # program, key: its line in the file
  awk -v s="[program:$1]" -v k="$2=" '$0 == s { on = 1 } on && index($0, k) == 1 { print NR; exit }' "$CONF"
}
# broken NAME KEY TEXT: a restart fails, and status and log tell why
broken() {
  local where
  where="mpsup.conf:$(line "$1" "$2")"
  in_state "$1" RUNNING || fail "$1 is $(state "$1") before it was to be started again"
  kill -KILL "$(pid_of "$1")"
  must in_state "$1" FATAL
  mps status "$1" >"$T/out"
  contains "$T/out" "$3.*$where" || fail "status of $1: $(cat "$T/out")"
  must contains "$LOG" "$1.*$3.*$where"
  mps_expect 7 start "$1"
  cat "$T/out" "$T/err" >"$T/said"
  contains "$T/said" "$1: ERROR" || fail "start of $1 says $(cat "$T/said")"
}
mended() {
  mps_expect 0 start "$1"
  in_state "$1" RUNNING || fail "$1 is $(state "$1") after it was mended"
}

say "its folder deleted"
rmdir "$T/home"
broken home directory 'No such file'
mkdir "$T/home"
[ ${#AS[@]} = 0 ] || chown 54323 "$T/home"
mended home

say "its folder closed to it"
chmod 000 "$T/home"
broken home directory 'Permission denied'
chmod 755 "$T/home"
mended home

say "its file deleted"
rm "$T/own/file"
broken file command '(not found|No such file)'
cp "$W" "$T/own/file"
mended file

say "a folder in the place of its file"
rm "$T/own/image"
mkdir "$T/own/image"
broken image command 'is a directory'
rmdir "$T/own/image"
cp "$W" "$T/own/image"
mended image

say "its file no longer executable"
chmod 644 "$T/own/closed"
broken closed command 'is not executable'
chmod 755 "$T/own/closed"
mended closed

say "its env_file closed to it, and then deleted"
chmod 000 "$T/env"
broken env env_file 'Permission denied'
rm "$T/env"
mps_expect 7 start env
contains "$T/err" "env_file.*$T/env.*No such file" || contains "$T/out" "env_file.*$T/env.*No such file" || fail "start says $(cat "$T/out" "$T/err")"
printf 'FROM=file\n' >"$T/env"
[ ${#AS[@]} = 0 ] || chown 54323 "$T/env"
mended env

say "the others were not touched"
[ "$(wc -l <"$T/other")" = 1 ] || fail "other was started $(wc -l <"$T/other") times"
in_state other RUNNING || fail "other is $(state other)"
shutdown_mpsup

