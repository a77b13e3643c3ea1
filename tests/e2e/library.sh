#!/bin/bash
# libmpsup as it is installed: what can be seen of it, that each public name is in a manual page and the other way round,
# and that programs in C and C++, shared and static, build with what pkg-config says, and run.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
here=$PWD
header=$here/lib/mpsup.h

say "the names of mpsup.h"
# Without comments; of MPS_TARGET()'s own names only the macro's is public.
gcc -fpreprocessed -dD -E -P -x c "$header" 2>/dev/null | grep -v 'mps_target_\(row_\|add_\)##' |
  sed -n '/MPSUP_H/,$p' >"$T/plain.h"
# mps_target is a type.
grep -oE '\bmps_[a-z0-9_]+ ?\(' "$T/plain.h" | tr -d ' (' | sort -u | grep -vx mps_target >"$T/functions"
grep -oE '\b(mps|MPS)_[A-Za-z0-9_]+\b' "$T/plain.h" | sort -u >"$T/names"
[ "$(wc -l <"$T/functions")" -gt 100 ] || fail "only $(wc -l <"$T/functions") functions were found"
nm -D --defined-only "$B/libmpsup.so" | awk '$2 == "T" { sub(/@.*/, "", $3); print $3 }' | sort >"$T/exported"
diff "$T/functions" "$T/exported" || fail "what libmpsup.so shows (>) is not what mpsup.h declares (<)"
nm -g --defined-only "$B/libmpsup.a" 2>/dev/null | awk '$2 ~ /[A-Z]/ { print $3 }' | grep -vE '^_*(asan|odr|llvm)|^\.?_*asan' | sort >"$T/exported"
[ -n "${SAN:-}" ] || diff "$T/functions" "$T/exported" || fail "what libmpsup.a shows (>) is not what mpsup.h declares (<)"

say "no wait follows a clock that can be set"
nm -D --undefined-only "$B/libmpsup.so" | grep -E ' (sem_(timed)?wait|pthread_mutex_timedlock|pthread_cond_)' >"$T/timed"
[ -n "${SAN:-}" ] || [ ! -s "$T/timed" ] || fail "libmpsup.so calls $(cat "$T/timed")"

say "each is in a manual page, and each name in a page is one of them"
cat "$here"/man/mps_*.3 | grep -v '^\.Dt' >"$T/pages"
sed -n '/^\.Sh NAME/,/^\.Sh [^N]/s/^\.Nm \([a-zA-Z0-9_]*\).*/\1/p' "$T/pages" | sort >"$T/named"
diff "$T/functions" <(grep '^mps_' "$T/named") || fail "NAME of man/mps_*.3 (>) is not what mpsup.h declares (<)"
cat "$here/man/mpsup.7" >>"$T/pages"
# References to pages are mandoc's to check.
sed 's/\bXr [a-zA-Z_]*//' "$T/pages" | grep -oE '\b(mps|MPS)_[A-Za-z0-9_]+\b' | sort -u >"$T/said"
comm -23 "$T/said" "$T/names" | grep -vE '^mps_[a-z]+_$|^MPS_[A-Z_]+_$' >"$T/unknown"
[ ! -s "$T/unknown" ] || fail "in manual pages, but not in mpsup.h: $(tr '\n' ' ' <"$T/unknown")"
grep -E '^MPS_' "$T/names" | comm -23 - "$T/said" >"$T/untold"
[ ! -s "$T/untold" ] || fail "in mpsup.h, but in no manual page: $(tr '\n' ' ' <"$T/untold")"

say "each name of Python's multiprocessing is in mpsup(7)"
if command -v python3 >/dev/null; then
  python3 - "$here/man/mpsup.7" >"$T/out" 2>"$T/err" <<'PY' || fail "python3"
import re, sys
import multiprocessing as mp
from multiprocessing import connection, queues, shared_memory, sharedctypes, synchronize
page = open(sys.argv[1]).read().split("FROM PYTHON")[1]
names = {n for m in (mp, connection, shared_memory, sharedctypes) for n in m.__all__}
for c in (mp.Process, connection.Connection, connection.Listener, queues.JoinableQueue, queues.SimpleQueue, synchronize.Lock,
          synchronize.Semaphore, synchronize.Condition, synchronize.Event, synchronize.Barrier,
          shared_memory.SharedMemory, sharedctypes.Synchronized):
    names |= {n for n in dir(c) if n[0] != "_"}
assert len(names) > 80
print(*(n for n in sorted(names) if not re.search(rf"\b{n}\b", page)))
PY
  [ -z "$(xargs <"$T/out")" ] || fail "not in mpsup(7): $(cat "$T/out")"
fi

say "installed, programs build with what pkg-config says, and run"
command -v pkg-config >/dev/null || exit 0
[ -z "${SAN:-}" ] || exit 0 # a program without sanitizers cannot load it
make -s -C "$here" B="$B" DESTDIR="$T/d" PREFIX=/opt/mpsup install >"$T/out" 2>"$T/err" || fail "make install"
export PKG_CONFIG_PATH=$T/d/opt/mpsup/lib/pkgconfig PKG_CONFIG_SYSROOT_DIR=$T/d
export LD_LIBRARY_PATH=$T/d/opt/mpsup/lib
cat >"$T/program.c" <<'C'
#include <mpsup.h>
#include <stdio.h>
#include <string.h>

static int worker(struct mps_args *args)
{
	struct mps_queue *q = mps_args_queue(args, 0);
	const char *text = mps_args_text(args, 1);

	return q != NULL && text != NULL ? mps_queue_put(q, text, strlen(text), MPS_FOREVER) : 9;
}
MPS_TARGET(worker);

int main(int argc, char **argv)
{
	static const enum mps_start_method methods[] = { MPS_START_SPAWN, MPS_START_FORK,
							 MPS_START_FORKSERVER };
	struct mps_queue *q;
	struct mps_args *args;

	if (mps_init(&argc, &argv) < 0 || mps_queue_new(NULL, &q) < 0 || mps_args_new(&args) < 0 ||
	    mps_args_add_queue(args, q) < 0 || mps_args_add_text(args, "hello") < 0)
		return 2;
	for (size_t i = 0; i < 3; i++) {
		struct mps_process_options o = MPS_PROCESS_OPTIONS_INIT;
		struct mps_process *p;
		char text[16];
		size_t n;
		int code;

		o.method = methods[i];
		o.target = worker;
		o.args = args;
		if (mps_process_start(&o, &p) < 0) {
			fprintf(stderr, "start %zu: %s\n", i, mps_process_failure());
			return 3;
		}
		if (mps_queue_get(q, text, sizeof(text), &n, 10 * MPS_SECOND) < 0 ||
		    mps_process_join(p, 10 * MPS_SECOND) < 0 || mps_process_exitcode(p, &code) < 0)
			return 4;
		printf("%.*s %d\n", (int)n, text, code);
		mps_process_free(p);
	}
	mps_args_free(args);
	mps_queue_free(q);
	return strcmp(mps_version(), "") == 0;
}
C
cp "$T/program.c" "$T/program.cc"
flags() {
  pkg-config --cflags --libs "$@" mpsup
}
# shellcheck disable=SC2046 # words
expect 0 gcc -Wall -Wextra -Wpedantic -Werror -o "$T/bin/shared" "$T/program.c" $(flags)
# shellcheck disable=SC2046
expect 0 gcc -Wall -static -Wl,-w -o "$T/bin/static" "$T/program.c" $(flags --static)
if command -v g++ >/dev/null; then
  # shellcheck disable=SC2046
  expect 0 g++ -Wall -Wextra -Wpedantic -Werror -Wno-missing-field-initializers -o "$T/bin/cxx" "$T/program.cc" $(flags)
  expect 0 "$T/bin/cxx"
fi
for p in shared static; do
  expect 0 "$T/bin/$p"
  printf 'hello 0\nhello 0\nhello 0\n' | cmp -s - "$T/out" || fail "$p says: $(cat "$T/out")"
done
ldd "$T/bin/shared" | grep -q "libmpsup.so.0 => $T/d/opt/mpsup/lib/libmpsup.so.0" || fail "not ours: $(ldd "$T/bin/shared")"
contains "$T/d/opt/mpsup/lib/pkgconfig/mpsup.pc" "^Version: $("$MPSUP" version | awk '{print $NF; exit}')" ||
  fail "mpsup.pc tells another version"
say "make uninstall takes all of it away"
make -s -C "$here" B="$B" DESTDIR="$T/d" PREFIX=/opt/mpsup uninstall >"$T/out" 2>"$T/err" || fail "make uninstall"
left=$(find "$T/d" ! -type d)
[ -z "$left" ] || fail "left: $left"
