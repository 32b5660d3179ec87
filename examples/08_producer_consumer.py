"""Producers and consumers at different speeds, with a bounded queue between them.

A full queue makes producers wait (backpressure), so memory stays bounded whoever is faster.
"""

import asyncio

import pyasync
from pyasync import flow


async def produce(name: str, queue: asyncio.Queue[str], count: int) -> None:
    for number in range(count):
        await queue.put(f"{name}{number}")  # waits while the queue is full


async def consume(queue: asyncio.Queue[str], eaten: list[str], lengths: list[int]) -> None:
    while True:
        lengths.append(queue.qsize())
        item = await queue.get()
        await asyncio.sleep(0.002)  # slower than the producers
        eaten.append(item)
        queue.task_done()


async def with_a_queue() -> None:
    queue: asyncio.Queue[str] = asyncio.Queue(maxsize=5)
    eaten: list[str] = []
    lengths: list[int] = []
    consumers = [asyncio.create_task(consume(queue, eaten, lengths)) for _ in range(2)]
    async with asyncio.TaskGroup() as producers:
        producers.create_task(produce("a", queue, 50))
        producers.create_task(produce("b", queue, 50))
    await queue.join()  # all is produced: wait until all is consumed, too
    for consumer in consumers:
        consumer.cancel()
    await asyncio.gather(*consumers, return_exceptions=True)
    print(f"queue: {len(eaten)} items, never more than {max(lengths)} waiting")
    print("queue: none lost, none twice:", len(set(eaten)) == 100)


async def with_a_channel() -> None:
    # A channel is a queue that can be closed: consumers just end, nobody has to cancel them.
    channel: flow.Channel[int] = flow.Channel(maxsize=5)

    async def add_up() -> int:
        total = 0
        async for number in channel:  # ends when the channel is closed and empty
            total += number
        return total

    async with asyncio.TaskGroup() as group:
        sums = [group.create_task(add_up()) for _ in range(3)]
        for number in range(1, 101):
            await channel.put(number)
        channel.close()
    print("channel: the sum of 1 to 100 is", sum(each.result() for each in sums))


async def main() -> None:
    await with_a_queue()
    await with_a_channel()


if __name__ == "__main__":
    pyasync.run(main())
