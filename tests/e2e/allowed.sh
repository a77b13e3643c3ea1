#!/bin/bash
# What control= allows: every request at every level, of itself, of another of its group, and of a stranger to it.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

LEVELS='off notify self group all'

said() { # name, key of "said"
  mps status --json "$1" | python3 -c '
import json, sys
print(json.load(sys.stdin)["processes"][0].get("said", {}).get(sys.argv[1], 0))' "$2"
}

says() { # name, key, value
  [ "$(said "$1" "$2")" = "$3" ]
}

# The program of a level does what is written into its FIFO: a line of shell each. One of them has lost its channel (3),
# so it asks on NOTIFY_SOCKET.
export MPSUP
for level in $LEVELS; do
  mkfifo "$T/$level"
  [ "$level" = self ] && fd=3 || fd=9
  echo "while read -r line <&$fd; do eval \"\$line\"; done $fd<>$T/$level" >"$T/$level.sh"
  cat <<X
[program:asks-$level]
command=sh $T/$level.sh
control=$level
startsecs=0
[program:mate-$level]
command=$W
startsecs=0
[group:$level]
programs=asks-$level,mate-$level
[program:stranger-$level]
command=$W
startsecs=0
X
done >"$T/programs"
echo "[program:sees]
command=$W --dump $T/dump
startsecs=0" >>"$T/programs"
config <"$T/programs"
start_mpsup

ask() { # level, shell
  echo "$2" >"$T/$1"
}

tell() { # level, what it tells
  ask "$1" "\"\$MPSUP\" tell $2"
}

restarted() { # name, pid before
  in_state "$1" RUNNING && [ "$(pid_of "$1")" != "$2" ]
}

# All four requests of one target, which are done. START, and what ends it, in turn.
allowed() { # level, as it is named, name
  local before
  before=$(pid_of "$3")
  tell "$1" "RESTART=$2"
  must restarted "$3" "$before"
  tell "$1" "STOP=$2"
  must in_state "$3" STOPPED
  again "$1" "$2" "$3"
  tell "$1" "KILL=$2"
  must in_state "$3" STOPPED
  again "$1" "$2" "$3"
  says "$1:asks-$1" denied 0 || fail "$1: a request of $2 was not allowed"
}

again() { # level, as it is named, name
  if [ "$2" = 1 ]; then
    mps_expect 0 start "$3" # it cannot start itself
    tell "$1" "START=1 STATUS=again"
    must says "$3" status again
  else
    tell "$1" "START=$2"
    must in_state "$3" RUNNING
  fi
}

denied() { # level, as it is named, name
  local before pid
  before=$(said "$1:asks-$1" denied)
  pid=$(pid_of "$3")
  tell "$1" "START=$2 STOP=$2 RESTART=$2 KILL=$2 'STATUS=refused $2'"
  must says "$1:asks-$1" status "refused $2"
  says "$1:asks-$1" denied $((before + 4)) || fail "$1: of 4 requests of $2 $(said "$1:asks-$1" denied) were denied, and $before before"
  [ "$(pid_of "$3")" = "$pid" ] || fail "$1: $3 is not what it was"
}

try() { # how itself, its mate, a stranger and all of its group is done; level
  "$1" "$5" 1 "$5:asks-$5"
  "$2" "$5" "$5:mate-$5" "$5:mate-$5"
  "$3" "$5" "stranger-$5" "stranger-$5"
  "$4" "$5" "$5:*" "$5:asks-$5"
}

say "notify: nothing"
try denied denied denied denied notify
say "self: itself, also by its name"
try allowed denied denied denied self
tell self "RESTART=self:asks-self"
must contains "$LOG" 'asks for RESTART=self:asks-self'
say "group: all of its group"
allowed group 1 group:asks-group
allowed group group:mate-group group:mate-group
denied group stranger-group stranger-group
denied group all group:asks-group
say "all: everybody"
allowed all 1 all:asks-all
allowed all all:mate-all all:mate-all
allowed all stranger-all stranger-all
allowed all notify:mate-notify notify:mate-notify

say "off: nobody listens, even if it has found out where the others speak"
tell off "READY=1; echo \$? >$T/off.status"
must [ -s "$T/off.status" ]
[ "$(cat "$T/off.status")" = 1 ] || fail "mpsup tell exits $(cat "$T/off.status")"
socket=$(sed -n 's/^env NOTIFY_SOCKET=//p' "$T/dump")
ask off "NOTIFY_SOCKET=$socket \"\$MPSUP\" tell STATUS=heard RESTART=1"
must says off:asks-off denied 1
says off:asks-off status None || fail "off was heard: $(said off:asks-off status)"
shutdown_mpsup
