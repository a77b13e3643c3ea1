#!/bin/bash
# Python's multiprocessing.connection and libmpsup, each in both roles: messages of 0 bytes to 8 MiB and descriptors, with and
# without a key, and with a wrong one at either side. With each Python that is there: 3.11 speaks MD5 only, 3.12 does not.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"

peer=$(dirname "$0")/interop.py
# What is slow is not what is tested: a silent side ends after five seconds.
limit="timeout -s KILL $((60 * SLOW))"

c_side() { # verb address key [count]
  $limit "$B/e2e/interop" "$1" "$2" "$3" "$md5" ${4+"$4"}
}

python_side() { # verb address key [count]
  $limit "$python" "$peer" "$@"
}

# One listens, the other connects: what both say.
meet() { # listener client address key-of-listener key-of-client
  rm -f "$T/listener" "$T/out"
  "$1" echo "$3" "$4" 1 >"$T/listener" 2>"$T/err" &
  listener=$!
  must test -s "$T/listener"
  "$2" ask "$(head -n 1 "$T/listener")" "$5" >"$T/out" 2>>"$T/err"
}

good() { # listener client address key
  meet "$1" "$2" "$3" "$4" "$4"
  wait $listener || fail "$version: $1 did not end well on $3 with key $4: $(cat "$T/listener")"
  [ "$(cat "$T/out")" = good ] || fail "$version: $2 did not end well on $3 with key $4"
}

# Python's listener tells of the one who has no key; ours goes on, and serves the next.
refused() { # key of the listener's side, of the client's
  meet python_side c_side "unix:$T/s" "$1" "$2"
  wait $listener
  grep -qx 'connect: EACCES' "$T/out" || fail "$version: our client said $(cat "$T/out")"
  grep -q '^accept: ' "$T/listener" || fail "$version: Python's listener said $(cat "$T/listener")"
  meet c_side python_side "unix:$T/s" "$1" "$2"
  grep -qx 'connect: AuthenticationError' "$T/out" || fail "$version: Python's client said $(cat "$T/out")"
  md5=md5 c_side ask "unix:$T/s" "$1" >"$T/out" || fail "the next one was not served: $(cat "$T/out")"
  wait $listener || fail "our listener did not end well: $(cat "$T/listener")"
}

with_python() {
  local address key
  version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || return
  md5=-
  case $version in 3.[89] | 3.1[01]) md5=md5 ;; 3.1[2-9]) ;; *) return ;; esac
  say "Python $version: both roles, all addresses, with and without a key"
  for address in "unix:$T/s" "abstract:mpsup-$$" tcp:127.0.0.1:0; do
    for key in - secret; do
      good c_side python_side "$address" "$key"
      good python_side c_side "$address" "$key"
    done
  done
  say "Python $version: a wrong key on either side"
  refused one two
  if [ "$md5" = md5 ]; then
    say "Python $version: MD5 is refused unless it is asked for"
    md5=-
    refused same same
  fi
  n=$((n + 1))
}

n=0
seen=" "
for python in "$(command -v python3)" ~/.pyenv/versions/*/bin/python3; do
  [ -x "$python" ] || continue
  v=$("$python" -c 'import sys; print(sys.version_info[:2])' 2>/dev/null)
  case $seen in *" ${v// /} "*) continue ;; esac
  seen="$seen${v// /} "
  with_python
done
[ $n != 0 ] || { echo "no Python of 3.8 to 3.19" && exit 77; }
[ ! -e "$T/s" ] || fail "a socket is left"
