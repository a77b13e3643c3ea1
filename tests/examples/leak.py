#!/usr/bin/env python3
# Makes shared memory, locks and queues, and is killed, and Python's own resource tracker with it.
import multiprocessing
import os
import signal
from multiprocessing import resource_tracker, shared_memory

multiprocessing.set_start_method("spawn")
held = [(shared_memory.SharedMemory(create=True, size=1000), multiprocessing.Lock(), multiprocessing.Queue()) for _ in range(3)]
for pid in resource_tracker._resource_tracker._pid, os.getpid():
    os.kill(pid, signal.SIGKILL)
