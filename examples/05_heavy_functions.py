"""Functions that compute for long would hold up the loop: run them in processes instead.

On Python 3.14 and newer also in interpreters: separate Pythons in threads of this process.
"""

import asyncio
import concurrent.futures
import multiprocessing
import os
import sys
import time

import pyasync
from pyasync import flow


def count_primes(below: int) -> tuple[int, int]:
    """Count primes the slow way; return the number and the process that counted."""
    primes = sum(all(n % d for d in range(2, int(n**0.5) + 1)) for n in range(2, below))
    return primes, os.getpid()


async def longest_gap(gaps: list[float]) -> None:
    """Measure how late the loop comes back to a task that wants to run every 5 ms."""
    while True:
        begin = time.perf_counter()
        await asyncio.sleep(0.005)
        gaps.append(time.perf_counter() - begin)


async def main() -> None:
    limits = [80_000, 10_000, 50_000, 1_000]
    gaps: list[float] = []
    watcher = asyncio.create_task(longest_gap(gaps))
    await asyncio.sleep(0.05)

    # Called directly, the loop can do nothing else until the function returns.
    primes, _ = count_primes(limits[0])
    await asyncio.sleep(0.01)
    print(f"on the loop: {primes} primes, the loop stood still for {max(gaps):.2f} s")

    # In a process pool it goes on. "spawn" starts fresh processes, and each of them imports this
    # file: the guard in its last lines keeps them from running main(), too.
    loop = asyncio.get_running_loop()
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=spawn) as pool:
        await loop.run_in_executor(pool, count_primes, 10)  # starts the processes
        ticks = len(gaps)
        calls = [loop.run_in_executor(pool, count_primes, limit) for limit in limits]
        results = await asyncio.gather(*calls)
        print("process pool:", [primes for primes, _ in results])
        print("  in other processes:", os.getpid() not in {pid for _, pid in results})
        print("  meanwhile the loop came round", len(gaps) - ticks, "times")

    # flow.map opens the pool by itself, keeps the order, and bounds how many run.
    results = await flow.map(count_primes, limits, limit=2, executor="processes")
    print("flow.map in processes:", [primes for primes, _ in results])

    # Interpreters need no process: each has its own lock (GIL), so they compute in parallel.
    if sys.version_info >= (3, 14):
        results = await flow.map(count_primes, limits, limit=2, executor="interpreters")
        print("flow.map in interpreters:", [primes for primes, _ in results])
        print("  in this process:", {pid for _, pid in results} == {os.getpid()})
    else:
        print("interpreters: left out, they need Python 3.14 or newer")
    watcher.cancel()


if __name__ == "__main__":
    pyasync.run(main())
