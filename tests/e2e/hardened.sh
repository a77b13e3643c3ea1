#!/bin/bash
# How the programs and libraries are linked, and what the compiler was told: read from what was built.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
[ -z "${SAN:-}${COV:-}" ] || { echo "sanitizers and counters link in their own way" && exit 77; }
command -v readelf >/dev/null || exit 77

for f in mpsup mpsup-host libmpsup.so libmpsup-preload.so; do
  say "$f"
  readelf -Wld "$B/$f" >"$T/out" || fail "readelf $f"
  contains "$T/out" 'GNU_RELRO' || fail "no RELRO"
  contains "$T/out" 'BIND_NOW|FLAGS.*NOW' || fail "it binds lazily, so RELRO is partial"
  contains "$T/out" 'GNU_STACK.* RW +0x' || fail "the stack is executable, or nothing says so"
  ! contains "$T/out" ' RWE | WE ' || fail "something is writable and executable"
  ! contains "$T/out" 'RPATH|RUNPATH' || fail "it has a path of its own for libraries: $(grep -E 'R(UN)?PATH' "$T/out")"
  ! contains "$T/out" 'TEXTREL' || fail "its text is relocated"
  case $f in
  *.so) ;;
  *) contains "$T/out" 'FLAGS_1.*PIE' || fail "it is no PIE" ;;
  esac
  [ "$(stat -Lc %A "$B/$f" | tr -d 'rwx-')" = "" ] || fail "its mode is $(stat -Lc %A "$B/$f")"
  # The shim is to need nothing.
  [ "$f" != libmpsup-preload.so ] || continue
  nm -D --undefined-only "$B/$f" >"$T/symbols"
  contains "$T/symbols" '__stack_chk_fail' || fail "no stack protector"
  contains "$T/symbols" '__[a-z]+_chk' || { [ -n "${UNOPTIMISED:-}" ] || fail "no _FORTIFY_SOURCE"; }
done
