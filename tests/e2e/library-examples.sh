#!/bin/bash
# The examples of the manual pages of libmpsup do what they say: each is taken out of its page, completed to a program
# where it is a piece of one, compiled and run.
# shellcheck source=tests/e2e/lib.sh
. "$(dirname "$0")/lib.sh"
here=$PWD
name=/mpsup-example-$$

# The blocks of code of a page's EXAMPLES (of mpsup(7): its DESCRIPTION), as they are seen; names that are ours.
code() { # page
  local section=EXAMPLES
  grep -q '^\.Sh EXAMPLES' "$1" || section=DESCRIPTION
  awk -v section="$section" '/^\.Sh/ { on = $2 == section } /^\.Ed/ { in_block = 0 }
    on && in_block { print } /^\.Bd -literal -offset/ { in_block = 1 }' "$1" |
    sed "s,\\\\e,\\\\,g; s,\"/results\",\"$name\",; s,/tmp/work.sock,$T/work.sock,; s,/run/my/socket,$T/socket,"
}

# build PAGE < what is around it: @ stands for the example, @1 and @2 for what is before and after its dots.
build() {
  local page=$1 base=$T/${1%%.*}
  code "$here/man/$page" >"$base.code"
  [ -s "$base.code" ] || fail "$page has no example"
  sed '/^\\&\.\.\.$/,$d' "$base.code" >"$base.1"
  sed '1,/^\\&\.\.\.$/d' "$base.code" >"$base.2"
  { printf '#line 1 "around %s"\n' "$page" && cat; } |
    sed -e "/^@1\$/{r $base.1
d}" -e "/^@2\$/{r $base.2
d}" -e "/^@\$/{r $base.code
d}" >"$base.c"
  expect 0 "${CC:-cc}" -std=gnu11 -Wall -Wextra -Wno-unused-parameter -Werror -O2 -I"$here/lib" ${SAN:+-fsanitize="$SAN" -Wno-maybe-uninitialized} \
    -o "$T/bin/${page%%.*}" "$base.c" -L"$B" -Wl,-rpath,"$B" -lmpsup
  done_with+=" $page"
}

# prints WHAT PROGRAM: and the exit status is 0.
prints() {
  expect 0 "$T/bin/$2"
  [ "$(cat "$T/out")" = "$1" ] || fail "$2 prints: $(cat "$T/out")"
}

export MPSUP_HOST=$T/bin/mpsup-host
# Examples are short: what they have at their end is the kernel's.
export ASAN_OPTIONS=${ASAN_OPTIONS:-}:detect_leaks=0
done_with=
headers='#include <errno.h>
#include <mpsup.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
static void *shared_memory(size_t n)
{
	return mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}'

say "programs"
for page in mps_init.3 mps_args.3 mps_queue.3 mps_pool.3 mpsup.7; do
  build "$page" <<<@
done
prints "hello from process-1" mps_init
prints "first: sweep" mps_args
expect 0 "$T/bin/mps_queue"
[ "$(sed 's/.*: //' "$T/out" | sort -n | xargs)" = "0 1 4 9 16 25 36 49 64 81" ] || fail "mps_queue prints: $(cat "$T/out")"
prints "" mpsup
prints 144 mps_pool

say "pieces: processes, connections"
build mps_process.3 <<X
$headers
int main(void)
{
	if (shared_memory(1) == NULL)
		return 2;
@
	return 0;
}
X
mkdir "$T/make" && printf 'all:\n\t@echo made\n' >"$T/make/Makefile"
cd "$T/make" || exit 1
unset MAKEFLAGS MFLAGS MAKELEVEL
prints $'made\n0' mps_process
cd "$here" || exit 1
build mps_connection.3 <<X
$headers
static int serve(struct mps_connection *c)
{
	const void *p;
	size_t n;
	int r;
@
}
int main(void)
{
	struct mps_connection *a, *b;
	const void *p;
	size_t n;
	int status;

	if (shared_memory(1) == NULL || mps_pipe(true, &a, &b) < 0)
		return 2;
	if (fork() == 0) {
		mps_connection_close(a);
		_exit(serve(b));
	}
	mps_connection_close(b);
	if (mps_send(a, "ping", 4, MPS_SECOND) < 0 || mps_recv(a, &p, &n, 10 * MPS_SECOND) < 0)
		return 3;
	printf("%.*s\n", (int)n, (const char *)p);
	mps_connection_close(a);
	return wait(&status) < 0 || status != 0;
}
X
prints ping mps_connection
build mps_listener.3 <<X
$headers
static const char key[] = "secret";
static void serve(struct mps_connection *c)
{
	const void *p;
	size_t n;

	if (mps_recv(c, &p, &n, 10 * MPS_SECOND) == 0)
		printf("%.*s\n", (int)n, (const char *)p);
	mps_connection_close(c);
	unlink("$T/socket");
	exit(fflush(stdout));
}
static void ask(void)
{
	struct mps_address_options o = { .authkey = key, .authkey_size = sizeof(key) };
	struct mps_connection *c;
	int r;

	do
		r = mps_connect("unix:$T/socket", &o, &c, 10 * MPS_SECOND);
	while (r == -ENOENT || r == -ECONNREFUSED);
	_exit(r < 0 || mps_send(c, "hello", 5, MPS_SECOND) < 0);
}
int main(void)
{
	struct mps_connection *c;
	struct mps_listener *l;
	size_t n = sizeof(key);
	int r;

	if (shared_memory(1) == NULL || fork() == 0)
		ask();
@
	return 1;
}
X
prints hello mps_listener
build mps_wait.3 <<X
$headers
static int answer_and_end(struct mps_args *args)
{
	return mps_send(mps_args_connection(args, 0), "42", 2, MPS_SECOND);
}
MPS_TARGET(answer_and_end);
int main(int argc, char **argv)
{
	struct mps_process_options o = { .target = answer_and_end };
	struct mps_connection *c, *theirs;
	struct mps_process *p;
	const void *answer;
	size_t n;
	int r;

	if (mps_init(&argc, &argv) < 0 || shared_memory(1) == NULL || mps_pipe(true, &c, &theirs) < 0 ||
	    mps_args_new(&o.args) < 0 || mps_args_add_connection(o.args, theirs) < 0 ||
	    mps_process_start(&o, &p) < 0)
		return 2;
@
{
	if (r < 0)
		return 3;
}
	printf("%.*s\n", (int)n, (const char *)answer);
	return mps_process_join(p, 10 * MPS_SECOND) < 0;
}
X
prints 42 mps_wait

say "pieces: locks"
build mps_lock.3 <<X
$headers
struct shared {
	struct mps_lock lock;
	int balance, new;
};
static int pay(struct shared *shared, int amount)
{
	int r;
@
	return 0;
}
int main(void)
{
	struct shared *shared = shared_memory(sizeof(*shared));

	mps_lock_init(&shared->lock);
	shared->balance = shared->new = 10;
	if (fork() == 0) {
		mps_lock_acquire(&shared->lock, MPS_FOREVER);
		shared->new = 1000;
		_exit(0);
	}
	wait(NULL);
	pay(shared, 5);
	pay(shared, 2);
	printf("%d\n", shared->balance);
	return 0;
}
X
prints 17 mps_lock
build mps_semaphore.3 <<X
$headers
struct shared {
	struct mps_semaphore slots;
	_Atomic int inside, most, done;
};
static struct shared *shared;
static void render(void)
{
	int n = ++shared->inside;

	shared->most = n > shared->most ? n : (int)shared->most;
	shared->inside--;
	shared->done++;
}
int main(void)
{
	shared = shared_memory(sizeof(*shared));
@1
	for (int i = 0; i < 9; i++)
		if (fork() == 0) {
@2
			_exit(0);
		}
	while (wait(NULL) > 0)
		;
	printf("%d %d\n", (int)shared->done, shared->most <= 4);
	return 0;
}
X
prints "9 1" mps_semaphore
build mps_condition.3 <<X
$headers
struct shared {
	struct mps_lock lock;
	struct mps_condition filled;
	int n_jobs;
};
static void take(int *job, struct shared *s)
{
	*job = s->n_jobs--;
}
@1
int main(void)
{
	struct shared *s = shared_memory(sizeof(*s));
	int r, job = 0;

	mps_lock_init(&s->lock);
	mps_condition_init(&s->filled);
	s->n_jobs = 0;
	if (fork() == 0) {
		mps_lock_acquire(&s->lock, MPS_FOREVER);
		s->n_jobs = 7;
		mps_condition_notify(&s->filled, 1);
		mps_lock_release(&s->lock);
		_exit(0);
	}
	while (job == 0) {
@2
	}
	printf("%d %d\n", job, s->n_jobs);
	return r;
}
X
prints "7 6" mps_condition
build mps_event.3 <<X
$headers
struct shared {
	struct mps_event stop;
};
static struct shared *shared;
static void measure(void)
{
}
@1
int main(void)
{
	shared = shared_memory(sizeof(*shared));
	mps_event_init(&shared->stop);
	signal(SIGTERM, on_term);
	if (fork() == 0)
		_exit(kill(getppid(), SIGTERM));
@2
	return !mps_event_is_set(&shared->stop);
}
X
prints "" mps_event
build mps_barrier.3 <<X
$headers
struct shared {
	struct mps_barrier b;
};
static void compute(int step)
{
	usleep(1000 * step);
}
static int run(struct shared *shared, int n)
{
	int step, r;
@
	return fflush(stdout);
}
int main(void)
{
	struct shared *shared = shared_memory(sizeof(*shared));

	mps_barrier_init(&shared->b, 2);
	if (fork() == 0)
		_exit(run(shared, 3));
	run(shared, 3);
	return wait(NULL) < 0;
}
X
expect 0 "$T/bin/mps_barrier"
[ "$(sort "$T/out" | xargs)" = "step 0 step 1 step 2" ] || fail "mps_barrier prints: $(cat "$T/out")"

say "pieces: memory"
build mps_array.3 <<X
$headers
int main(void)
{
	int64_t n = 0;

	if (shared_memory(1) == NULL)
		return 2;
@
	wait(NULL);
	if (mps_value_get_int(hits, &n) == 0)
		printf("%d\n", (int)n);
	mps_value_free(hits);
	return 0;
}
X
prints 1 mps_array
build mps_arena.3 <<X
$headers
static int hand_on(struct mps_arena *arena, struct mps_queue *queue, const char *text, size_t n)
{
	int r;
@
}
int main(void)
{
	struct mps_arena *arena;
	struct mps_queue *queue;
	uint64_t at;
	size_t n;

	if (shared_memory(1) == NULL || mps_arena_new(4096, &arena) < 0 || mps_queue_new(NULL, &queue) < 0)
		return 2;
	if (fork() == 0)
		_exit(hand_on(arena, queue, "text", 5));
	wait(NULL);
	if (mps_arena_sweep(arena) != 0 || mps_queue_get(queue, &at, sizeof(at), &n, 0) < 0)
		return 3;
	puts(mps_arena_at(arena, at));
	mps_queue_free(queue);
	mps_arena_close(arena);
	return 0;
}
X
prints text mps_arena
build mps_shm.3 <<X
$headers
static void fill(void *p, size_t n)
{
	memset(p, 'x', n);
}
static int make(void)
{
@
	return 0;
}
int main(void)
{
	struct mps_shm *again;

	if (shared_memory(1) == NULL || make() < 0 || mps_shm_open("$name", false, &again) < 0)
		return 2;
	printf("%c %d\n", ((char *)mps_shm_data(again))[99], (int)mps_shm_size(again));
	mps_shm_close(again);
	return -mps_shm_unlink("$name");
}
X
prints "x 1048576" mps_shm
build mps_track.3 <<X
$headers
static int listen_at(const char *path)
{
	FILE *f = fopen(path, "we");

	return f == NULL ? -errno : fclose(f);
}
int main(void)
{
	int r = shared_memory(1) == NULL;
@
	printf("%d %d\n", r, access("$T/work.sock", F_OK));
	fflush(stdout);
	return r < 0 ? 1 : raise(SIGKILL);
}
X
expect 137 "$T/bin/mps_track"
[ "$(cat "$T/out")" = "0 0" ] || fail "mps_track prints: $(cat "$T/out")"
must [ ! -e "$T/work.sock" ]

say "pieces: pools"
build mps_future.3 <<X
$headers
static int square(struct mps_args *task)
{
	int v = *(const int *)mps_args_bytes(task, 0, NULL);

	v *= v;
	return mps_args_reply(task, &v, sizeof(v));
}
MPS_TARGET(square);
int main(int argc, char **argv)
{
	int v[] = { 1, 2, 3 };
	struct mps_item items[] = { { &v[0], sizeof(int) }, { &v[1], sizeof(int) }, { &v[2], sizeof(int) } };
	struct mps_pool *pool;
	size_t n = 3;

	if (mps_init(&argc, &argv) < 0 || shared_memory(1) == NULL || mps_pool_new(NULL, &pool) < 0)
		return 2;
@
	mps_pool_free(pool);
	return 0;
}
X
prints $'1\n4\n9' mps_future
build mps_imap.3 <<X
$headers
@1
static int parse(struct mps_args *task)
{
	size_t n;
	const void *p = mps_args_bytes(task, 0, &n);

	return mps_args_reply(task, p, n);
}
MPS_TARGET(parse);
int main(int argc, char **argv)
{
	struct mps_result result;
	struct mps_pool *pool;
	struct mps_imap *im;

	if (mps_init(&argc, &argv) < 0 || shared_memory(1) == NULL || mps_pool_new(NULL, &pool) < 0)
		return 2;
@2
	mps_pool_free(pool);
	return 0;
}
X
expect 0 "$T/bin/mps_imap" <"$here/LICENSE"
cmp -s "$T/out" "$here/LICENSE" || fail "mps_imap prints: $(cat "$T/out")"

say "pieces: managers"
build mps_manager.3 <<<@
expect 0 "$T/bin/mps_manager"
contains "$T/out" '^unix:/.* has 1$' || fail "mps_manager prints: $(cat "$T/out")"
build mps_pack.3 <<<@
prints "Ada 36" mps_pack
build mps_object.3 <<X
@
#include <stdio.h>
static int body(int argc, char **argv)
{
	struct mps_manager *m;
	struct mps_object *words;
	void *args, *value;
	size_t n;
	int64_t times = 0;

	if (mps_manager_start(NULL, &m) < 0 ||
	    mps_object_create(m, "dict", NULL, 0, NULL, 0, &words, MPS_SECOND) < 0 || count(words, "a") < 0 || count(words, "a") < 0)
		return 1;
	if (mps_pack(&args, &n, "[s]", "a") < 0 || mps_object_call(words, "get", args, n, &value, &n, MPS_SECOND) < 0)
		return 2;
	if (mps_unpack(value, n, "i", &times) < 0)
		return 3;
	printf("%d times\n", (int)times);
	free(args);
	free(value);
	mps_object_close(words);
	mps_manager_close(m);
	return 0;
}
int main(int argc, char **argv)
{
	return mps_main(argc, argv, body);
}
X
prints "2 times" mps_object

say "no page is left out"
for page in "$here"/man/mps_*.3; do
  case "$done_with " in *" ${page##*/} "*) ;; *) fail "${page##*/} is not tried" ;; esac
done
