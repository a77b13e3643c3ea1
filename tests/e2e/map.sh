#!/bin/bash
# mpsup map: what tasks are given, what becomes of their results, and each option.
# shellcheck source=tests/e2e/lib.sh
# shellcheck disable=SC1083,SC2016 # braces are placeholders; dollars are the tasks' own
. "$(dirname "$0")/lib.sh"
cp -P "$B"/libmpsup-preload*.so "$T/bin/" || exit 1

map() { # status, arguments: standard input is that of the call
  local want=$1
  shift
  expect "$want" "$MPSUP" map "$@"
}
out_is() {
  [ "$(cat "$T/out")" = "$1" ] || fail "the output is '$(head -c 300 "$T/out")' and not '$1'"
}
err_has() { # pattern
  contains "$T/err" "$1" || fail "no '$1' in '$(cat "$T/err")'"
}
err_is_empty() {
  [ ! -s "$T/err" ] || fail "it says '$(cat "$T/err")'"
}

say "a process a task, results in the order of the input"
map 0 -j 3 -- sh -c 'case {} in 1) read -r _ <"$0" ;; 2) echo go >"$0" ;; esac; echo "<{}>"' "$(mkfifo "$T/f" && echo "$T/f")" < <(seq 3)
out_is $'<1>\n<2>\n<3>'
err_is_empty
map 0 -j 4 -- echo {} < <(seq 2000)
cmp -s "$T/out" <(seq 2000) || fail "2000 results are not in order"

say "--unordered: as they come; a task is written whole"
map 0 -u -j 2 -- sh -c 'if [ {} = 1 ]; then echo 1a; read -r _ <"$0"; echo 1b; else echo 2; echo go >"$0"; fi' "$T/f" < <(seq 2)
case $(tr '\n' ' ' <"$T/out") in '2 1a 1b ' | '1a 1b 2 ') ;; *) fail "it is '$(cat "$T/out")'" ;; esac

say "placeholders, as they are in GNU parallel"
map 0 -j 1 -- echo {} {.} {/} {//} {/.} {#} {%} '{x} {' <<</a.b/c.tar.gz
out_is '/a.b/c.tar.gz /a.b/c.tar c.tar.gz /a.b c.tar 1 1 {x} {'
map 0 -j 1 -- echo {.} {/} {//} {/.} <<<name
out_is 'name name . name'
map 0 -j 1 -- echo '{}{}' 'a{}b' < <(printf 'x y')
out_is 'x yx y ax yb'
map 0 -j 2 -- {} a b <<<echo
out_is 'a b'
map 0 -j 2 -- echo {} </dev/null
out_is ''
map 0 -j 2 -- echo '[{}]' < <(printf '\na\n\n')
out_is $'[]\n[a]\n[]'

say "a text without #! is the shell's"
printf 'echo "got $1"\n' >"$T/text" && chmod 755 "$T/text"
map 0 -- "$T/text" {} < <(seq 2)
out_is $'got 1\ngot 2'
printf 'while read -r x; do echo "+$x"; done\n' >"$T/text"
map 0 -j 2 -- "$T/text" < <(seq 3)
out_is $'+1\n+2\n+3'

say "what a task finds: no input, no other descriptors, a group of its own, no signals blocked or ignored"
map 0 -j 1 -- sh -c 'cat; ls /proc/self/fd | tr "\n" " "; ps -o pgid= -p $$ | grep -qx " *$$" && echo group; grep -E "SigBlk|SigIgn" /proc/self/status; ulimit -n; exit 0 {}' 9</dev/null <<<x
out_is "$(printf '0 1 2 3 group\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n%s' "$(ulimit -n)")"

say "workers that would keep their answers back are made to write them out"
map 0 -j 2 -- sed 's/$/!/' < <(seq 3)
out_is $'1!\n2!\n3!'
map 0 -j 2 -- sh -c 'grep . | sed "s/^/-/"' < <(seq 3)
out_is $'-1\n-2\n-3'
PYTHONUNBUFFERED='' map 0 -j 2 -- python3 -c 'import sys
for l in sys.stdin: print(int(l) * 2)' < <(seq 3)
out_is $'2\n4\n6'
map 0 -j 1 --frame len -- sh -c 'printf "\0\0\0\001%s" "${MPSUP_LINES:-0}"; cat >/dev/null' < <(printf '\0\0\0\001x')
[ "$(tail -c 1 "$T/out")" = 0 ] || fail "frames are no lines"

say "workers: a task a line, an answer a line, in order"
map 0 -j 3 -- sed -u 's/$/!/' < <(seq 20000)
cmp -s "$T/out" <(seq 20000 | sed 's/$/!/') || fail "20000 answers are not in order"
map 0 -j 3 -u -- sed -u 's/$/!/' < <(seq 20000)
cmp -s <(sort "$T/out") <(seq 20000 | sed 's/$/!/' | sort) || fail "20000 answers, some are not there"
[ "$(seq 3000 | "$MPSUP" map -j 2 -- sh -c 'while read -r x; do echo $$; done' | sort -u | wc -l)" -le 2 ] || fail "more than two workers"
map 0 -j 2 -- cat < <(printf 'a\n\nb')
out_is $'a\n\nb'

say "a slow task does not hold up those behind it: the other worker gets them"
rm -f "$T/f" && mkfifo "$T/f"
map 0 -j 2 -- sh -c 'while read -r x; do case $x in 1) read -r _ <"$0" ;; 500) echo go >"$0" ;; esac; echo $x; done' "$T/f" < <(seq 500)
cmp -s "$T/out" <(seq 500) || fail "not in order"

say "--frame len: any bytes"
cat >"$T/frames.py" <<'P'
import os, random, struct, subprocess, sys
r = random.Random(7)
tasks = [r.randbytes(r.choice([0, 1, 10, 1000, 70000])) for _ in range(300)]
worker = """
import struct, sys
i, o = sys.stdin.buffer, sys.stdout.buffer
while True:
    head = i.read(4)
    if not head: break
    body = i.read(struct.unpack('>I', head)[0])[::-1]
    o.write(struct.pack('>I', len(body)) + body); o.flush()
"""
data = b"".join(struct.pack(">I", len(t)) + t for t in tasks)
p = subprocess.run([sys.argv[1], "map", "-j", "2", "--frame", "len", "--", sys.executable, "-c", worker], input=data, stdout=subprocess.PIPE, timeout=60)
want = b"".join(struct.pack(">I", len(t)) + t[::-1] for t in tasks)
assert p.returncode == 0 and p.stdout == want, (p.returncode, len(p.stdout), len(want))
p = subprocess.run([sys.argv[1], "map", "-j", "2", "--frame", "len", "--", sys.executable, "-c", worker], input=data[:-1], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
assert p.returncode == 1 and b"the input ends within task 300" in p.stderr, p.stderr
p = subprocess.run([sys.argv[1], "map", "--frame", "len", "--", "cat"], input=b"\xff\xff\xff\xffx", stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)
assert p.returncode == 1 and b"task 1 is longer than" in p.stderr, p.stderr
P
python3 "$T/frames.py" "$MPSUP" || fail "see above"

say "-0: tasks end with a NUL"
map 0 -0 -j 2 -- echo '<{}>' < <(printf 'a\nb\0c\0d')
out_is $'<a\nb>\n<c>\n<d>'
[ "$(printf 'a\nb\0c\0' | "$MPSUP" map -0 -j 1 -- sed -uz 's/$/!/' | od -An -c | tr -d ' \n')" = 'a\nb!\0c!\0' ] || fail "answers end with a NUL"

say "tasks that fail: 1, and a list"
map 1 -j 2 -- sh -c 'case {} in 2) exit 7 ;; 4) kill -SEGV $$ ;; esac; echo {}' < <(seq 5)
out_is $'1\n3\n5'
err_has '^mpsup: map: 2 of 5 tasks failed:$'
err_has '^  task 2: exit status 7: 2$'
err_has '^  task 4: SIGSEGV: 4$'
map 1 -j 2 -- sh -c 'exit 3 {}' < <(printf 'x%.0s' $(seq 200))
err_has '^  task 1: exit status 3: x{40,58}\.\.\.$'

say "--fail-fast ends the rest, --keep-going does not"
map 1 -j 1 --fail-fast -- sh -c 'echo {}; [ {} != 3 ]' < <(seq 100000)
out_is $'1\n2\n3'
map 1 -j 2 --fail-fast -- sh -c '[ {} != 1 ] && exec sleep 1000; exit 5' < <(seq 2)
map 1 -j 1 -f -k -- sh -c 'echo {}; [ {} != 1 ]' < <(seq 3)
out_is $'1\n2\n3'
map 1 -j 1 --fail-fast -- sh -c 'while read -r x; do [ $x != 3 ] || exit 9; echo $x; done' < <(yes 1 | head -n 50; yes 3)
[ "$(wc -l <"$T/out")" = 50 ] || fail "$(wc -l <"$T/out") answers before it"

say "--retries: what fails is tried again, and its output counts once"
map 0 -j 2 --retries 2 -- sh -c 'echo x >>"$0.{}"; echo {}; [ {} != 2 ] || [ "$(wc -l <"$0.2")" = 3 ]' "$T/tries" < <(seq 3)
out_is $'1\n2\n3'
map 1 -j 2 --retries 2 -- sh -c 'echo x >>"$0.{}"; echo {}; exit 1' "$T/again" <<<1
[ "$(wc -l <"$T/again.1")" = 3 ] || fail "tried $(wc -l <"$T/again.1") times"
out_is 1

say "--timeout: the whole tree of the task ends; KILL for what ignores TERM"
map 1 -j 2 --timeout 0.2 -- sh -c '[ {} = 2 ] || { echo {}; exit; }; sleep 1000 & setsid sleep 1000 & sleep 1000' < <(seq 3)
out_is $'1\n3'
err_has '^  task 2: not over after 0.2 s: 2$'
map 1 -j 1 --timeout 0.1 --grace 0.1 -- sh -c 'trap "" TERM; sleep 1000; sleep 1000; exit {}' <<<1
map 1 -j 1 --timeout 0.2 -- sh -c 'while read -r x; do [ $x != 2 ] || sleep 1000; echo $x; done' < <(seq 4)
out_is $'1\n3\n4'
err_has '^  task 2: not over after 0.2 s: 2$'

say "what a task leaves behind ends with it, before the next one in its place"
map 0 -j 1 -- sh -c 'echo $$; setsid sleep 1000 >/dev/null & sleep 1000 & sleep 1000 & exit 0 {}' < <(seq 3)
n_lines "$T/out" 3 || fail "three tasks"
must -t 2 nothing_left

say "standard error comes by lines, each with the number of its task"
map 0 -j 2 -- sh -c 'printf "a{}\nb" >&2; echo c >&2' {} < <(seq 2)
[ "$(sort "$T/err")" = $'[1] a1\n[1] bc\n[2] a2\n[2] bc' ] || fail "it is '$(cat "$T/err")'"
map 0 -j 1 -- sh -c 'while read -r x; do echo "e$x" >&2; echo $x; done' < <(seq 2)
n_lines "$T/err" 2 || fail "it is '$(cat "$T/err")'"

say "a worker that dies: its task failed, the others go on"
map 1 -j 2 -- sh -c 'while read -r x; do [ $x != 30 ] || kill -KILL $$; echo $x; done' < <(seq 1000)
cmp -s "$T/out" <(seq 1000 | grep -vx 30) || fail "an answer is missing"
err_has '^mpsup: map: 1 of 1000 tasks failed:$'
err_has '^  task 30: SIGKILL: 30$'
map 0 -j 2 --retries 1 -- sh -c 'while read -r x; do [ $x != 30 ] || [ -e "$0" ] || { : >"$0"; kill -KILL $$; }; echo $x; done' "$T/once" < <(seq 1000)
cmp -s "$T/out" <(seq 1000) || fail "it was not tried again"
map 1 -j 1 -- sh -c 'while read -r x; do [ $x != 3 ] || exit 0; echo $x; done' < <(seq 6)
err_has '^  task 3: its worker exited before it answered: 3$'
out_is $'1\n2\n4\n5\n6'
map 1 -j 1 --grace 0.1 -- sh -c 'while read -r x; do [ $x != 3 ] || { exec >&-; sleep 1000; }; echo $x; done' < <(seq 4)
err_has '^  task 3: its worker closed its standard output before it answered: 3$'
out_is $'1\n2\n4'
map 1 -j 1 -- sh -c 'while read -r x; do echo $x; echo $x; done' < <(seq 3)
err_has 'worker 1 answered more than it was asked \(one line for each task\)'
map 1 -j 2 -- sh -c 'exit 3' < <(yes)
err_has '^mpsup: map: sh exited with 3 before it read a task, 3 times in a row$'

say "--max-tasks: a new worker after so many; --chunk: so many at a time"
map 0 -j 1 --max-tasks 3 -- sh -c 'while read -r x; do echo $$; done' < <(seq 7)
[ "$(uniq -c <"$T/out" | awk '{ print $1 }' | tr '\n' ' ')" = '3 3 1 ' ] || fail "$(uniq -c <"$T/out")"
rm -f "$T/go" "$T/in" && mkfifo "$T/go" "$T/in"
# What another has left, more than one may still have: here one with 7 of 10, and 6 that the second has left.
"$MPSUP" map -j 2 --max-tasks 10 --chunk 7 -- sh -c 'while read -r x; do [ $x != 8 ] || [ -e "$0.was" ] || { : >"$0.was"; read -r _ <"$0"; kill -KILL $$; }; echo $$; done' "$T/go" <"$T/in" >"$T/out" 2>"$T/err" &
exec 8>"$T/in"
seq 14 >&8
must n_lines "$T/out" 7
echo >"$T/go"
must n_lines "$T/out" 13
seq 40 >&8
exec 8>&-
wait $! && fail "the killed one's task has not failed"
[ "$(wc -l <"$T/out")" = 53 ] || fail "$(wc -l <"$T/out") answers"
[ "$(sort "$T/out" | uniq -c | sort -n | awk 'END { print $1 }')" -le 10 ] || fail "$(sort "$T/out" | uniq -c)"
map 0 -j 2 --chunk 5 -- sh -c 'while read -r x; do echo $x; done' < <(seq 23)
cmp -s "$T/out" <(seq 23) || fail "with --chunk 5"

say "--json: an object a task"
map 1 -j 2 --json -- sh -c 'printf "a\377{}\0b"; exit $(({} - 1))' < <(seq 2)
python3 - "$T/out" <<'P' || fail "see above"
import json, sys
a, b = [json.loads(l) for l in open(sys.argv[1])]
assert a["seq"] == 1 and a["task"] == "1" and a["status"] == 0 and a["signal"] is None and a["stdout"] == "a\ufffd1\0b", a
assert b["seq"] == 2 and b["status"] == 1 and b["failed"] == "exit" and b["seconds"] >= 0 and b["pid"] > 1, b
P
map 1 -j 1 --json -- sh -c 'while read -r x; do [ $x != 2 ] || kill -KILL $$; echo "<$x>"; done' < <(seq 3)
python3 - "$T/out" <<'P' || fail "see above"
import json, sys
a, b, c = [json.loads(l) for l in open(sys.argv[1])]
assert a["stdout"] == "<1>" and c["stdout"] == "<3>" and c["seq"] == 3, (a, c)
assert b["status"] is None and b["signal"] == 9 and b["failed"] == "signal" and b["stdout"] is None, b
P

say "mistakes in what is asked for: 2; a command that is not there: 127, 126"
map 2 </dev/null
map 2 -j x -- true {} </dev/null
map 2 -j 99999 -- true {} </dev/null
map 2 --frame 7 -- cat </dev/null
map 2 --frame len -- cat {} </dev/null
map 2 --frame len -0 -- cat </dev/null
map 2 --resume -- cat </dev/null
map 2 --timeout soon -- cat </dev/null
map 127 -- no-such-command {} </dev/null
err_has '^mpsup: map: no-such-command: No such file or directory$'
map 126 -- /etc/passwd {} <<<1
map 127 -j 2 -- /no/such/command {} < <(seq 2)
err_has '^mpsup: map: cannot start /no/such/command: exec: No such file or directory$'
map 1 -j 2 -- {} < <(printf 'true\nno-such-command\n')
err_has '^  task 2: cannot start: No such file or directory: no-such-command$'
map 1 --joblog "$T/none/log" -- true {} </dev/null
map 1 -- cat <"$T"

say "a line that is too long for an argument fails alone; one beyond 16 MB ends the input"
map 1 -j 1 -- sh -c 'echo ${#1}' _ {} < <(echo a && head -c 200000 /dev/zero | tr '\0' x && echo && echo b)
out_is $'1\n1'
err_has '^  task 2: cannot start: Argument list too long: x'
map 0 -j 2 -- wc -L {} < <(echo /dev/null)
{ head -c 3000000 /dev/zero | tr '\0' y && echo && echo z; } >"$T/long"
map 0 -j 2 -- cat <"$T/long"
cmp -s "$T/out" "$T/long" || fail "a long line is not what it was"
map 1 -j 1 -- cat < <(echo a && head -c 17000000 /dev/zero | tr '\0' x)
err_has '^mpsup: map: task 2 is longer than 16 MB; what follows is not read$'
out_is a

say "the output may be a socket, or another user's pipe, of which nothing makes us wait"
to_socket() {
  python3 -c 'import socket, subprocess, sys
ours, its = socket.socketpair()
p = subprocess.Popen(sys.argv[1:], stdout=its)
its.close()
while data := ours.recv(1 << 16): sys.stdout.buffer.write(data)
sys.exit(p.wait())' "$@"
}
to_socket "$MPSUP" map -j 2 -- cat < <(seq 300000) >"$T/out" || fail "it fails where its output is a socket"
cmp -s "$T/out" <(seq 300000) || fail "a socket got something else"
if [ "$(id -u)" = 0 ]; then
  setpriv --reuid 65534 --regid 65534 --clear-groups env XDG_RUNTIME_DIR= "$MPSUP" map -j 2 -- cat < <(seq 300000) 2>"$T/err" | cat >"$T/out"
  cmp -s "$T/out" <(seq 300000) || fail "another user's pipe got something else: $(cat "$T/err")"
fi

say "none of it stays"
must -t 2 nothing_left
