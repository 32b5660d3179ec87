"""A task runs a coroutine in the background, so several of them wait at the same time.

Awaiting coroutines one by one takes the sum of their times; as tasks they take the longest.
"""

import asyncio
import time

import pyasync


async def boil(what: str, seconds: float) -> str:
    await asyncio.sleep(seconds)
    return f"{what} ready"


async def main() -> None:
    begin = time.perf_counter()
    await boil("tea", 0.1)
    await boil("eggs", 0.3)
    await boil("rice", 0.2)
    print(f"one after the other: {time.perf_counter() - begin:.2f} s")

    # A task group starts tasks and waits for all of them at the end of its block.
    begin = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        tea = group.create_task(boil("tea", 0.1), name="tea")
        eggs = group.create_task(boil("eggs", 0.3), name="eggs")
        rice = group.create_task(boil("rice", 0.2), name="rice")
        print("started, none is done yet:", not (tea.done() or eggs.done() or rice.done()))
    print(f"as tasks: {time.perf_counter() - begin:.2f} s")
    print(tea.result(), "/", eggs.result(), "/", rice.result())

    # When one task fails, the group cancels the others, waits for them, and raises.
    async def burn() -> None:
        await asyncio.sleep(0.05)
        raise RuntimeError("the pan is on fire")

    try:
        async with asyncio.TaskGroup() as group:
            slow = group.create_task(boil("soup", 60))
            group.create_task(burn())
    except* RuntimeError as errors:
        print("failed:", errors.exceptions[0])
    print("soup was cancelled:", slow.cancelled())


if __name__ == "__main__":
    pyasync.run(main())
