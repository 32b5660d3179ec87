"""Tasks and threads share work through queues, not through variables that all of them change."""

import asyncio
import threading

import pyasync

Result = tuple[str, int, int]  # who computed it, the number, its square


async def square(name: str, jobs: asyncio.Queue[int], results: asyncio.Queue[Result]) -> None:
    while True:
        number = await jobs.get()  # waits while the queue is empty
        await asyncio.sleep(0.01)  # the work
        results.put_nowait((name, number, number**2))
        jobs.task_done()


async def shared_by_tasks() -> None:
    """Three workers take from one queue; every job goes to exactly one of them."""
    jobs: asyncio.Queue[int] = asyncio.Queue()
    results: asyncio.Queue[Result] = asyncio.Queue()
    for number in range(1, 10):
        jobs.put_nowait(number)
    workers = [asyncio.create_task(square(name, jobs, results)) for name in ("A", "B", "C")]
    await jobs.join()  # until task_done() has been called for every job
    for worker in workers:
        worker.cancel()

    done = [results.get_nowait() for _ in range(results.qsize())]
    print("squares:", sorted(result for _, _, result in done))
    print("workers that took part:", sorted({name for name, _, _ in done}))


async def in_another_order() -> None:
    """The same methods, another order: the smallest first, or the newest first."""
    queues: list[asyncio.Queue[int]] = [asyncio.PriorityQueue(), asyncio.LifoQueue()]
    for queue in queues:
        for item in (3, 1, 2):
            queue.put_nowait(item)
        print(type(queue).__name__ + ":", [await queue.get() for _ in range(3)])


async def filled_by_a_thread() -> None:
    """A thread must not touch the queue itself: it asks the loop to, and the loop wakes up."""
    loop = asyncio.get_running_loop()
    lines: asyncio.Queue[str] = asyncio.Queue()

    def blocking_reader() -> None:
        for line in ("first", "second", "third"):
            loop.call_soon_threadsafe(lines.put_nowait, line)

    thread = threading.Thread(target=blocking_reader)
    thread.start()
    print("from a thread:", [await lines.get() for _ in range(3)])
    thread.join()


async def main() -> None:
    await shared_by_tasks()
    await in_another_order()
    await filled_by_a_thread()


if __name__ == "__main__":
    pyasync.run(main())
