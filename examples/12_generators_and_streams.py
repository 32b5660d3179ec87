"""Async generators yield items that they had to wait for; streams carry bytes over sockets.

Both are pulled: nothing is made or read before the consumer asks, so memory stays bounded.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from contextlib import aclosing

import pyasync
from pyasync import flow


async def countdown(start: int) -> AsyncGenerator[int, None]:
    try:
        for number in range(start, 0, -1):
            await asyncio.sleep(0.001)
            yield number
    finally:
        print("countdown: cleaned up")  # also when the consumer leaves early


async def even(numbers: AsyncIterable[int]) -> AsyncIterator[int]:
    """A step of a pipeline: takes a stream and gives a stream."""
    async for number in numbers:
        if number % 2 == 0:
            yield number


async def generators() -> None:
    print("squares:", [number**2 async for number in even(countdown(6))])

    # Leaving early: aclosing() makes sure that the generator's cleanup runs here and now.
    async with aclosing(countdown(1_000_000)) as numbers:
        async for number in numbers:
            if number % 7 == 0:
                print("first multiple of 7 from above:", number)
                break

    # pyasync.flow has the usual steps ready-made.
    batches = [batch async for batch in flow.batched(flow.merge(range(3), range(4)), 5)]
    print("batches of", [len(batch) for batch in batches])


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer every line with the line in capitals, until the client has sent its last one."""
    async for line in reader:
        writer.write(line.upper())
        await writer.drain()  # waits while the client reads too slowly
    writer.close()
    await writer.wait_closed()


async def streams() -> None:
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.writelines([b"to be\n", b"or not\n", b"to be\n"])
        writer.write_eof()  # the last line is sent; reading goes on
        print("answers:", [line.decode().strip() async for line in reader])
        writer.close()
        await writer.wait_closed()


async def main() -> None:
    await generators()
    await streams()


if __name__ == "__main__":
    pyasync.run(main())
