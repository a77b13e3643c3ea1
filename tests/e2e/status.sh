#!/bin/bash
# mpsup status: figures of whole trees, and only what was asked for on the wire.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

cat >"$T/eat.py" <<'X'
import os, signal, sys, time
data = b"x" * (30 << 20)
while time.process_time() < float(sys.argv[2]):
    pass
with open(sys.argv[1], "a") as f:
    f.write("%d\n" % os.getpid())
signal.pause()
X
# A child, a grandchild that left the session, and an orphan: its parent has gone.
cat >"$T/tree.sh" <<X
python3 $T/eat.py $T/eaters 0.1 &
sh -c 'setsid python3 $T/eat.py $T/eaters 0.1; exit' &
sh -c 'setsid python3 $T/eat.py $T/eaters 0.1 &'
wait
X
# A child of a second thread, and one that has our parent.
cat >"$T/odd.py" <<'X'
import ctypes, os, platform, signal, sys, threading
clone, CLONE_PARENT = {"x86_64": 56, "aarch64": 220}[platform.machine()], 0x8000
def tell():
    with open(sys.argv[1], "a") as f:
        f.write("%d\n" % os.getpid())
    signal.pause()
def fork():
    if os.fork() == 0:
        tell()
    threading.Event().wait()
if ctypes.CDLL(None).syscall(clone, CLONE_PARENT | signal.SIGCHLD, 0, 0, 0, 0) == 0:
    tell()
threading.Thread(target=fork).start()
signal.pause()
X
config <<X
[program:tree]
command=sh $T/tree.sh
startsecs=0
[program:odd]
command=python3 $T/odd.py $T/odd
startsecs=0
[program:alone]
command=$W
startsecs=0
X
start_mpsup
must n_lines "$T/eaters" 3
must n_lines "$T/odd" 2

field() { # name of a program, key
  mps status --json | python3 -c 'import json, sys
rows = json.load(sys.stdin)["processes"]
print(int([r for r in rows if r["name"] == sys.argv[1]][0][sys.argv[2]]))' "$1" "$2"
}

say "CPU and MEM are those of the whole tree, orphans too"
rss=$(field tree rss)
[ "$rss" -gt $((90 << 20)) ] || fail "the tree has $rss bytes"
alone=$(field alone rss)
[ "$alone" -lt $((20 << 20)) ] || fail "a program without children has $alone bytes"
mps_expect 0 status
contains "$T/out" '^tree +RUNNING +[0-9]+ +[0-9:]+ +[0-9.]+% +(9[0-9]|[12][0-9][0-9])M ' || fail "no 90 MiB in the table"

say "the details show the same tree, the main process first"
mps_expect 0 status --json tree
python3 - "$T/out" "$(pid_of tree)" "$T/eaters" <<'X' || fail "the tree is wrong"
import json, sys
row = json.load(open(sys.argv[1]))["processes"][0]
tree = row["tree"]
eaters = {int(p) for p in open(sys.argv[3])}
pids = [p["pid"] for p in tree]
assert pids[0] == int(sys.argv[2]) and tree[0]["depth"] == 0, tree
assert eaters <= set(pids) and len(pids) == len(set(pids)), tree
assert sorted(p["depth"] for p in tree if p["pid"] in eaters) == [0, 1, 2], tree
assert row["rss"] > 90 << 20, row
X

say "what is read for one program alone is what all of /proc tells"
tree_of() { # program
  mps status --json "$1" | python3 -c 'import json, sys
row = json.load(sys.stdin)["processes"][0]
print([(p["pid"], p["depth"]) for p in row["tree"]], row["rss"] > 0)'
}
for name in tree odd alone; do
  few=$(tree_of $name)
  all=$(MPSUP_NO=children tree_of $name)
  [ "$few" = "$all" ] || fail "$name: $few, not $all"
done
mps_expect 0 status --json odd
python3 - "$T/out" "$T/odd" <<'X' || fail "odd: $(cat "$T/out")"
import json, sys
tree = json.load(open(sys.argv[1]))["processes"][0]["tree"]
depths = {p["pid"]: p["depth"] for p in tree}
assert sorted(depths[int(p)] for p in open(sys.argv[2])) == [0, 1], tree
assert len(tree) == 3, tree
X

say "fields: rows carry what was asked for, a wrong name is told"
python3 - "$RUNTIME/control.sock" <<'X' || fail "fields"
import json, socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
f = s.makefile("rw")
def ask(params):
    f.write(json.dumps({"id": 1, "method": "status", "params": params}) + "\n")
    f.flush()
    return json.loads(f.readline())
rows = ask({"fields": ["name", "pid", "command"]})["result"]["processes"]
assert [sorted(r) for r in rows] == [["command", "name", "pid"]] * 3, rows
assert sorted(r["name"] for r in rows) == ["alone", "odd", "tree"], rows
assert ask({"fields": []})["result"]["processes"] == [{}, {}, {}]
brief = ask({"fields": ["name", "pid", "uptime", "restarts", "start_method", "info"], "brief": True})["result"]["processes"]
assert [sorted(r) for r in brief] == [["name", "pid", "uptime"]] * 3, brief
assert "info" in ask({})["result"]["processes"][0]
assert "history" in ask({"detail": True})["result"]["processes"][0]
assert "compat" in ask({"compat": True})["result"]["processes"][0]
error = ask({"fields": ["nam"]})["error"]
assert error["code"] == 3 and "'nam'" in error["message"], error
assert ask({"fields": "name"})["error"]["code"] == 2
X

say "figures of all when there are many, for which all of /proc is read"
cat >>"$CONF" <<X
[program:many]
command=$W
numprocs=70
process_name=%(process_num)d
startsecs=0
X
mps_expect 0 reload
all_run() { [ "$(mps status 'many:*' | grep -c ' RUNNING ')" = 70 ]; }
must all_run
mps_expect 0 status --json
python3 - "$T/out" <<'X' || fail "many"
import json, sys
rows = {r["name"]: r for r in json.load(open(sys.argv[1]))["processes"]}
assert len(rows) == 73, sorted(rows)
assert all(r["rss"] > 0 for r in rows.values()), rows
assert rows["tree"]["rss"] > 90 << 20 > 5 * rows["many:7"]["rss"], (rows["tree"], rows["many:7"])
X
shutdown_mpsup
