#!/bin/bash
# PostgreSQL, which has shared memory of both kinds: killed, it is started again with its data, and leaves nothing.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

if ! command -v initdb >/dev/null || ! command -v psql >/dev/null; then
  echo "no PostgreSQL"
  exit 77
fi
cp "$B/libmpsup-preload.so" "$T/bin/" || exit 1
if [ "$(id -u)" = 0 ]; then
  id postgres >/dev/null 2>&1 || { echo "no user postgres, and root may not run it" && exit 77; }
  user=postgres
  as=(setpriv --reuid postgres --regid postgres --clear-groups)
else
  user=$(id -un)
  as=()
fi
mkdir -m 700 "$T/data"
[ "$(id -u)" != 0 ] || chown postgres "$T/data"
(cd / && "${as[@]}" initdb -D "$T/data" -U postgres -A trust -N >"$T/init.out" 2>&1) || fail "initdb: $(tail -n 3 "$T/init.out")"
cat >>"$T/data/postgresql.conf" <<X2
listen_addresses = ''
unix_socket_directories = '$T/data'
dynamic_shared_memory_type = posix
X2
ask() {
  PGOPTIONS='' psql -qAt -h "$T/data" -U postgres -d postgres -c "$1" 2>>"$T/psql.err"
}
answers() { [ "$(ask 'select 1')" = 1 ]; }

# Its own, of both kinds: by the number that stands in the segment's postmaster.pid, and by name.
segment() { awk 'NR == 7 { print $2 }' "$T/data/postmaster.pid"; }
posix_objects() { find /dev/shm -maxdepth 1 -name 'PostgreSQL.*' -newer "$T/begin"; }
sysv_objects() { ipcs -m | awk -v id="$1" '$2 == id'; }
nothing_in_shm() { [ -z "$(posix_objects)" ]; }
touch "$T/begin"

config <<X2
[program:db]
command=$(command -v postgres) -D $T/data
user=$user
stopsignal=INT
stopwaitsecs=20
startsecs=0
restart_delay=0
redirect_stderr=true
stdout_logfile=$T/db.log
X2
start_mpsup
must -t 20 answers
ask 'create table kept (n int); insert into kept select generate_series(1, 1000)' || fail "$(cat "$T/psql.err")"
[ -n "$(posix_objects)" ] || fail "it has no POSIX shared memory"
first=$(segment)
[ -n "$(sysv_objects "$first")" ] || fail "it has no System V shared memory"

say "killed, it comes again with its data"
for _ in 1 2 3; do
  pid=$(pid_of db)
  kill -KILL "$pid"
  must gone "$pid"
  must -t 20 answers
  [ "$(ask 'select count(*) from kept')" = 1000 ] || fail "its data: $(ask 'select count(*) from kept')"
done
last=$(segment)
[ "$first" = "$last" ] || [ -z "$(sysv_objects "$first")" ] || fail "segment $first is still there"

say "stopped, it leaves nothing"
pid=$(pid_of db)
kill -KILL "$pid"
must gone "$pid"
must -t 20 answers
last=$(segment)
mps_expect 0 stop db
[ -z "$(sysv_objects "$last")" ] || fail "segment $last is still there"
must -t 2 nothing_in_shm
shutdown_mpsup
