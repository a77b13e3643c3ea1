#!/bin/bash
# Log files that grow, and that somebody takes away: every line is there once, whole and in order.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

n_backups() { # file
  local i=0
  while [ -e "$1.$((i + 1))" ] || [ -e "$1.$((i + 1)).gz" ]; do i=$((i + 1)); done
  echo $i
}
# A file with its backups, the oldest line first.
whole() { # file
  local i
  for ((i = $(n_backups "$1"); i > 0; i--)); do
    if [ -e "$1.$i.gz" ]; then gzip -dc "$1.$i.gz"; else cat "$1.$i"; fi
  done
  cat "$1"
}
all_lines() { # file, number: they are `line 1` to `line N`
  whole "$1" >"$T/all" 2>/dev/null
  seq -f 'line %.0f' "$2" | cmp -s - "$T/all"
}
last_is() { # file, line
  [ "$(tail -n 1 "$1" 2>/dev/null)" = "$2" ]
}
sizes_within() { # bytes, files
  local max=$1 f
  shift
  for f in "$@"; do
    [ "$(stat -c %s "$f")" -le "$max" ] || fail "$f has $(stat -c %s "$f") bytes"
    [ "$(tail -c 1 "$f" | od -An -tx1 | tr -d ' ')" = 0a ] || fail "$f ends within a line"
  done
}

say "rotation at line ends, numbered, the newest is .1"
config_with "logfile_maxbytes=2KB" "logfile_backups=3" <<X
[program:many]
command=$W --write 20000
stdout_logfile=$T/many
stdout_logfile_maxbytes=10000
stdout_logfile_backups=50
startsecs=0
[program:few]
command=$W --write 20000
stdout_logfile=$T/few
stdout_logfile_maxbytes=10000
stdout_logfile_backups=2
startsecs=0
[program:none]
command=$W --write 20000
stdout_logfile=$T/none
stdout_logfile_maxbytes=10000
stdout_logfile_backups=0
startsecs=0
[program:zip]
command=$W --write 20000
stdout_logfile=$T/zip
stdout_logfile_maxbytes=20000
stdout_logfile_backups=50
stdout_logfile_compress=true
startsecs=0
[program:one]
command=$W --write 10000
stdout_logfile=$T/both
stdout_logfile_maxbytes=10000
stdout_logfile_backups=90
startsecs=0
[program:two]
command=/bin/sh -c 'i=0; while [ \$i -lt 5000 ]; do i=\$((i + 1)); echo "other \$i"; done; exec $W'
stdout_logfile=$T/both
stdout_logfile_maxbytes=10000
stdout_logfile_backups=90
startsecs=0
[program:auto]
command=$W --write 2000
stdout_logfile_maxbytes=9000
startsecs=0
[program:late]
command=$W
autostart=false
stdout_logfile=$T/late
startsecs=0
[program:told]
command=$W --write 20000
autostart=false
stdout_logfile=$T/told
stdout_logfile_maxbytes=10000
stdout_logfile_backups=50
startsecs=0
X
start_mpsup
must all_lines "$T/many" 20000
sizes_within 10000 "$T"/many "$T"/many.*
n=$(n_backups "$T/many")
{ [ "$n" -ge 20 ] && [ "$n" -le 26 ]; } || fail "$n backups"

say "as many backups as asked for"
must last_is "$T/few" 'line 20000'
[ "$(cd "$T" && echo few.*)" = 'few.1 few.2' ] || fail "$(cd "$T" && echo few.*)"
whole "$T/few" >"$T/all"
first=$(head -n 1 "$T/all")
seq -f 'line %.0f' "${first#line }" 20000 | cmp - "$T/all" || fail "lines are missing in between"
must last_is "$T/none" 'line 20000'
[ ! -e "$T/none.1" ] || fail "a backup with stdout_logfile_backups=0"

say "compressed in the background"
all_compressed() { [ "$(n_backups "$T/zip")" -ge 10 ] && ! compgen -G "$T/zip.*[0-9]" >/dev/null; }
must all_compressed
must all_lines "$T/zip" 20000
[ ! -e "$T/zip.gz-part" ] || fail "a half file is left"

say "two programs on one file: no line torn"
both() {
  whole "$T/both" >"$T/all" 2>/dev/null
  [ "$(grep -cxE 'line [0-9]+' "$T/all")" = 10000 ] && [ "$(grep -cxE 'other [0-9]+' "$T/all")" = 5000 ]
}
must both
[ "$(wc -l <"$T/all")" = 15000 ] || fail "torn lines"
sizes_within 10000 "$T"/both "$T"/both.*

say "AUTO files too"
auto=$(compgen -G "$T/auto-stdout---*.log")
must all_lines "$auto" 2000
[ -e "$auto.1" ] || fail "no backup of $auto"

say "each rotation is an event, of the program, or of none"
mps events --json --type log_rotated >"$T/rotations" 2>"$T/rotations.err" &
listener=$!
told() { # file, further words
  grep -cE "\"event\": ?\"log_rotated\".*$2.*\"file\": ?\"$1\"" "$T/rotations"
}
# Whether it listens nobody tells but an event.
heard() {
  mps start late >/dev/null && mps stop late >/dev/null
  [ "$(told "$LOG" '')" -gt 0 ]
}
must heard
mps_expect 0 start told
must all_lines "$T/told" 20000
all_told() { [ "$(told "$T/told" '"process": ?"told"')" = "$(n_backups "$T/told")" ]; }
must all_told
[ "$(n_backups "$T/told")" -ge 5 ] || fail "$(n_backups "$T/told") backups"
[ "$(told "$LOG" '"process"')" = 0 ] || fail "the activity log is no program's: $(cat "$T/rotations")"
kill "$listener"
wait "$listener" 2>/dev/null

say "the activity log"
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25; do
  mps_expect 0 start late
  mps_expect 0 stop late
done
must test -e "$LOG.3"
[ ! -e "$LOG.4" ] || fail "more than 3 backups"
sizes_within 2048 "$LOG" "$LOG".[123]
shutdown_mpsup

# --------------------------------------------------------------------------------------- taken away, and odd bytes
# talk writes as many lines as a line of $T/go says.
cat >"$T/talk.sh" <<'X'
exec 3<>"$1"
i=0
while read -r -u 3 n; do
  for (( ; n > 0; n--)); do echo "line $((i += 1))"; done
done
X
mkfifo "$T/go"
config_with "strip_ansi=false" <<X
[program:talk]
command=/bin/bash $T/talk.sh $T/go
stdout_logfile=$T/logs/talk
startsecs=0
[program:own]
command=$W
stdout_logfile=$T/own
stdout_logfile_maxbytes=0
stderr_logfile=$T/own.err
stderr_logfile_maxbytes=0
startsecs=0
[program:raw]
command=/usr/bin/printf 'a\\0b\\nno end'
stdout_logfile=$T/raw
startsecs=0
autorestart=false
[program:long]
command=/bin/sh -c 'head -c 1048576 /dev/zero | tr "\\\\000" x; echo; echo short; exec $W'
stdout_logfile=$T/long
stdout_logfile_maxbytes=100000
startsecs=0
[program:stamped]
command=/bin/sh -c 'head -c 1048576 /dev/zero | tr "\\\\000" x; echo; echo short; printf tail'
stdout_logfile=$T/stamped
log_timestamp=true
startsecs=0
autorestart=false
[program:ansi]
command=/usr/bin/printf '\\033[1;31mred\\033[0m \\033]0;title plain\\n'
stdout_logfile=$T/ansi
startsecs=0
autorestart=false
X
start_mpsup
exec 5<>"$T/go"

say "a file that is renamed away is made again"
echo 10 >&5
must n_lines "$T/logs/talk" 10
mv "$T/logs/talk" "$T/old"
echo 10 >&5
must n_lines "$T/logs/talk" 10
cat "$T/old" "$T/logs/talk" | cmp - <(seq -f 'line %.0f' 1 20) || fail "lines"

say "or deleted, with its folder"
rm -r "$T/logs"
echo 10 >&5
must n_lines "$T/logs/talk" 10
seq -f 'line %.0f' 21 30 | cmp - "$T/logs/talk" || fail "lines"

say "or cut"
truncate -s 0 "$T/logs/talk"
echo 10 >&5
must last_is "$T/logs/talk" 'line 40'
seq -f 'line %.0f' 31 40 | cmp - "$T/logs/talk" || fail "lines"

say "SIGUSR2: all files are opened again, at once"
mv "$T/logs/talk" "$T/old"
mv "$LOG" "$T/old.log"
kill -USR2 "$supervisor"
must test -e "$T/logs/talk"
must contains "$LOG" 'INFO supervisord logreopen'
echo 10 >&5
must n_lines "$T/logs/talk" 10
n_lines "$T/old" 10 || fail "the old file has lost lines"

say "a program that has the file itself goes on in the old one until it is restarted: that is told"
mv "$T/own" "$T/own.moved"
kill -USR2 "$supervisor"
must contains "$LOG" "WARN own writes to $T/own.moved itself, and to $T/own only after a restart"
[ "$(grep -c 'only after a restart' "$LOG")" = 1 ] || fail "told of what was not moved"
mps_expect 0 restart own
test -e "$T/own" || fail "the restart has not made it"

say "the activity log that is deleted is made again"
rm "$LOG"
must in_state raw EXITED
mps_expect 0 start raw
must contains "$LOG" "spawned: 'raw'"

say "bytes are bytes: NUL, and no newline at the end"
printf 'a\0b\nno enda\0b\nno end' >"$T/want"
must cmp -s "$T/raw" "$T/want"

say "a line of 1 MiB stays one line"
long_done() { last_is "$T/long" short && [ "$(stat -c %s "$T/long.1")" = 1048577 ]; }
must long_done
stamped_done() { [ "$(awk '{ print length($0) }' "$T/stamped" | paste -sd ' ')" = '1048600 29 28' ]; }
must stamped_done
n_lines "$T/stamped" 3 || fail "the last line has no end"
[ "$(grep -cE '^[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3} ' "$T/stamped")" = 3 ] || fail "times"
must grep -q $'\033\[1;31mred' "$T/ansi"
exec 5>&-
shutdown_mpsup

say "strip_ansi"
rm "$T/ansi"
sed -i "s/^strip_ansi=.*/strip_ansi=true/" "$CONF"
start_mpsup
must n_lines "$T/ansi" 1
printf 'red \033]0;title plain\n' | cmp - "$T/ansi" || fail "$(od -c "$T/ansi" | head -n 3)"
shutdown_mpsup
