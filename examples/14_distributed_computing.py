"""A Dask cluster, with scheduler, workers and client all on pyasync, that loses a worker midway.

Needs distributed (pip install distributed). The scheduler and the client run in this process;
each worker is this file again, started as `python 14_distributed_computing.py worker ADDRESS`.
"""

import asyncio
import logging
import random
import sys
import time

import distributed

import pyasync

WORKERS = 3
PARTS = 48
THROWS = 5_000


def estimate_pi(part: int) -> float:
    """One part of the work: throw darts at a square, count those in the circle."""
    dice = random.Random(part)
    hits = sum(dice.random() ** 2 + dice.random() ** 2 < 1 for _ in range(THROWS))
    return 4 * hits / THROWS


def estimate_slowly(part: int) -> float:
    """The same on a machine that is slow, whatever this one is."""
    time.sleep(0.02)
    return estimate_pi(part)


def mean(numbers: list[float]) -> float:
    return sum(numbers) / len(numbers)


async def work_for(scheduler: str) -> None:
    """What a worker process does: join the cluster, and work until the scheduler says goodbye."""
    async with distributed.Worker(scheduler, nthreads=1, dashboard=False) as worker:
        await worker.finished()


async def loop_of(dask_worker: distributed.Worker) -> str:
    """Runs inside a worker, and tells on which loop it does."""
    loop = asyncio.get_running_loop()
    assert dask_worker.loop.asyncio_loop is loop
    return f"{type(loop).__module__.split('.')[0]}.{type(loop).__name__}"


async def compute(client: distributed.Client, processes: list[asyncio.subprocess.Process]) -> None:
    # Dask notices by itself that tornado, on which it stands, runs on whatever loop is running.
    loops = await client.run(loop_of)
    print("the workers run on", sorted(set(loops.values())), "in", len(loops), "processes")

    # map() sends the parts to the workers, and submit() takes their futures as arguments: the
    # results stay with the workers, and only the mean comes back.
    parts = client.map(estimate_slowly, range(PARTS))
    result = client.submit(mean, parts)

    done = 0
    async for _ in distributed.as_completed(parts):
        done += 1
        if done == PARTS // 4:
            processes[0].kill()  # not asked to leave: gone, with the results it held
            print("killed a worker after", done, "of", PARTS, "parts")
            break

    # What it had computed and what it had not yet is computed again by the others.
    pi = await result
    cluster = await client.scheduler.identity()
    print(f"pi is about {pi:.4f}, computed by the {len(cluster['workers'])} workers left")
    expected = await asyncio.to_thread(lambda: mean([estimate_pi(n) for n in range(PARTS)]))
    print("the same as without the cluster:", pi == expected)


async def main() -> None:
    # Port 0 is any that is free.
    options = {"host": "127.0.0.1", "port": 0, "dashboard_address": "127.0.0.1:0"}
    async with distributed.Scheduler(**options, dashboard=False) as scheduler:
        assert isinstance(scheduler.loop.asyncio_loop, pyasync.Loop)
        processes = [
            await asyncio.create_subprocess_exec(
                sys.executable, __file__, "worker", scheduler.address
            )
            for _ in range(WORKERS)
        ]
        try:
            async with distributed.Client(scheduler.address, asynchronous=True) as client:
                await client.wait_for_workers(WORKERS, timeout=10)
                await compute(client, processes)
                await client.shutdown()  # the workers leave, then the scheduler
        except BaseException:
            for process in processes:
                if process.returncode is None:
                    process.kill()
            raise
        finally:
            statuses = [await process.wait() for process in processes]
            print("exit statuses of the workers:", sorted(statuses))


if __name__ == "__main__":
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # a lost worker is no news here
    if sys.argv[1:2] == ["worker"]:
        pyasync.run(work_for(sys.argv[2]))
    else:
        pyasync.run(main())
