/*
 * A manager's clients, local and remote, are killed at moments that nobody chooses, and so is the server, again and again. No call
 * takes longer than its limit, or ends in a way that is not told of; while the server lives a counter has what was added,
 * a queue loses at most what a killed client had in its hands, and gives nothing twice, a lock has one holder, and when all are
 * gone nothing is held. Nothing is left behind.
 * STRESS_KILLS=1000 (clients), STRESS_SERVERS=200, STRESS_SEED.
 *
 * manager threads: threads of one process on one connection, for ThreadSanitizer; part of the whole.
 */
#include <dirent.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "base/mtime.h"
#include "mpsup.h"
#include "stress.h"

enum { CLIENTS = 6, ITEMS = 1 << 22, THREADS = 6, ROUNDS = 2000 };
/* A call that takes longer was held up by the dead. */
#define PATIENCE (10 * MPS_SECOND)

struct account {
	_Atomic int64_t begun, done; /* additions */
	_Atomic uint8_t state[CLIENTS][ITEMS];
	_Atomic uint32_t next[CLIENTS];
	_Atomic int holder;
	_Atomic uint64_t calls, reconnects;
	_Atomic bool ends;
};
enum { PUT = 1, GOT = 2 };

static struct account *a;
static char folder[32], address[64];

/* ---------------------------------------------------------------------------------------------- the server */

static pid_t server_start(void)
{
	struct mps_manager_options o = { .address = address };
	char line[256];
	const char *why = "";
	int ready[2];
	pid_t pid;

	if (pipe(ready) < 0)
		fail("pipe: %s", strerror(errno));
	pid = fork_own();
	if (pid == 0) {
		close(ready[0]);
		if (mps_manager_serve(&o, ready[1], &why) < 0)
			fail("server: %s", why);
		_exit(0);
	}
	close(ready[1]);
	if (read(ready[0], line, sizeof(line)) <= 0)
		fail("the server has not come");
	close(ready[0]);
	return pid;
}

static void end_of(pid_t pid, int expected)
{
	int status;

	if (waitpid(pid, &status, 0) != pid)
		fail("waitpid: %s", strerror(errno));
	if (WIFSIGNALED(status) ? WTERMSIG(status) != SIGKILL : WEXITSTATUS(status) != expected)
		fail("a process has ended with %x", status);
}

/* ---------------------------------------------------------------------------------------------- one client */

static struct mps_manager *m;
static struct mps_object *lock, *counter, *queue, *semaphore;
static bool may_die; /* the server */

static void connect_client(bool remote)
{
	struct mps_manager_options o = { .remote = remote, .reconnect = true };
	int64_t until = mps_now().ns + PATIENCE;
	int r;

	/* That it is not there at first is no wait of ours. */
	while ((r = mps_manager_connect(address, &o, &m, PATIENCE)) < 0) {
		if (!may_die || mps_now().ns > until)
			fail("connect: %s", strerror(-r));
		pause_us(1000);
	}
}

/* True: done; false: the server has died, or is another one. Nothing else may be. */
static bool good(const char *what, int r)
{
	atomic_fetch_add(&a->calls, 1);
	if (r >= 0)
		return true;
	if (may_die && (r == -ECONNRESET || r == -ESTALE || r == -EPERM)) {
		atomic_fetch_add(&a->reconnects, 1);
		return false;
	}
	fail("%s: %s", what, strerror(-r));
}

static bool get_object(const char *type, const char *name, const char *args, size_t n,
		       struct mps_object **ret)
{
	struct mps_object *o;

	if (!good(name, mps_object_create(m, type, name, MPS_OBJECT_EXISTING | MPS_OBJECT_KEEP,
					  args, n, &o, PATIENCE)))
		return false;
	mps_object_close(*ret);
	*ret = o;
	return true;
}

static bool get_objects(void)
{
	return get_object("lock", "lock", NULL, 0, &lock) &&
	       get_object("counter", "counter", NULL, 0, &counter) &&
	       get_object("queue", "queue", "\x91\x40", 2, &queue) &&
	       get_object("semaphore", "semaphore", "\x91\x02", 2, &semaphore);
}

static void close_all(void)
{
	mps_object_close(lock);
	mps_object_close(counter);
	mps_object_close(queue);
	mps_object_close(semaphore);
	lock = counter = queue = semaphore = NULL;
	mps_manager_close(m);
}

static bool add(void)
{
	int r;

	atomic_fetch_add(&a->begun, 1);
	r = mps_object_add(counter, 1, NULL);
	if (r == 0)
		atomic_fetch_add(&a->done, 1);
	return good("add", r);
}

/* Who was killed within is known by EOWNERDEAD. */
static bool hold(void)
{
	int r = mps_object_acquire(lock, PATIENCE), other;

	if (!good("acquire", r))
		return false;
	other = atomic_exchange(&a->holder, getpid());
	if (!may_die && other != 0 && r != EOWNERDEAD)
		fail("%d has the lock, and so has %d", other, getpid());
	atomic_store(&a->holder, 0);
	return good("release", mps_object_release(lock));
}

static bool units(void)
{
	return good("acquire a unit", mps_object_acquire(semaphore, PATIENCE)) &&
	       good("release a unit", mps_object_release(semaphore));
}

static bool put(unsigned place)
{
	uint32_t number = atomic_load(&a->next[place]);
	void *p;
	size_t n;
	int r;

	if (number + 1 >= ITEMS)
		return true;
	atomic_store(&a->next[place], number + 1);
	if (mps_pack(&p, &n, "[ii]", (int64_t)place, (int64_t)number) < 0)
		fail("mps_pack");
	r = mps_object_put(queue, p, n, MPS_SECOND / 100);
	free(p);
	if (r == 0)
		atomic_fetch_or(&a->state[place][number], PUT);
	return r == -ETIMEDOUT || good("put", r);
}

static bool get(void)
{
	int64_t place, number;
	void *p;
	size_t n;
	int r = mps_object_get(queue, &p, &n, MPS_SECOND / 100);

	if (r < 0)
		return r == -ETIMEDOUT || good("get", r);
	if (mps_unpack(p, n, "[ii]", &place, &number) < 0 || place >= CLIENTS || number >= ITEMS)
		fail("what was got was not put");
	free(p);
	if ((atomic_fetch_or(&a->state[place][number], GOT) & GOT) != 0)
		fail("item %d of %d was got twice", (int)number, (int)place);
	return good("get", r);
}

static bool do_one(unsigned place)
{
	switch (dice(5)) {
	case 0:
		return add();
	case 1:
		return hold();
	case 2:
		return units();
	case 3:
		return put(place);
	}
	return get();
}

static void client_run(unsigned place)
{
	connect_client(place % 2 != 0);
	while (!atomic_load(&a->ends)) {
		bool fine = get_objects();

		while (fine && !atomic_load(&a->ends))
			fine = do_one(place);
	}
	close_all();
	_exit(0);
}

static pid_t client_start(unsigned place)
{
	uint64_t seed = chance + dice(1 << 30);
	pid_t pid = fork_own();

	if (pid == 0) {
		chance = seed;
		client_run(place);
	}
	return pid;
}

/* ---------------------------------------------------------------------------------------------- invariants */

static int64_t number_of_object(struct mps_object *o, const char *method)
{
	int64_t i;
	void *p;
	size_t n;
	int r = mps_object_call(o, method, NULL, 0, &p, &n, PATIENCE);

	if (r < 0 || mps_unpack(p, n, "i", &i) < 0)
		fail("%s: %s", method, strerror(-r));
	free(p);
	return i;
}

static void check(unsigned kills)
{
	uint64_t lost = 0, items = 0;
	int64_t sum;
	int r;

	connect_client(false);
	get_objects();
	sum = number_of_object(counter, "get");
	if (sum < a->done || sum > a->begun)
		fail("the counter has %ld of %ld to %ld", (long)sum, (long)a->done, (long)a->begun);
	r = mps_object_acquire(lock, PATIENCE);
	if (r < 0 || mps_object_release(lock) < 0)
		fail("the lock is held: %s", strerror(-r));
	if (number_of_object(semaphore, "value") != 2)
		fail("units are missing");
	while (number_of_object(queue, "size") > 0)
		get();
	for (unsigned i = 0; i < CLIENTS; i++)
		for (uint32_t k = 0; k < a->next[i]; k++) {
			items++;
			lost += a->state[i][k] == PUT;
		}
	if (lost > kills)
		fail("%lu items are lost by %u kills", (unsigned long)lost, kills);
	printf("%lu calls, %ld added, %lu items, %lu lost by %u kills\n", (unsigned long)a->calls,
	       (long)sum, (unsigned long)items, (unsigned long)lost, kills);
	close_all();
}

/* ---------------------------------------------------------------------------------------------- kills */

static void kill_one(pid_t clients[CLIENTS])
{
	unsigned place = dice(CLIENTS);

	kill(clients[place], SIGKILL);
	end_of(clients[place], 0);
	clients[place] = client_start(place);
}

static pid_t kill_server(pid_t server)
{
	kill(server, SIGKILL);
	end_of(server, 0);
	return server_start();
}

static void clear(void)
{
	memset(a, 0, sizeof(*a));
}

static void with_kills(unsigned kills, unsigned servers)
{
	pid_t clients[CLIENTS], server;

	clear();
	may_die = servers > 0;
	server = server_start();
	for (unsigned i = 0; i < CLIENTS; i++)
		clients[i] = client_start(i);
	for (unsigned i = 0; i < kills || i < servers; i++) {
		pause_us(dice(20000));
		if (i < servers)
			server = kill_server(server);
		if (i < kills)
			kill_one(clients);
	}
	atomic_store(&a->ends, true);
	for (unsigned i = 0; i < CLIENTS; i++)
		end_of(clients[i], 0);
	if (!may_die)
		check(kills);
	else
		printf("%lu calls, %lu told of a server's death, %u servers killed\n",
		       (unsigned long)a->calls, (unsigned long)a->reconnects, servers);
	kill(server, SIGTERM);
	end_of(server, 0);
	if (waitpid(-1, NULL, WNOHANG) >= 0 || errno != ECHILD)
		fail("there are processes left");
}

/* ---------------------------------------------------------------------------------------------- threads */

static void *thread_run(void *arg)
{
	unsigned place = (unsigned)(uintptr_t)arg;
	uint64_t state = place;

	for (int i = 0; i < ROUNDS; i++)
		switch (dice_of(&state, 5)) {
		case 0:
			add();
			break;
		case 1:
			hold();
			break;
		case 2:
			units();
			break;
		case 3:
			put(place);
			break;
		case 4:
			get();
		}
	return NULL;
}

static void with_threads(bool remote)
{
	pthread_t threads[THREADS];
	pid_t server;

	clear();
	may_die = false;
	server = server_start();
	connect_client(remote);
	get_objects();
	for (uintptr_t i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, thread_run, (void *)i) != 0)
			fail("pthread_create");
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	close_all();
	check(0);
	kill(server, SIGTERM);
	end_of(server, 0);
}

/* ---------------------------------------------------------------------------------------------- the whole */

static unsigned n_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	while (readdir(d) != NULL)
		n++;
	closedir(d);
	return n;
}

int main(int argc, char **argv)
{
	unsigned fds;

	setvbuf(stdout, NULL, _IOLBF, 0);
	take_seed();
	strcpy(folder, "/tmp/mps-stress-XXXXXX");
	if (mkdtemp(folder) == NULL)
		fail("mkdtemp: %s", strerror(errno));
	snprintf(address, sizeof(address), "unix:%s/socket", folder);
	a = mmap(NULL, sizeof(*a), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (a == MAP_FAILED)
		fail("mmap: %s", strerror(errno));
	fds = n_fds();
	with_threads(true);
	with_threads(false);
	if (argc <= 1 || strcmp(argv[1], "threads") != 0) {
		with_kills((unsigned)number_of("STRESS_KILLS", 1000), 0);
		with_kills(100, (unsigned)number_of("STRESS_SERVERS", 200));
	}
	if (n_fds() != fds)
		fail("%u descriptors are left", n_fds() - fds);
	if (rmdir(folder) < 0)
		fail("%s: %s", folder, strerror(errno));
	return 0;
}
