"""The parts of the floors of executors and processes: threads and children without a loop.

- round_trip: a call goes to the only thread of an executor and its end wakes the thread that waits
  for it, each call by itself: concurrent.futures' own Python, an eventfd, epoll.
- posix_spawn, popen: the row's child is started by posix_spawn(3) or by the subprocess module, and
  waited for by waitpid(2) with nothing besides, on the wall as the row is.
"""

import argparse
import os
import select
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial

from benchmarks.cold_rows import CHILD
from benchmarks.processes import Failed

ROUND_TRIPS = 500
BATCHES = 50
SPAWNS = 10


def measure_round_trip() -> float:
    """CPU ns, of all threads, per call in an executor whose end is waited for by epoll."""
    woken = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def wake(future: Future[int]) -> None:
        os.eventfd_write(woken, 1)

    with ExitStack() as stack:
        stack.callback(os.close, woken)
        executor = stack.enter_context(ThreadPoolExecutor(1))
        poll = stack.enter_context(select.epoll())
        # Told of every write by itself, so that nothing has to be read.
        poll.register(woken, select.EPOLLIN | select.EPOLLET)
        executor.submit(int).result()  # starts the thread
        start = time.process_time_ns()
        for _ in range(ROUND_TRIPS):
            future = executor.submit(int)
            future.add_done_callback(wake)
            poll.poll()
            if not future.done():
                raise Failed("woken before the call in the executor had ended")
        used = time.process_time_ns() - start
    return used / ROUND_TRIPS


def posix_spawn() -> int:
    """Starts a child and waits for it; its exit code."""
    _, status = os.waitpid(os.posix_spawnp(CHILD, [CHILD], os.environ), 0)
    return os.waitstatus_to_exitcode(status)


def popen() -> int:
    """The same by the subprocess module."""
    return subprocess.Popen([CHILD]).wait()


def measure_children(run: Callable[[], int]) -> float:
    """ns on the wall per child, from its start to its end."""
    start = time.perf_counter_ns()
    for _ in range(SPAWNS):
        if code := run():
            raise Failed(f"{CHILD} ended with code {code}")
    return (time.perf_counter_ns() - start) / SPAWNS


COLD_PARTS: dict[str, Callable[[argparse.Namespace], Callable[[], float]]] = {
    "round_trip": lambda options: measure_round_trip,
    "posix_spawn": lambda options: partial(measure_children, posix_spawn),
    "popen": lambda options: partial(measure_children, popen),
}
