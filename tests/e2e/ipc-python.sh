#!/bin/bash
# Python's multiprocessing, which names its semaphores and its shared memory, is killed at any moment: by itself under mpsup
# exec, and as a supervised program. Nothing of it is left in /dev/shm. KILLS=200 for more of them.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

python=$(python3 -c 'import sys; print(sys.executable)' 2>/dev/null) || { echo "no python3" && exit 77; }
KILLS=${KILLS:-8}
cp "$B/libmpsup-preload.so" "$T/bin/" || exit 1
[ ! -e "$B/libmpsup-preload.before-libasan.so" ] || ln -s libmpsup-preload.so "$T/bin/libmpsup-preload.before-libasan.so"

# argv: where it says its pid when all has been made once; what its names have in them.
cat >"$T/objects.py" <<'X2'
import multiprocessing as mp, multiprocessing.shared_memory as shm, os, sys

def work(lock, queue):
    with lock:
        queue.put(1)

if __name__ == "__main__":
    mp.set_start_method("spawn")
    # Names of this test's own: others run Python too.
    mp.current_process()._config["semprefix"] = "/mp" + sys.argv[2]
    shm._SHM_NAME_PREFIX = "/psm" + sys.argv[2] + "_"
    shm._SHM_SAFE_NAME_LENGTH = 30
    n = 0
    held = []
    while True:
        held.append((shm.SharedMemory(create=True, size=100), mp.Lock(), mp.Semaphore(2), mp.Queue(), mp.Event()))
        if n % 20 == 19:
            with mp.Pool(1) as pool:
                pool.apply(int)
            p = mp.Process(target=work, args=held[-1][1::2][:2])
            p.start()
            p.join()
        n += 1
        if n == 5:
            with open(sys.argv[1], "w") as f:
                print(os.getpid(), file=f)
        if len(held) > 8:
            held.pop(0)[0].unlink()
X2

python_objects() {
  find /dev/shm -maxdepth 1 \( -name "psm${$}_*" -o -name "sem.mp$$-*" \) | sort
}
# Of sem_open(3), half-way; they tell nothing of whose they are, and others' come and go: none may stay.
temporaries() {
  find /dev/shm -maxdepth 1 -name 'sem.??????' -newer "$T/begin"
}
clean() { [ -z "$(python_objects)" ]; }
no_temporaries() {
  local file
  for file in $(temporaries); do
    must -t 3 test ! -e "$file"
  done
}
# A moment of up to so many milliseconds.
moment() {
  read -rt "$(printf '0.%03d' $((RANDOM % $1)))" <>"$T/never"
}
mkfifo "$T/never"
touch "$T/begin"

say "killed at $KILLS moments under mpsup exec"
for ((i = 0; i < KILLS; i++)); do
  rm -f "$T/pid"
  "$MPSUP" exec -- "$python" "$T/objects.py" "$T/pid" $$ >>"$T/out" 2>&1 </dev/null &
  front=$!
  must -t 20 test -s "$T/pid"
  [ -n "$(python_objects)" ] || fail "it has made nothing"
  moment 200
  kill -KILL "$(cat "$T/pid")"
  wait_status "$front" 137
  clean || fail "after kill $i there is left: $(python_objects)"
done

no_temporaries

say "and the front, or the keeper, instead of it"
for ((i = 0; i < 4; i++)); do
  rm -f "$T/pid"
  "$MPSUP" exec -- "$python" "$T/objects.py" "$T/pid" $$ >>"$T/out" 2>&1 </dev/null &
  front=$!
  must -t 20 test -s "$T/pid"
  moment 100
  if [ $((i % 2)) = 0 ]; then
    kill -KILL "$front"
  else
    kill -KILL "$(sed -n 's/^PPid:\t//p' "/proc/$(cat "$T/pid")/status")"
  fi
  wait "$front" 2>/dev/null
  must -t 2 gone "$(cat "$T/pid")"
  must -t 2 clean
done
no_temporaries

say "killed at $KILLS moments as a supervised program"
config <<X2
[program:objects]
command=$python $T/objects.py $T/pid $$
startsecs=0
restart_delay=0
restart_limit=none
redirect_stderr=true
stdout_logfile=$T/out
X2
rm -f "$T/pid"
start_mpsup
for ((i = 0; i < KILLS; i++)); do
  must -t 20 test -s "$T/pid"
  pid=$(cat "$T/pid")
  rm -f "$T/pid"
  moment 200
  # Half of the times with its children, of which one is Python's own tracker, which may be faster than ours.
  if [ $((i % 2)) = 0 ]; then kill -KILL "-$pid"; else kill -KILL "$pid"; fi
  must gone "$pid"
done
must -t 20 test -s "$T/pid"
must contains "$LOG" 'leaked (semaphore|shared memory) /[^ ]+ unlinked \(program objects, pid [0-9]+\)'
mps_expect 0 stop objects
must -t 2 clean
shutdown_mpsup
clean || fail "left: $(python_objects)"
no_temporaries
