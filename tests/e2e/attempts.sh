#!/bin/bash
# Several programs attempt to make the same files in /dev/shm at a time (O_EXCL), and those of a stranger, and are killed at
# any moment. Nobody loses what he has made while he lives, nothing of theirs stays, and the stranger's does. KILLS=500 for more.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

python=$(python3 -c 'import sys; print(sys.executable)' 2>/dev/null) || { echo "no python3" && exit 77; }
KILLS=${KILLS:-40}
cp -P "$B"/libmpsup-preload*.so "$T/bin/" || exit 1
N=/dev/shm/mpsa$$

# argv: the beginning of all names. What it has made it closes, so that nobody uses it; it must be there all the same, until
# it unlinks it and the name is whoever's is the first to take it.
cat >"$T/attempt.py" <<'X2'
import os, random, sys

held = {}
n = 0
while True:
    name = sys.argv[1] + random.choice(["-s", "-n"]) + str(random.randrange(4))
    try:
        fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        held[name] = os.fstat(fd).st_ino
        os.close(fd)
    except FileExistsError:
        pass
    for name in [name for name in held if random.random() < 0.2]:
        if not os.path.exists(name) or os.stat(name).st_ino != held.pop(name):
            print("LOST", name, flush=True)
            sys.exit(3)
        os.unlink(name)
    n += 1
    if n == 500:
        print("busy", os.getpid(), flush=True)
X2
theirs() { find /dev/shm -maxdepth 1 -name "${N##*/}-n*"; }
none_left() { [ -z "$(theirs)" ]; }
inodes() { stat -c %i "$N"-s?; }
busy() { contains "$T/$1.out" "^busy $(pid_of "$1")\$"; } # program
moment() { read -rt "$(printf '0.%03d' $((RANDOM % 100)))" <>"$T/never"; }
mkfifo "$T/never"

for i in 0 1 2 3; do : >"$N-s$i"; done
before=$(inodes)
{
  for p in a b c; do
    printf '%s\n' "[program:$p]" "command=$python $T/attempt.py $N" "stdout_logfile=$T/$p.out" startsecs=0 \
      autorestart=true startretries=infinite restart_delay=0 restart_limit=off
  done
} | config_with track=preload
start_mpsup

say "$KILLS kills while all attempt the same"
for ((i = 0; i < KILLS; i++)); do
  p=$(printf 'abc' | cut -c $((i % 3 + 1)))
  moment
  pid=$(pid_of "$p")
  [ "${pid:-0}" -le 1 ] || kill -9 "$pid" 2>/dev/null
done
for p in a b c; do
  must busy "$p"
  contains "$T/$p.out" LOST && fail "$(cat "$T/$p.out")"
done

say "what is left goes with them, and the stranger's stays"
mps_expect 0 stop all
must none_left
[ "$(inodes)" = "$before" ] || fail "the stranger's: $(ls -li "$N"*)"
mps_expect 0 shutdown
rm -f "$N"-s?
