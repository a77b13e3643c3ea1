#!/bin/sh
# mpsup check and keys as a person calls them: exit codes, messages with places, JSON, the example file.
set -u
: "${B:?the build folder}"
mpsup=$B/mpsup
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
passed=0
failed=0

ok() { # what
  passed=$((passed + 1))
}
bad() { # what
  failed=$((failed + 1))
  echo "check.sh: $1" >&2
  sed 's/^/    /' "$dir/out" >&2
}
# Runs mpsup; the exit code must be $1 and each line of $3 must be found in the output.
run() { # code, what, lines, arguments...
  code=$1
  what=$2
  lines=$3
  shift 3
  "$mpsup" "$@" >"$dir/out" 2>&1
  got=$?
  if [ "$got" -ne "$code" ]; then
    bad "$what: exit $got, not $code"
    return
  fi
  while IFS= read -r line; do
    [ -z "$line" ] || grep -qF -- "$line" "$dir/out" || {
      bad "$what: no '$line'"
      return
    }
  done <<EOF
$lines
EOF
  ok
}

printf '[program:web]\ncommand=/bin/cat\n' >"$dir/good.conf"
printf '[program:web]\ncommand=/bin/cat\nautostrat=false\n[progam:x]\n' >"$dir/typo.conf"
printf '[program:web]\ncommand=/bin/cat %%(nope)s\nstopwaitsecs=5 min\nkey\n' >"$dir/bad.conf"
printf '[program:w]\ncommand=/bin/w %%(process_num)d\nnumprocs=2\nprocess_name=w%%(process_num)d\nenvironment=A="x y"\n' \
  >"$dir/two.conf"
printf '[program:w]\ncommand=/bin/w \377\n' >"$dir/latin.conf"

run 0 "a good file" "1 program, 0 errors, 0 warnings" check -c "$dir/good.conf"
run 0 "unknown names are warnings" "typo.conf:3: warning: program:web.autostrat: unknown key (did you mean autostart?)
typo.conf:4: warning: progam:x: unknown section, ignored (did you mean [program:x]?)
1 program, 0 errors, 2 warnings" check -c "$dir/typo.conf"
run 1 "strict makes them errors" "2 errors, 0 warnings" check --strict -c "$dir/typo.conf"
run 1 "all errors in one go" "bad.conf:2: error: program:web.command: there is no %(nope)s here, but %(here)s, %(host_node_name)s, %(program_name)s, %(group_name)s, %(process_num)d, %(numprocs)d and %(ENV_NAME)s
bad.conf:3: error: program:web.stopwaitsecs: '5 min' is not a whole number of seconds (such as 10)
bad.conf:4: error: 'key': not a key = value line" check -c "$dir/bad.conf"
printf '[program:w]\ncommand=/bin/w\npriority=a\033[2J\n b\n' >"$dir/escape.conf"
run 1 "no escape sequence reaches the terminal" "'a\\x1b[2J\\nb' is not a whole number" check -c "$dir/escape.conf"
printf '[program:w]\ncommand=/bin/w\nautorestart=a\nready=b\n[supervisord]\nexit_on=c\n' >"$dir/choice.conf"
run 1 "choices are listed in one way" "'a' is none of true, false, unexpected
'b' is none of time, notify
'c' is none of fatal, exit:NAME, all, none" check -c "$dir/choice.conf"
printf '[program:w]\ncommand=/bin/cat\npriority=1\nPriority=2\n[DEFAULT]\numask=2\n[program:w]\nautostart=no\numask=3\ncommand=/bin/sh\n' \
  >"$dir/double.conf"
run 0 "what is given twice is told with the first" "double.conf:4: note: program:w.priority: was given before ($dir/double.conf:3): this one counts
double.conf:7: note: program:w: was begun before ($dir/double.conf:1): these keys are added to those
double.conf:10: note: program:w.command: was given before ($dir/double.conf:2): this one counts
1 program, 0 errors, 0 warnings" check -c "$dir/double.conf"
if [ "$(grep -c before "$dir/out")" = 3 ]; then ok "no more"; else bad "more is told than what is given twice"; fi
mkdir "$dir/d"
printf '[include]\nfiles=d/more.conf\n' >"$dir/include.conf"
printf '[include]\nfiles=last.conf\n' >"$dir/d/more.conf"
printf '[program:w]\ncommand=/bin/cat\n' >"$dir/d/last.conf"
run 0 "files may each include others" "1 program, 0 errors, 0 warnings" check -c "$dir/include.conf"
if grep -q before "$dir/out"; then bad "includes of two files are told as one"; else ok "includes"; fi
mkdir "$dir/bin" && echo '#!/bin/sh' >"$dir/bin/plain"
cat >"$dir/missing.conf" <<EOF
[supervisord]
directory=$dir/bin
[program:gone]
command=$dir/none
process_name=%(process_num)d
numprocs=2
directory=$dir/nowhere
env_file=$dir/none.env
[program:closed]
command=./plain
env_file=plain
[program:folder]
command=$dir/bin
[program:search]
command=no-such-command x
directory=$dir/missing.conf
[program:wrong]
command=/bin/cat
directory=.
env_file=$dir/missing.conf
[program:good]
command=cat
directory=$dir/bin
EOF
run 0 "what is not there now is a note" "missing.conf:4: note: program:gone.command: exec $dir/none: No such file or directory
missing.conf:7: note: program:gone.directory: chdir $dir/nowhere: No such file or directory
missing.conf:8: note: program:gone.env_file: $dir/none.env: No such file or directory
missing.conf:10: note: program:closed.command: exec $dir/bin/./plain: is not executable
missing.conf:13: note: program:folder.command: exec $dir/bin: is a directory
missing.conf:15: note: program:search.command: can't find command 'no-such-command'
missing.conf:16: note: program:search.directory: chdir $dir/missing.conf: Not a directory
missing.conf:20: note: program:wrong.env_file: $dir/missing.conf:1: not a KEY=value line
7 programs, 0 errors, 0 warnings" check -c "$dir/missing.conf"
if [ "$(grep -c note: "$dir/out")" = 8 ]; then ok "once each"; else bad "more is missing than is"; fi
run 0 "and so as JSON" '"level": "note"
"key": "program:gone.command"' check -c "$dir/missing.conf" --json
run 1 "a missing file" "nothing.conf: error: No such file" check -c "$dir/nothing.conf"
run 1 "a folder" "is a folder, not a file" check -c "$dir"
run 0 "JSON has each process" '"name": "w1"
"command": "/bin/w 1"
"A": "x y"
"ok": true' check -c "$dir/two.conf" --json
run 0 "JSON of bytes that are no UTF-8" '"ok": true' check -c "$dir/latin.conf" --json
run 1 "JSON of errors" '"ok": false
"line": 3
"level": "error"
"key": "program:web.stopwaitsecs"' check -c "$dir/bad.conf" --json
run 0 "common options before the verb" "1 program," -c "$dir/good.conf" check
run 2 "a name is no file" "takes no names" check "$dir/good.conf"
run 2 "ls of a name" "ls takes no arguments: 'x'" ls x
run 2 "two sections" "keys takes one section: 'group'" keys program group
run 2 "an unknown option" "did you mean --strict?" check --stict
run 2 "an unknown verb" "did you mean check?" chekc
run 2 "no verb" "usage: mpsup"
run 0 "a prefix of a verb" "1 program," ch -c "$dir/good.conf"
run 0 "help" "check a configuration file" help
run 0 "help of a verb" "--strict" help check
run 0 "--help of a verb" "--strict" check --help
run 0 "version" "mpsup " version
run 0 "the table of keys" "stopwaitsecs" keys
run 0 "the keys of one section" "buffer_size" keys eventlistener
run 2 "keys of no section" "did you mean program?" keys progam
run 0 "keys as JSON" '"name": "stopwaitsecs"' keys --json

if (cd "$dir" && mv good.conf supervisord.conf && "$mpsup" check) >"$dir/out" 2>&1; then
  ok "found by search"
else
  bad "supervisord.conf in the working directory is not found"
fi
for width in 80 200; do
  if COLUMNS=$width "$mpsup" keys | awk -v w=$width 'length > w { print; bad = 1 } END { exit bad }' >"$dir/out"; then
    ok "width"
  else
    bad "mpsup keys is wider than $width columns"
  fi
done
"$mpsup" keys --example | sed 's/^;//' >"$dir/example.conf"
printf '[program:x]\ncommand=true\nenvironment=A=a b,C=d\n' >"$dir/odd.conf"
run 0 "a value that supervisord reads differently is told" \
  'odd.conf:3: warning: program:x.environment: A: supervisord would read this differently: write KEY="value"' check -c "$dir/odd.conf"
run 0 "the example is accepted when uncommented" "0 errors" check --strict -c "$dir/example.conf"
"$mpsup" keys --example >"$dir/example.conf"
run 0 "the example is accepted as it is" "0 programs, 0 errors, 0 warnings" check --strict -c "$dir/example.conf"
if "$mpsup" check -c "$dir/two.conf" --json >/dev/full 2>"$dir/out"; then
  bad "a full disk is success"
else
  ok "full"
fi

echo "check.sh: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
