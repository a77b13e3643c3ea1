#!/bin/bash
# mpsup completion: the scripts for bash, zsh and fish say what the tables say, and complete lines. What is not installed
# is not tried: only bash is sure to be there.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
export PYTHONPATH=$PWD/tests/e2e PYTHONDONTWRITEBYTECODE=1
has() { command -v "$1" >/dev/null; }
silent() { [ ! -s "$T/out" ] && [ ! -s "$T/err" ]; }

# A name that a shell would carry out if it were not careful.
config <<X
[program:db]
command=$W
startsecs=0
[program:web]
command=$W
process_name=%(program_name)s_%(process_num)d
numprocs=2
startsecs=0
[program:\$(touch\${IFS}evil)]
command=$W
autostart=false
X

for shell in bash zsh fish; do
  expect 0 "$MPSUP" completion $shell
  mv "$T/out" "$T/script.$shell"
  [ ! -s "$T/err" ] || fail "completion $shell says $(cat "$T/err")"
done
mkdir "$T/zsh" && cp "$T/script.zsh" "$T/zsh/_mpsup"
expect 2 "$MPSUP" completion csh
expect 2 "$MPSUP" completion

say "the scripts are well formed"
expect 0 bash -n "$T/script.bash"
! has zsh || expect 0 zsh -n "$T/script.zsh"
! has fish || expect 0 fish -n "$T/script.fish"
! has shellcheck || expect 0 shellcheck -s bash "$T/script.bash"

same() { # what, file with what should be, file with what is
  sort -u "$2" -o "$2"
  sort -u "$3" -o "$3"
  [ -s "$2" ] || fail "found none: $1"
  cmp -s "$2" "$3" || fail "$1: <should be> <tab> <is>: $(comm -3 "$2" "$3" | tr '\n' ';')"
}

say "they have every verb that help lists, with all its options"
"$MPSUP" help | sed -n '/^verbs:/,/^$/s/^  \([a-z]*\) .*/\1/p' >"$T/verbs"
forms() { # the options in the help on standard input, each form on a line of its own
  sed -n '/^options:/,$s/^  \(-., \)\{0,1\} *\(--[a-z-]*\).*/\1\2/p' | tr -d ' ' | tr ',' '\n'
}
while read -r verb; do
  "$MPSUP" help "$verb" | forms >"$T/want"
  bash -c '. "$1"; _mpsup_options "$2"' - "$T/script.bash" "$verb" >"$T/is"
  same "options of $verb in bash" "$T/want" "$T/is"
  sed -n "/^  ($verb)\$/,/;;\$/p" "$T/script.zsh" | grep -oE "(\{-.,--[a-z-]+|^ +--[a-z-]+)" | tr -d ' {' | tr ',' '\n' >"$T/is"
  same "options of $verb in zsh" "$T/want" "$T/is"
  grep -F "'__mpsup_is \"$verb\"'" "$T/script.fish" |
    sed -n 's/.* -s \(.\) -l .*/-\1/p; ' >"$T/is"
  grep -F "'__mpsup_is \"$verb\"'" "$T/script.fish" | sed -n 's/.* -l \([a-z-]*\).*/--\1/p' >>"$T/is"
  same "options of $verb in fish" "$T/want" "$T/is"
done <"$T/verbs"

# completions LINE: what bash offers for the line, with the cursor at its end, one a line.
completions() {
  # shellcheck disable=SC2016 # the inner shell's
  env -C "$T" PATH="$T/bin:$PATH" bash -c '
    . "$1"
    COMP_LINE=$2 COMP_POINT=${#2}
    read -ra COMP_WORDS <<<"${2//:/ : }"
    [[ $2 != *" " ]] || COMP_WORDS+=("")
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    _mpsup mpsup "${COMP_WORDS[COMP_CWORD]}"
    [ ${#COMPREPLY[@]} = 0 ] || printf "%s\n" "${COMPREPLY[@]}"' - "$T/script.bash" "$1"
}

# offers LINE WORD...: exactly these words are offered, in any order.
offers() {
  local line=$1
  shift
  completions "$line" >"$T/is" 2>"$T/err"
  [ ! -s "$T/err" ] || fail "for '$line' bash says $(cat "$T/err")"
  [ "$(sort "$T/is" | tr '\n' ' ')" = "$(printf '%s\n' "$@" | grep . | sort | tr '\n' ' ')" ] ||
    fail "for '$line' there is: $(tr '\n' ' ' <"$T/is")"
}

say "names are silent and quick where nobody runs"
t0=$(now_ms)
mps_expect 7 completion names
silent || fail "names are not silent"
expect 1 "$MPSUP" completion names -c "$T/missing.conf"
silent || fail "names are not silent without a configuration"
[ $(($(now_ms) - t0)) -lt $((2000 * SLOW)) ] || fail "names took $(($(now_ms) - t0)) ms"
offers "mpsup status -c $CONF w"

start_mpsup
say "bash: verbs, options, and what tables say of values"
offers 'mpsup sta' start status
offers 'mpsup supervis'
offers 'mpsup completio'
completions 'mpsup ' | sort >"$T/is"
same "verbs in bash" "$T/verbs" "$T/is"
offers 'mpsup --so' --socket
offers 'mpsup top --so' --sort --socket
offers 'mpsup status --c' --compat --config
offers 'mpsup top -S me' memory
offers 'mpsup top --sort=re' restarts
offers 'mpsup top --sort u' uptime
offers 'mpsup signal US' USR1 USR2
offers 'mpsup keys fcgi' fcgi-program
offers 'mpsup help sig' signal
offers 'mpsup wait --for s' starting stopping stopped settled
offers 'mpsup events --type=sp' spawn_error
offers 'mpsup top -n '
offers 'mpsup map --start-method ' command spawn fork forkserver
offers 'mpsup map --frame l' line len
offers 'mpsup exec --track ' preload scan off
offers 'mpsup dict jobs ge' get
offers 'mpsup dict jobs -m one i' items incr
offers 'mpsup list jobs ' append get set insert pop slice size clear
offers 'mpsup queue jobs ' put get size close
offers 'mpsup counter hits ' get add set
offers 'mpsup event go ' set clear wait is-set
offers 'mpsup barrier go ' wait abort reset
offers 'mpsup manager ' ls info rm
offers 'mpsup lock '
offers 'mpsup dict '
offers 'mpsup dict -m '
offers 'mpsup ls '

say "bash: files"
offers 'mpsup check -c mps' mpsup.conf mpsup.log mpsup.pid
offers 'mpsup --config=mpsup.c' mpsup.conf

say "bash: names of the supervisor that the line means"
offers "mpsup status -c $CONF w" web 'web:*' web:web_0 web:web_1
offers "mpsup status -c $CONF web:web_" web_0 web_1
offers "mpsup -c $CONF restart d" db
offers "mpsup stop --config=$CONF db a" all
offers "mpsup -s $RUNTIME/control.sock stop d" db
offers "mpsup signal -c $CONF HUP d" db
# shellcheck disable=SC2016 # meant as it stands
offers "mpsup status -c $CONF \$" '$(touch${IFS}evil)'
[ ! -e "$T/evil" ] || fail "a name was carried out"

if has fish; then
  say "fish"
  mkdir "$T/home"
  fish_offers() { # line, words
    local line=$1
    shift
    # shellcheck disable=SC2016 # fish's own variables
    env -C "$T" HOME="$T/home" PATH="$T/bin:$PATH" fish -N -c 'source $argv[1]; complete -C $argv[2]' \
      "$T/script.fish" "$line" 2>"$T/err" | cut -f 1 | sort >"$T/is"
    [ ! -s "$T/err" ] || fail "for '$line' fish says $(cat "$T/err")"
    [ "$(tr '\n' ' ' <"$T/is")" = "$(printf '%s\n' "$@" | grep . | sort | tr '\n' ' ')" ] ||
      fail "for '$line' there is: $(tr '\n' ' ' <"$T/is")"
  }
  fish_offers 'mpsup sta' start status
  fish_offers 'mpsup status --c' --compat --config
  fish_offers 'mpsup top --sort me' memory
  fish_offers 'mpsup signal US' USR1 USR2
  fish_offers 'mpsup keys fcgi' fcgi-program
  fish_offers 'mpsup check -c mpsup.c' mpsup.conf
  fish_offers "mpsup status -c $CONF w" web 'web:*' web:web_0 web:web_1
  fish_offers "mpsup -c $CONF restart d" db
  fish_offers "mpsup signal -c $CONF HUP d" db
  # shellcheck disable=SC2016 # meant as it stands
  fish_offers "mpsup status -c $CONF \\\$" '$(touch${IFS}evil)'
  fish_offers 'mpsup ls '
  [ ! -e "$T/evil" ] || fail "a name was carried out"
fi

if has zsh; then
  say "zsh"
  cat >"$T/zsh.py" <<'X'
import os, re, sys
from terminal import Terminal
folder, conf = sys.argv[1:3]
os.chdir(folder)
os.environ.update(ZDOTDIR=folder, PS1="% ", PATH=folder + "/bin:" + os.environ["PATH"], TERM="xterm")
t = Terminal(["/usr/bin/env", "zsh", "-f", "-i"], columns=200)
t.type("fpath=(%s/zsh $fpath); bindkey -e; autoload -U compinit; compinit -D -u; unsetopt zle_bracketed_paste; echo be'g'in\n" % folder)
t.see("begin\r\n")
def becomes(line, end):
    # To the front, to the end: the line is printed instead of carried out.
    t.type(line + "\t")
    t.type("\x01echo '\x05'\n")
    t.see("(?:^|\n)" + re.escape(end) + " ?\r\n")
becomes("mpsup statu", "mpsup status")
becomes("mpsup top --sort=me", "mpsup top --sort=memory")
becomes("mpsup status --com", "mpsup status --compat")
becomes("mpsup signal HU", "mpsup signal HUP")
becomes("mpsup keys fc", "mpsup keys fcgi-program")
becomes("mpsup check -c mpsup.c", "mpsup check -c mpsup.conf")
becomes("mpsup status -c mpsup.conf w", "mpsup status -c mpsup.conf web")
becomes("mpsup -c mpsup.conf restart d", "mpsup -c mpsup.conf restart db")
becomes("mpsup signal -c mpsup.conf HUP d", "mpsup signal -c mpsup.conf HUP db")
t.type("exit\n")
t.end_of_program()
X
  timeout -k 2 100 python3 "$T/zsh.py" "$T" "$CONF" >"$T/out" 2>"$T/err" || fail "on the terminal of zsh"
  [ ! -e "$T/evil" ] || fail "a name was carried out"
fi
shutdown_mpsup
