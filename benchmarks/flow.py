"""Cost of `pyasync.flow.map`, beside gather over a Semaphore, aiometer and aiostream.

    python -m benchmarks.flow [--loop asyncio|pyasync] [--items N] [--rounds N] [--endless SECONDS]

Each round runs every contender once, in turn, over the same items with a worker of one `sleep(0)`
and the same limit; the table gives the median time, the ratio to `flow.map` in the same round
(median, least, most), and every contender's results are checked. Peers that are not installed are
named and left out. Then the peak of traced memory for two numbers of items, and, with --endless,
an endless input that runs that long while memory is sampled.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import importlib.util
import itertools
import resource
import statistics
import time
import tracemalloc

from pyasync import flow

LIMIT = 100


async def worker(item):
    await asyncio.sleep(0)
    return item


async def by_flow(count):
    return await flow.map(worker, range(count), limit=LIMIT)


async def by_flow_iterated(count):
    async with flow.map(worker, range(count), limit=LIMIT) as found:
        return [item async for item in found]


async def by_gather(count):
    semaphore = asyncio.Semaphore(LIMIT)

    async def bounded(item):
        async with semaphore:
            return await worker(item)

    return await asyncio.gather(*[bounded(item) for item in range(count)])


async def by_aiometer(count):
    import aiometer

    async with aiometer.amap(worker, range(count), max_at_once=LIMIT) as found:
        return sorted([item async for item in found])  # they come as completed


async def by_aiostream(count):
    from aiostream import stream

    return await stream.list(stream.map(stream.iterate(range(count)), worker, task_limit=LIMIT))


CONTENDERS = {
    "flow.map": by_flow,
    "flow.map, iterated": by_flow_iterated,
    "gather over Semaphore": by_gather,
    "aiometer.amap": by_aiometer,
    "aiostream stream.map": by_aiostream,
}
NEEDS = {"aiometer.amap": "aiometer", "aiostream stream.map": "aiostream"}


def installed():
    """The contenders that can run here; names the others."""
    found = {}
    for name, contender in CONTENDERS.items():
        if name in NEEDS and importlib.util.find_spec(NEEDS[name]) is None:
            print(f"{name}: {NEEDS[name]} is not installed, left out")
        else:
            found[name] = contender
    return found


def timed(loop, contender, count):
    """Seconds that one contender takes for `count` items."""
    gc.collect()
    start = time.perf_counter()
    result = loop.run_until_complete(contender(count))
    seconds = time.perf_counter() - start
    assert result == list(range(count)), contender
    return seconds


def compare(loop, count, rounds):
    """Print the times and ratios of all contenders."""
    contenders = installed()
    times = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, contender in contenders.items():
            times[name].append(timed(loop, contender, count))
    print(f"{count} items, limit {LIMIT}, worker of one sleep(0), {rounds} rounds")
    print(f"{'':24}{'seconds':>9}{'us/item':>9}   flow.map takes this part of its time")
    for name, seconds in times.items():
        ratios = [ours / theirs for ours, theirs in zip(times["flow.map"], seconds, strict=True)]
        median = statistics.median(seconds)
        print(
            f"{name:24}{median:9.3f}{median / count * 1e6:9.2f}"
            f"   {statistics.median(ratios):.2f}  ({min(ratios):.2f} to {max(ratios):.2f})"
        )


async def run_each(count):
    await flow.each(worker, iter(range(count)), limit=LIMIT)


async def iterate(count):
    async with flow.map(worker, iter(range(count)), limit=LIMIT) as found:
        async for _ in found:
            pass


def memory(loop, count):
    """Print the peak of traced memory for a tenth of the items and for all of them."""
    for name, run in (("flow.each", run_each), ("flow.map, iterated", iterate)):
        peaks = []
        for items in (count // 10, count):
            gc.collect()
            tracemalloc.start()
            loop.run_until_complete(run(items))
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        print(
            f"{name}: peak {peaks[0] / 1024:.0f} KiB for {count // 10} items, "
            f"{peaks[1] / 1024:.0f} KiB for {count}"
        )


async def endless(seconds):
    """Iterate over an endless input and print what memory does."""
    start = time.perf_counter()
    report = start + seconds / 10
    async with flow.map(worker, itertools.count(), limit=LIMIT) as found:
        async for item in found:
            if item % 1000 == 0 and (now := time.perf_counter()) >= report:
                report += seconds / 10
                traced = tracemalloc.get_traced_memory()[0] / 1024
                largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
                print(
                    f"{now - start:6.1f} s {item:>10} items, traced {traced:7.1f} KiB, "
                    f"largest resident set {largest:.1f} MiB"
                )
                if now - start >= seconds:
                    return


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--loop", choices=["asyncio", "pyasync"], default="asyncio")
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--endless", type=float, default=0, metavar="SECONDS")
    options = parser.parse_args()
    if options.loop == "pyasync":
        import pyasync

        loop = pyasync.new_event_loop()
    else:
        loop = asyncio.new_event_loop()
    try:
        compare(loop, options.items, options.rounds)
        memory(loop, options.items)
        if options.endless:
            tracemalloc.start()
            loop.run_until_complete(endless(options.endless))
            tracemalloc.stop()
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


if __name__ == "__main__":
    main()
