# What Python's multiprocessing makes and removes: one segment, the semaphore of a lock, and the three of a queue.
from multiprocessing import get_context
from multiprocessing.shared_memory import SharedMemory

memory = SharedMemory(create=True, size=100)
lock = get_context("fork").Lock()
queue = get_context("spawn").Queue()
memory.close()
memory.unlink()
