#!/bin/bash
# Log files that cannot be written for a while: nothing is lost, nothing is twice, and it is told once.
# shellcheck source=tests/e2e/lib.sh
if [ -z "${FRESH:-}" ]; then
  ns=-m
  [ "$(id -u)" = 0 ] || ns=-rm
  unshare $ns true 2>/dev/null || { echo "unshare is not permitted" && exit 77; }
  FRESH=1 exec unshare $ns "$0"
fi
. "$(dirname "$0")/lib.sh"

mkdir "$T/small" "$T/tiny"
mount -t tmpfs -o size=100k none "$T/small" || fail "no tmpfs"
mount -t tmpfs -o size=16k none "$T/tiny" || fail "no tmpfs"
LOG=$T/small/mpsup.log
trap 'rc=$?; umount -l "$T/small" "$T/tiny"; (exit $rc); finish' EXIT

told() { # log file
  contains "$LOG" "CRIT cannot write output of programs to $1: No space left on device"
}
all_lines() { # file, number
  seq -f 'line %.0f' "$2" | cmp -s - "$1"
}

say "a full disk holds the programs back"
config <<X
[program:big]
command=$W --write 60000
stdout_logfile=$T/small/big
startsecs=0
[program:stamped]
command=$W --write 5000
stdout_logfile=$T/small/stamped
log_timestamp=true
startsecs=0
[program:other]
command=$W --write 60000
stdout_logfile=$T/other
startsecs=0
[program:rotated]
command=$W --write 60000
stdout_logfile=$T/small/rotated
stdout_logfile_maxbytes=10000
stdout_logfile_backups=100
startsecs=0
X
# In a folder that has room, or nobody could tell.
sed -i "s,^logfile=.*,logfile=$T/log," "$CONF"
LOG=$T/log
start_mpsup
must told "$T/small/big"
must told "$T/small/stamped"
must told "$T/small/rotated"
must all_lines "$T/other" 60000
all_lines "$T/small/big" 60000 && fail "the disk is not full"

say "also when the supervisor is killed meanwhile"
[ "$(grep -c "CRIT cannot write output of programs to $T/small/big" "$LOG")" = 1 ] || fail "told more than once"
for _ in 1 2 3; do take_over; done

say "and goes on when there is room"
mount -o remount,size=8m "$T/small"
must all_lines "$T/small/big" 60000
stamped_done() { sed 's/^.\{24\}//' "$T/small/stamped" | cmp -s - <(seq -f 'line %.0f' 5000); }
must stamped_done
rotated_done() {
  local i
  for ((i = 100; i > 0; i--)); do cat "$T/small/rotated.$i" 2>/dev/null; done >"$T/all"
  cat "$T/small/rotated" >>"$T/all"
  all_lines "$T/all" 60000
}
must rotated_done
mps_expect 0 stop all
shutdown_mpsup
rm -f "$T/small"/*

say "a last line without an end has one, whoever is killed before there is room"
config <<X
[program:cut]
command=/bin/sh -c 'echo "line \$(cat $T/runs)"; echo >>$T/begun; read x <$T/end; printf "tail \$(cat $T/runs)"'
stdout_logfile=$T/tiny/cut
log_timestamp=true
autostart=false
autorestart=false
startsecs=0
X
sed -i "s,^logfile=.*,logfile=$T/log," "$CONF"
LOG=$T/log
mkfifo "$T/end"
start_mpsup
dd if=/dev/zero of="$T/tiny/filler" bs=4096 2>/dev/null
for i in 1 2 3; do
  echo $i >"$T/runs"
  mps_expect 0 start cut
  must n_lines "$T/begun" $i
  [ $i != 2 ] || take_over
  echo >"$T/end"
  must in_state cut EXITED
  take_over
done
rm "$T/tiny/filler"
lines_end() { sed 's/^.\{24\}//' "$T/tiny/cut" | cmp -s - <(printf '%s\n' 'line 1' 'tail 1' 'line 2' 'tail 2' 'line 3' 'tail 3'); }
must lines_end
shutdown_mpsup
rm -f "$T/tiny"/*

say "a program that a reload removes, or whose output it sends elsewhere, leaves what it had to say"
config <<X
[program:gone]
command=/bin/sh -c '$W --write 3000 --exit 0; echo >>$T/said; exec $W'
stdout_logfile=$T/small/gone
startsecs=0
[program:moved]
command=/bin/sh -c '$W --write 3000 --exit 0; echo >>$T/said; exec $W'
stdout_logfile=$T/small/moved
log_timestamp=true
startsecs=0
X
sed -i "s,^logfile=.*,logfile=$T/log," "$CONF"
mount -o remount,size=100k "$T/small"
dd if=/dev/zero of="$T/small/filler" bs=4096 2>/dev/null
start_mpsup
must told "$T/small/gone"
must told "$T/small/moved"
must n_lines "$T/said" 2
config <<X
[program:moved]
command=$W
stdout_logfile=$T/elsewhere
startsecs=0
X
sed -i "s,^logfile=.*,logfile=$T/log," "$CONF"
mps_expect 0 reload
mount -o remount,size=8m "$T/small"
must all_lines "$T/small/gone" 3000
moved_done() { sed 's/^.\{24\}//' "$T/small/moved" | cmp -s - <(seq -f 'line %.0f' 3000); }
must moved_done
contains "$LOG" 'bytes of the output of .* are lost' && fail "something was lost"
shutdown_mpsup
rm -f "$T/small"/*
mount -o remount,size=100k "$T/small"

say "the same of one that has much more to say than the memory for its log holds"
talker() { # name
  printf '%s\n' "[program:$1]" "command=/bin/sh -c '$W --write 5000 --exit 0; echo >>$T/said; exec $W'" \
    "stdout_logfile=$T/small/$1" log_timestamp=true startsecs=0 numprocs=4 "process_name=%(process_num)d" "[program:other]" "command=$W" startsecs=0
}
rm "$T/said"
dd if=/dev/zero of="$T/small/filler" bs=4096 2>/dev/null
talker much | config
sed -i "s,^logfile=.*,logfile=$T/log," "$CONF"
start_mpsup
other=$(pid_of other)
must told "$T/small/much"
must n_lines "$T/said" 4
said=4
for name in again much; do # a program of another name, and then of its own: both have other numbers
  talker $name | config
  sed -i "s,^logfile=.*,logfile=$T/log," "$CONF"
  mps_expect 0 reload
  must n_lines "$T/said" $((said += 4))
done
must contains "$LOG" 'much:[0-3] is gone, and [0-9]+ bytes of its output wait'
[ "$(mps status --compat | wc -l)" = 5 ] || fail "it is still shown: $(mps status --compat)"
mount -o remount,size=20m "$T/small"
must n_lines "$T/small/much" 40000
must n_lines "$T/small/again" 20000
for _ in $(seq 12); do seq -f 'line %.0f' 5000; done | LC_ALL=C sort | cmp -s - <(cat "$T/small/much" "$T/small/again" | cut -c25- | LC_ALL=C sort) || fail "lines are missing, or there twice"
[ "$(pid_of other)" = "$other" ] || fail "other was started again"
contains "$LOG" 'bytes of the output of .* are lost' && fail "something was lost"
shutdown_mpsup
rm -f "$T/small"/*
mount -o remount,size=100k "$T/small"

say "a full disk under the activity log stops nothing"
config <<X
[program:one]
command=$W
startsecs=0
[program:two]
command=$W
startsecs=0
stdout_logfile=NONE
stderr_logfile=NONE
X
sed -i "s,^logfile=.*,logfile=$T/tiny/log," "$CONF"
LOG=$T/tiny/log
start_mpsup
dd if=/dev/zero of="$T/tiny/filler" bs=4096 2>/dev/null
again() {
  mps_expect 0 restart two
  pid_of two >>"$T/two.pids"
}
for _ in $(seq 30); do again; done
take_over
again
[ "$(sort -u "$T/two.pids" | wc -l)" = 31 ] || fail "restarts that did not happen"
rm "$T/tiny/filler"
again
last=$(tail -n 1 "$T/two.pids")
must contains "$LOG" "INFO spawned: 'two' with pid $last"
while read -r pid; do
  [ "$(grep -c "INFO spawned: 'two' with pid $pid\$" "$LOG")" = 1 ] || fail "pid $pid is not told of once"
done <"$T/two.pids"
shutdown_mpsup

say "files that who takes over cannot open are waited for"
config <<X
[program:talk]
command=/bin/sh -c 'i=0; while read -r n <$T/go; do while [ \$n -gt 0 ]; do echo "line \$((i += 1))"; n=\$((n - 1)); done; done'
stdout_logfile=$T/logs/talk
startsecs=0
[program:echo]
command=/bin/sh -c 'i=0; while read -r n <$T/go2; do while [ \$n -gt 0 ]; do echo "line \$((i += 1))"; n=\$((n - 1)); done; done'
stdout_logfile=NONE
stderr_logfile=$T/logs/err
redirect_stderr=false
startsecs=0
X
sed -i "s,^logfile=.*,logfile=$T/logs/mpsup.log," "$CONF"
sed -i "/go2/s,echo \"line,echo >\&2 \"line," "$CONF"
LOG=$T/logs/mpsup.log
mkfifo "$T/go" "$T/go2"
start_mpsup
pid=$(pid_of talk)
exec 5<>"$T/go" 6<>"$T/go2"
echo 10 >&5
echo 10 >&6
must n_lines "$T/logs/talk" 10
must n_lines "$T/logs/err" 10
mv "$T/logs" "$T/aside"
: >"$T/logs"
take_over
echo 10 >&5
echo 10 >&6
mps_expect 0 status talk
[ "$(pid_of talk)" = "$pid" ] || fail "talk was started again"
take_over
rm "$T/logs"
must n_lines "$T/logs/talk" 10
must n_lines "$T/logs/err" 10
cat "$T/aside/talk" "$T/logs/talk" | cmp - <(seq -f 'line %.0f' 20) || fail "lines"
cat "$T/aside/err" "$T/logs/err" | cmp - <(seq -f 'line %.0f' 20) || fail "lines of standard error"
must contains "$LOG" 'has taken over'
exec 5>&- 6>&-
shutdown_mpsup

say "a limit of the size of files is like a full disk"
LOG=$T/mpsup.log
config <<X
[program:big]
command=$W --write 60000
stdout_logfile=$T/limited
startsecs=0
X
(
  ulimit -S -f 100
  start_mpsup
) || exit 1
supervisor=$(role supervisor)
must contains "$LOG" "CRIT cannot write output of programs to $T/limited: File too large"
[ "$(stat -c %s "$T/limited")" = 102400 ] || fail "$(stat -c %s "$T/limited") bytes"
prlimit --pid "$supervisor" --fsize=unlimited:
must all_lines "$T/limited" 60000
shutdown_mpsup
