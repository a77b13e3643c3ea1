#!/bin/bash
# What is handed out: the tarball builds, what it installs is whole and works, and is gone after make uninstall.
# Not among the end-to-end tests, as it builds all anew: make installed.
set -u
here=$(cd "$(dirname "$0")/../.." && pwd) || exit 1
T=$(mktemp -d "${TMPDIR:-/tmp}/mpsup-tree.XXXXXX") || exit 1
chmod 755 "$T"
trap 'rm -rf "$T"' EXIT
trap 'exit 130' INT TERM

say() {
  echo "- $*"
}
fail() {
  [ ! -s "$T/out" ] || tail -n 30 "$T/out"
  echo "--- FAILED (line ${BASH_LINENO[0]}): $*"
  exit 1
}

say "every corpus is one of a fuzzer, and has something in it"
for d in "$here"/tests/fuzz/corpus/*/; do
  name=$(basename "$d")
  [ -e "$here/tests/fuzz/fuzz_$name.c" ] || fail "$name: there is no fuzzer"
  [ -n "$(ls -A "$d")" ] || fail "$name has none"
done

say "make dist, and its tarball builds"
(cd "$here" && git archive --prefix=tree/ HEAD) | tar -x -C "$T" || fail "git archive"
make -s -n -C "$here" dist | grep -q 'git archive --prefix=mpsup-[0-9.]*/ -o mpsup-[0-9.]*.tar.gz HEAD' || fail "make dist does something else"
make -s -C "$T/tree" -j"${JOBS:-2}" WERROR=1 all >"$T/out" 2>&1 || fail "make all"

D=$T/root
make_to() { # target
  make -s -C "$T/tree" DESTDIR="$D" PREFIX=/usr SYSCONFDIR=/etc "$1" >"$T/out" 2>&1 || fail "make $1"
}
say "make install: what is there, and for whom"
mkdir "$D"
(umask 077 && make_to install)
find "$D" \( -type f -o -type l \) -printf '%P\n' | sort >"$T/files"
for f in usr/bin/mpsup usr/libexec/mpsup/mpsup-host usr/libexec/mpsup/libmpsup-preload.so usr/include/mpsup.h usr/lib/libmpsup.so \
  usr/lib/libmpsup.a usr/lib/pkgconfig/mpsup.pc usr/share/man/man1/mpsup.1 usr/share/doc/mpsup/README.md \
  usr/share/doc/mpsup/SECURITY.md usr/share/bash-completion/completions/mpsup; do
  grep -qx "$f" "$T/files" || fail "$f is not installed"
done
find "$D" -type f ! -perm -444 | grep . >"$T/out" && fail "not for all"
find "$D" -xtype l | grep . >"$T/out" && fail "links that lead nowhere"

say "nothing of it has more rights, or is writable for others"
find "$D" \( -perm /6000 -o \( ! -type l -perm /022 \) \) | grep . >"$T/out" && fail "see above"
if command -v getcap >/dev/null; then
  [ -z "$(getcap -r "$D" 2>/dev/null)" ] || fail "capabilities: $(getcap -r "$D")"
fi

say "it looks for libraries nowhere but where the system has them"
readelf -Wd "$D/usr/bin/mpsup" | grep -E 'R(UN)?PATH' >"$T/out" && fail "a path for libraries"

say "it works"
"$D/usr/bin/mpsup" version >"$T/out" 2>&1 || fail "mpsup version"
grep -qF "$(sed -n 's/^VERSION := //p' "$here/Makefile")" "$T/out" || fail "another version"
"$D/usr/bin/mpsup" exec -- true >"$T/out" 2>&1 || fail "mpsup exec, which looks for mpsup-host"

say "manual pages: each is without a warning, of mandoc and of groff"
# break: a wide table in a narrow page.
for p in "$D"/usr/share/man/man?/*; do
  mandoc -Tlint -Wwarning "$p" >"$T/out" 2>&1 || fail "mandoc: $p"
  if command -v groff >/dev/null; then
    groff -ww -Wbreak -b -mandoc -Tutf8 -z "$p" >"$T/out" 2>&1 || fail "groff: $p"
    [ ! -s "$T/out" ] || fail "groff: $p"
  fi
done
for p in "$here"/man/*.[1-9]; do
  grep -q "/${p##*/}\$" "$T/files" || fail "${p##*/} is not installed"
done

say "pkg-config"
export PKG_CONFIG_PATH=$D/usr/lib/pkgconfig PKG_CONFIG_SYSROOT_DIR=$D
pkg-config --exists --print-errors mpsup >"$T/out" 2>&1 || fail "pkg-config"
[ "$(pkg-config --modversion mpsup)" = "$("$D/usr/bin/mpsup" version | awk '{ print $2 }')" ] || fail "another version"
cat >"$T/p.c" <<'X'
#include <mpsup.h>
int main(void)
{
	return mps_version() == 0;
}
X
sed -n 's/.*\(mps_[a-z_]*version[a-z_]*\)(.*/\1/p' "$D/usr/include/mpsup.h" | head -n 1 >"$T/name"
sed -i "s/mps_version/$(cat "$T/name")/" "$T/p.c"
# shellcheck disable=SC2046 # words
gcc -Wall -Werror -o "$T/p" "$T/p.c" $(pkg-config --cflags --libs mpsup) >"$T/out" 2>&1 || fail "gcc with what pkg-config says"
LD_LIBRARY_PATH=$D/usr/lib "$T/p" || fail "the program exits $?"

say "make uninstall leaves nothing, and what is not its own where it was"
touch "$D/usr/libexec/mpsup/other" "$D/usr/share/doc/mpsup/other"
make_to uninstall
for f in usr/libexec/mpsup/other usr/share/doc/mpsup/other; do [ -e "$D/$f" ] || fail "$f of others is gone"; done
rm "$D/usr/libexec/mpsup/other" "$D/usr/share/doc/mpsup/other"
make_to uninstall
find "$D" ! -type d | grep . >"$T/out" && fail "files are left"
find "$D" -depth -type d -name '*mpsup*' | grep . >"$T/out" && fail "folders of its own are left"
echo "passed"
