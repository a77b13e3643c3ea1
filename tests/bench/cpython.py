#!/usr/bin/env python3
"""CPython's multiprocessing, in the rows of the library's programs of this folder, with what they do: the same sizes, the
same processors. cpython.py [-p PART] [-m MIB] process|lock|queue|connection|memory|pool|manager"""
import argparse
import multiprocessing as mp
import multiprocessing.heap
import multiprocessing.shared_memory
import os
import random
import time

NAME = "CPython"
fork = mp.get_context("fork")


def say(row, unit, value, name=NAME):
    print(f"{row}\t{name}\t{unit}\t{value:.9g}", flush=True)


def now():
    return time.monotonic_ns()


def part_of(n):
    return max(int(n * args.p), 1)


def median(values):
    return sorted(values)[len(values) // 2]


def stay_on(cpu):
    if cpu is not None:
        os.sched_setaffinity(0, {cpu})


# -------------------------------------------------------------------------------------------------- process
def end():
    pass


def process():
    memory = bytearray(args.m << 20)
    memory[::4096] = b"x" * len(memory[::4096])
    for method in ("fork", "forkserver", "spawn"):
        context = mp.get_context(method)
        times = []
        for _ in range(part_of(20 if method == "spawn" else 40) + 2):
            t = now()
            p = context.Process(target=end)
            p.start()
            p.join()
            times.append((now() - t) / 1e3)
        say(f"{method} and join, {args.m} MiB touched", "us", median(times[2:]))


# ----------------------------------------------------------------------------------------------------- lock
def contend(lock, ready, stop, total):
    n = 0
    ready.release()
    while not stop.value:
        with lock:
            n += 1
    with total.get_lock():
        total.value += n


def lock():
    for name, one in (("", fork.Lock()), (" RLock", fork.RLock())):
        times = []
        for _ in range(part_of(60)):
            t = now()
            for _ in range(20000):
                one.acquire()
                one.release()
            times.append((now() - t) / 20000)
        say("lock and unlock, alone", "ns", median(times), NAME + name)
        for processes in (2, 4):
            ready, stop, total = fork.Semaphore(0), fork.RawValue("b", 0), fork.Value("q", 0)
            them = [fork.Process(target=contend, args=(one, ready, stop, total)) for _ in range(processes)]
            for p in them:
                p.start()
            for p in them:
                ready.acquire()
            t = now()
            time.sleep(0.1)
            stop.value = 1
            t = now() - t
            for p in them:
                p.join()
            say(f"lock, {processes} processes", "M/s", total.value * 1e3 / t, NAME + name)


# ---------------------------------------------------------------------------------------------------- queue
def put(queue, item, n, cpu):
    stay_on(cpu)
    for _ in range(n):
        queue.put(item)


def get(queue, n, cpu, ready):
    stay_on(cpu)
    ready.release()
    for _ in range(n):
        queue.get()


def answer(there, back, n, cpu):
    stay_on(cpu)
    for _ in range(n):
        back.put(there.get())


def queue():
    for name, make in (("", fork.Queue), (" SimpleQueue", fork.SimpleQueue)):
        for row, size, n, pairs, cpus in (
                ("64 B, 1 to 1", 64, 40000, 1, (0, 1)), ("64 B, one core", 64, 40000, 1, (0, 0)),
                ("64 B, 4 to 4", 64, 40000, 4, (None, None)), ("4 KiB, 1 to 1", 4096, 20000, 1, (0, 1)),
                ("1 MiB, 1 to 1", 1 << 20, 200, 1, (0, 1))):
            q, n, ready = make(), part_of(n), fork.Semaphore(0)
            takers = [fork.Process(target=get, args=(q, n // pairs, cpus[1], ready)) for _ in range(pairs)]
            givers = [fork.Process(target=put, args=(q, b"x" * size, n // pairs, cpus[0])) for _ in range(pairs)]
            for p in takers:
                p.start()
            for _ in takers:
                ready.acquire()
            t = now()
            for p in givers:
                p.start()
            for p in takers:
                p.join()
            say("queue, " + row, "M/s", n // pairs * pairs * 1e3 / (now() - t), NAME + name)
            for p in givers:
                p.join()
        for row, cpus in (("spin", (None, None)), ("two cores", (0, 1)), ("one core", (0, 0))):
            there, back, n = make(), make(), part_of(5000)
            p = fork.Process(target=answer, args=(there, back, n + 1, cpus[1]))
            p.start()
            old = os.sched_getaffinity(0)
            stay_on(cpus[0])
            there.put(b"12345678")
            back.get()
            t = now()
            for _ in range(n):
                there.put(b"12345678")
                back.get()
            say("queue, round trip, " + row, "us", (now() - t) / n / 1e3, NAME + name)
            os.sched_setaffinity(0, old)
            p.join()


# ----------------------------------------------------------------------------------------------- connection
def echo(source, to, n, back, cpu):
    stay_on(cpu)
    for i in range(n):
        message = source.recv_bytes()
        if back or i == n - 1:
            to.send_bytes(message if back else b"1")


def connection():
    for row, size, n, duplex, back, cpu in (
            ("round trip 64 B, pipes, one core", 64, 5000, False, True, 0),
            ("round trip 64 B, pipes, two cores", 64, 2000, False, True, 1),
            ("round trip 64 B, socket, one core", 64, 5000, True, True, 0),
            ("round trip 4 KiB, pipes, one core", 4096, 5000, False, True, 0),
            ("stream 64 B, pipe, one core", 64, 50000, False, False, 0),
            ("stream 64 B, pipe, two cores", 64, 50000, False, False, 1),
            ("stream 64 B, socket, one core", 64, 50000, True, False, 0),
            ("stream 64 B, socket, two cores", 64, 50000, True, False, 1),
            ("stream 4 KiB, pipe, one core", 4096, 20000, False, False, 0),
            ("stream 4 KiB, socket, one core", 4096, 20000, True, False, 0),
            ("stream 1 MiB, pipe, one core", 1 << 20, 100, False, False, 0),
            ("stream 1 MiB, socket, one core", 1 << 20, 200, True, False, 0),
            ("stream 1 MiB, socket, two cores", 1 << 20, 200, True, False, 1)):
        stay_on(0)
        n = part_of(n) + 1
        if duplex:
            ours, theirs = fork.Pipe()
            source, to, their_source, their_to = ours, ours, theirs, theirs
        else:
            their_source, to = fork.Pipe(False)
            source, their_to = fork.Pipe(False)
        p = fork.Process(target=echo, args=(their_source, their_to, n, back, cpu))
        p.start()
        message = b"x" * size
        t = now()
        for _ in range(n):
            to.send_bytes(message)
            if back:
                source.recv_bytes()
        if not back:
            source.recv_bytes()
        say(row, "us", (now() - t) / n / 1e3)
        p.join()


# --------------------------------------------------------------------------------------------------- memory
def memory():
    times = []
    for _ in range(part_of(500)):
        t = now()
        shm = mp.shared_memory.SharedMemory(create=True, size=65536)
        shm.buf[::4096] = bytes(16)  # so that the memory is there, as with the others
        shm.close()
        shm.unlink()
        times.append((now() - t) / 1e3)
    say("segment of 64 KiB, a name", "us", median(times))
    heap, held, n = mp.heap.Heap(), [None] * 64, part_of(20000)
    t = now()
    for _ in range(n):
        k = random.randrange(64)
        if held[k] is not None:
            heap.free(held[k])
        held[k] = heap.malloc(16 + random.randrange(1000))
    say("arena: block, taken and freed", "ns", (now() - t) / n)
    value, n = fork.Value("q", 0), part_of(100000)
    t = now()
    for _ in range(n):
        with value.get_lock():
            value.value += 1
    say("value: an addition", "ns", (now() - t) / n)


# ----------------------------------------------------------------------------------------------------- pool
def add_one(x):
    return x + 1


def pool():
    few, many = range(part_of(20000)), range(part_of(400000))
    for row, of, run in (
            ("imap, a task alone", few, lambda p, x: p.imap(add_one, x)),
            ("imap unordered, a task alone", few, lambda p, x: p.imap_unordered(add_one, x)),
            ("map, a task alone", few, lambda p, x: p.map(add_one, x, 1)),
            ("imap, 100 at a time", many, lambda p, x: p.imap(add_one, x, 100)),
            ("map, 100 at a time", many, lambda p, x: p.map(add_one, x, 100)),
            ("map, as many as it likes", many, lambda p, x: p.map(add_one, x)),
            ("apply, one task and its result", range(part_of(3000)), lambda p, x: (p.apply(add_one, (i,)) for i in x))):
        with fork.Pool(2) as p:
            p.map(add_one, [1, 2])
            t = now()
            assert sum(run(p, of)) == sum(of) + len(of)
            say(row, "us", (now() - t) / len(of) / 1e3)


# -------------------------------------------------------------------------------------------------- manager
def look(d, ready, go, n):
    d.get("key45678")
    ready.release()
    go.wait()
    for _ in range(n):
        d.get("key45678")


def add(value, lock, ready, go, n):
    with lock:
        value.value += 1
    ready.release()
    go.wait()
    for _ in range(n):
        with lock:
            value.value += 1


def give(q, ready, go, n):
    q.put(7)
    ready.release()
    go.wait()
    for _ in range(n):
        q.put(7)


def take(q, ready, go, n):
    q.get()
    ready.release()
    go.wait()
    for _ in range(n):
        q.get()


def together(calls, n):
    """So many calls of each, all at once."""
    ready, go = fork.Semaphore(0), fork.Event()
    them = [fork.Process(target=target, args=(*a, ready, go, n)) for target, a in calls]
    for p in them:
        p.start()
    for p in them:
        ready.acquire()
    t = now()
    go.set()
    for p in them:
        p.join()
    return (now() - t) / 1e6


def manager():
    n = part_of(6000)
    with fork.Manager() as m:
        d = m.dict({"key45678": 123456})
        say("dict get, 1 client", "k/s", n / together([(look, (d,))], n))
        say("dict get, 8 clients", "k/s", 8 * (n // 4) / together([(look, (d,))] * 8, n // 4))
        value, one, q = m.Value("q", 0), m.Lock(), m.Queue()
        say("counter, two processes add", "k/s", 2 * (n // 8) / together([(add, (value, one))] * 2, n // 8))
        say("queue, one puts, one gets", "k/s", n / together([(give, (q,)), (take, (q,))], n))
        t = now()
        for _ in range(n // 2):
            one.acquire()
            one.release()
        say("lock and unlock", "k/s", n // 2 * 1e6 / (now() - t))
        t = now()
        for _ in range(n // 2):
            value.value += 1
        say("counter, by a remote client", "k/s", n // 2 * 1e6 / (now() - t))


if __name__ == "__main__":
    rows = {f.__name__: f for f in (process, lock, queue, connection, memory, pool, manager)}
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("-p", type=float, default=1)
    p.add_argument("-m", type=int, default=4)
    p.add_argument("what", choices=rows)
    args = p.parse_args()
    rows[args.what]()
