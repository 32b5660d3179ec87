"""A barrier holds tasks until a given number of them has arrived, then lets all of them go on.

Here three workers of different speed compute in phases: none begins one before all are ready.
"""

import asyncio

import pyasync

WORKERS = 3
PHASES = 3


async def work(number: int, barrier: asyncio.Barrier, log: list[int]) -> None:
    for phase in range(PHASES):
        await asyncio.sleep(0.02 * number)  # the higher the number, the slower
        log.append(phase)
        # wait() gives each task another place, 0 to WORKERS - 1: a way to choose one of them.
        place = await barrier.wait()
        if place == 0:
            print(f"phase {phase}: all {barrier.parties} have arrived")


async def main() -> None:
    barrier = asyncio.Barrier(WORKERS)
    log: list[int] = []
    async with asyncio.TaskGroup() as group:
        for number in range(WORKERS):
            group.create_task(work(number, barrier, log))
    print("order of the phases:", log)

    # Who gives up breaks the barrier for all: nobody waits for ever for one who never comes.
    waiting = asyncio.create_task(barrier.wait())
    await asyncio.sleep(0.01)
    print("waiting at the barrier:", barrier.n_waiting)
    await barrier.abort()
    try:
        await waiting
    except asyncio.BrokenBarrierError:
        print("broken:", barrier.broken)
    await barrier.reset()
    print("usable again:", not barrier.broken)


if __name__ == "__main__":
    pyasync.run(main())
