# Sourced by the end-to-end scripts: a temp folder, a supervisor instance of their own, waiting for a state, and the last
# check of each: nothing that the test started may be left, neither a process nor anything in /dev/shm.
# shellcheck shell=bash
# $T is the temp folder, $ID the identifier, $W the worker (tests/e2e/worker.c), $MPSUP the program under test.
set -u
# ALONE=1 before this is read: in a /run/mpsup of its own. Root's instances there sweep up after each other's deaths.
if [ -n "${ALONE:-}" ] && [ "$(id -u)" = 0 ] && unshare -m true 2>/dev/null; then
  [ -n "${FRESH:-}" ] || FRESH=1 exec unshare -m "$0"
  mkdir -p /run/mpsup && mount -t tmpfs -o mode=711 none /run/mpsup || exit 1
fi
unset ALONE FRESH
B=${B:-$PWD/build/gcc}
case $B in /*) ;; *) B=$PWD/$B ;; esac
T=$(mktemp -d "${TMPDIR:-/tmp}/t.XXXXXX") || exit 1
chmod 755 "$T"
ID=$(basename "$0" .sh)-$$
W=$T/bin/worker
MPSUP=$T/bin/mpsup
CONF=$T/mpsup.conf
LOG=$T/mpsup.log
# What a test starts carries this in its environment, or its image or directory lies in $T.
export MPSUP_TEST=$T
unset SUPERVISOR_ENABLED SUPERVISOR_PROCESS_NAME SUPERVISOR_GROUP_NAME SUPERVISOR_SERVER_URL NOTIFY_SOCKET
mkdir "$T/bin" && cp "$B/mpsup" "$B/mpsup-host" "$B/e2e/worker" "$B/e2e/worker.so" "$T/bin/" || exit 1
if [ "$(id -u)" != 0 ]; then
  export XDG_RUNTIME_DIR=$T/run
  mkdir -m 700 "$XDG_RUNTIME_DIR"
  RUNTIME=$XDG_RUNTIME_DIR/mpsup/$ID
else
  RUNTIME=/run/mpsup/$ID
fi
# The objects there that are ours: others use it at the same time. What a test makes there has its number in its name.
in_shm() {
  find /dev/shm -maxdepth 1 -type f -name "*mps*$$*" | sort
}
shm_before=$(in_shm)
keeper=
supervisor=
# Sanitizers are slow, and so is the machine that runs them: bounds on how long something may take are so many times as
# long. What must be told apart, such as ends at once or one after another, must be further apart than that.
SLOW=1
[ -z "${SAN:-}" ] || SLOW=3
# The words before each call of mpsup: setpriv and its options, after as_user.
AS=()

say() {
  echo "- $*"
}

# Shows the logs, says what went wrong and where, ends the script.
fail() {
  for f in "$LOG" "$T"/{,run.,wait.}{out,err}; do
    [ ! -s "$f" ] || { echo "--- $(basename "$f")" && tail -n 40 "$f"; }
  done
  echo "--- FAILED (line ${BASH_LINENO[*]:0:${#BASH_LINENO[@]}-1}): $*"
  exit 1
}

# wait_for [-t SECONDS] COMMAND...: until the command succeeds; false when it has not after 10 s. (SLOW: more.)
wait_for() {
  local us=$((10 * 1000000)) end
  if [ "$1" = -t ]; then
    us=$(to_us "$2")
    shift 2
  fi
  end=$((${EPOCHREALTIME/[.,]/} + us * SLOW))
  until "$@"; do
    [ "${EPOCHREALTIME/[.,]/}" -lt "$end" ] || return 1
    sleep 0.02
  done
}

to_us() { # seconds, perhaps with a fraction
  awk -v s="$1" 'BEGIN { printf "%d", s * 1000000 }'
}

# must [-t SECONDS] COMMAND...: wait_for, or the test fails.
must() {
  wait_for "$@" || fail "not in time: $*"
}

# Milliseconds of the clock, for bounds.
now_ms() {
  local us=${EPOCHREALTIME/[.,]/}
  echo $((us / 1000))
}

# expect STATUS COMMAND...: runs it with its output in $T/out and $T/err; another exit status fails the test.
expect() {
  local want=$1 rc
  shift
  timeout -k 2 60 "$@" >"$T/out" 2>"$T/err"
  rc=$?
  [ $rc = "$want" ] || fail "exit status $rc instead of $want: $*"
}

# Waits for a child; another exit status fails the test.
wait_status() { # pid, status
  local rc
  wait "$1"
  rc=$?
  [ $rc = "$2" ] || fail "exit status $rc instead of $2"
}

contains() { # file, pattern of grep -E
  grep -qE -- "$2" "$1" 2>/dev/null
}

n_lines() { # file, number at least
  [ "$(wc -l 2>/dev/null <"$1" || echo 0)" -ge "$2" ]
}

# ------------------------------------------------------------------------------------------------ the instance

# config <<programs: $CONF with a [supervisord] of the test's own; config_with LINE... puts further lines into that.
config() {
  # shellcheck disable=SC2119 # no further lines
  config_with
}

# shellcheck disable=SC2120 # they come from the scripts
config_with() {
  {
    printf '%s\n' '[supervisord]' "identifier=$ID" "logfile=$LOG" "pidfile=$T/mpsup.pid" "childlogdir=$T" "$@"
    cat
  } >"$CONF"
}

mps() { # verb, arguments
  local verb=$1
  shift
  "${AS[@]}" "$MPSUP" "$verb" -c "$CONF" "$@"
}

# The exit status must be the given one: mps_expect STATUS VERB ARGUMENT...
mps_expect() {
  local want=$1 verb=$2
  shift 2
  expect "$want" "${AS[@]}" "$MPSUP" "$verb" -c "$CONF" "$@"
}

# From here on mpsup runs as the user with this number, who then owns $T. For root only.
as_user() {
  AS=(setpriv --reuid "$1" --regid "$1" --clear-groups)
  export XDG_RUNTIME_DIR=$T/run
  RUNTIME=$T/run/mpsup/$ID
  mkdir -m 700 "$T/run"
  chown -R "$1:$1" "$T"
}

start_mpsup() {
  mps_expect 0 start
  supervisor=$(role supervisor)
  keeper=$(role keeper)
  [ -n "$supervisor" ] || fail "no supervisor after mpsup start"
  [ -n "$keeper" ] || fail "no keeper after mpsup start"
}

shutdown_mpsup() {
  mps_expect 0 shutdown
  must -t 5 nothing_left
}

# The pid of "mpsup: keeper ..." or "mpsup: supervisor ..." of this test.
role() {
  local p
  for p in $(ours); do
    case $(tr '\0' ' ' 2>/dev/null <"/proc/$p/cmdline") in
    "mpsup: $1"*)
      echo "$p"
      return
      ;;
    esac
  done
}

# Another supervisor than $supervisor answers.
new_supervisor() {
  local now
  now=$(role supervisor)
  [ -n "$now" ] && [ "$now" != "$supervisor" ] && [ -n "$(state all)" ]
}

# Waits for it; $supervisor is that one from here on.
next_supervisor() {
  must new_supervisor
  supervisor=$(role supervisor)
}

take_over() {
  kill -KILL "$supervisor"
  next_supervisor
}

# The second column of `mpsup status --compat NAME`: RUNNING...
state() {
  mps status --compat "$1" 2>/dev/null | awk 'NR == 1 { print $2 }'
}

in_state() { # name, state or states joined by |
  case "|$2|" in *"|$(state "$1")|"*) return 0 ;; esac
  return 1
}

pid_of() { # name; 0 or nothing when it has none
  mps pid "$1" 2>/dev/null
}

said() { # name, key of what the program has said of itself
  mps status --json "$1" | python3 -c '
import json, sys
print(json.load(sys.stdin)["processes"][0].get("said", {}).get(sys.argv[1]))' "$2"
}

says() { # name, key, value
  [ "$(said "$1" "$2")" = "$3" ]
}

# ------------------------------------------------------------------------------------------------ processes

# The pid lives and is no zombie.
alive() {
  local stat
  read -r stat 2>/dev/null <"/proc/$1/stat" || return 1
  stat=${stat##*) }
  case $stat in Z* | X*) return 1 ;; esac
}

is_frozen() {
  local stat
  read -r stat 2>/dev/null <"/proc/$1/stat" || return 1
  case ${stat##*) } in T*) ;; *) return 1 ;; esac
}

# SIGSTOP: one that has its signal may still read something, until it has had the processor once more.
freeze() { # pid
  kill -STOP "$1"
  must is_frozen "$1"
}

gone() {
  local p
  for p in "$@"; do
    ! alive "$p" || return 1
  done
}

# An mpsup in the background sleeps, and has its connection.
sits() { # pid
  grep -q '^State:.S' "/proc/$1/status" && [ "$(readlink "/proc/$1/exe")" = "$MPSUP" ] &&
    [ -n "$(find "/proc/$1/fd" -lname 'socket:*')" ]
}

# gone for every pid in a file of pids
all_gone() {
  local p
  while read -r p; do
    ! alive "$p" || return 1
  done <"$1"
}

all_alive() {
  local p
  while read -r p; do
    alive "$p" || return 1
  done <"$1"
}

# All processes of the test but the script itself, one pid a line. Zombies have neither image nor environment.
ours() (
  cd /
  unset MPSUP_TEST
  me=$BASHPID
  {
    # shellcheck disable=SC2010,SC2012 # ls reads all links at once; the names are numbers
    ls -l /proc/[0-9]*/exe /proc/[0-9]*/cwd 2>/dev/null | grep -E -- " -> $T(/|\$)"
    grep -lsaF "MPSUP_TEST=$T" /proc/[0-9]*/environ | sed 's,^, ,'
  } | sed 's,.* /proc/\([0-9]*\)/.*,\1,' | sort -un | grep -vxE "$$|$me|$PPID"
)

workers() { # pids of all processes whose image is the worker
  local p
  for p in $(ours); do
    case $(readlink "/proc/$p/exe") in "$W"*) echo "$p" ;; esac
  done
}

no_programs() { # nothing but the keeper and the supervisor
  local p
  for p in $(ours); do
    case $p in "$keeper" | "$supervisor") ;; *) return 1 ;; esac
  done
}

nothing_left() {
  [ -z "$(ours)" ]
}

show_left() {
  local p
  for p in $(ours); do
    echo "  $p $(tr '\0' ' ' 2>/dev/null <"/proc/$p/cmdline") ($(grep State "/proc/$p/status" 2>/dev/null))"
  done
}

kill_left() {
  local p tries=5
  while [ $((tries--)) -gt 0 ] && ! nothing_left; do
    for p in $(ours); do
      kill -KILL "$p" 2>/dev/null
    done
    sleep 0.05
  done
}

# On EXIT: whatever the script found, it fails when something of it is left. Then ends and removes all.
finish() {
  local rc=$? new
  trap - EXIT
  if [ $rc = 0 ] && ! wait_for -t 2 nothing_left; then
    echo "FAILED: left behind:"
    show_left
    rc=1
  fi
  new=$(comm -13 <(echo "$shm_before") <(in_shm))
  if [ $rc = 0 ] && [ -n "$new" ]; then
    echo "FAILED: left in /dev/shm: $new"
    rc=1
  fi
  kill_left
  [ -n "${KEEP:-}" ] || rm -rf "$T"
  [ "$RUNTIME" = "$T/run/mpsup/$ID" ] || rm -rf "$RUNTIME"
  exit $rc
}
trap finish EXIT
trap 'exit 130' INT TERM
