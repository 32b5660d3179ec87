"""Operations that a program does per connection, name, thread or process: rows as in task_rows.py.

`connect` needs a server to connect to: it listens on another core, and its port is in the
environment variable ACCEPTOR_PORT.
"""

import asyncio
import os
import socket
import time

from benchmarks.task_rows import Row

ACCEPTOR_PORT = "BENCH_ACCEPTOR_PORT"
CONNECTING_AT_ONCE = 20
CHILD = "true"  # the program that is started


class Closed(asyncio.Protocol):
    """A client's end of a connection that knows when it is closed."""

    def __init__(self) -> None:
        self.closed = asyncio.get_running_loop().create_future()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed.set_result(None)


async def connect(loop: asyncio.AbstractEventLoop, count: int) -> None:
    """A TCP connection is made and closed again, 20 at a time."""
    port = int(os.environ[ACCEPTOR_PORT])

    async def some() -> None:
        for _ in range(count // CONNECTING_AT_ONCE):
            transport, protocol = await loop.create_connection(Closed, "127.0.0.1", port)
            transport.close()
            await protocol.closed

    await asyncio.gather(*[some() for _ in range(CONNECTING_AT_ONCE)])


async def getaddrinfo_literal(loop: asyncio.AbstractEventLoop, count: int) -> None:
    """The address of an address, as every connect to a literal asks for."""
    for _ in range(count):
        await loop.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)


async def executor_round_trip(loop: asyncio.AbstractEventLoop, count: int) -> None:
    """An empty function runs in the default executor and is awaited."""
    for _ in range(count):
        await loop.run_in_executor(None, int)


async def spawn(loop: asyncio.AbstractEventLoop, count: int) -> None:
    """A process that ends at once is started and waited for."""
    for _ in range(count):
        process = await asyncio.create_subprocess_exec(CHILD)
        await process.wait()


COLD_ROWS = {
    row.run.__name__: row
    for row in (
        Row("connect and close", connect, 20 * CONNECTING_AT_ONCE),
        Row("getaddrinfo of a literal", getaddrinfo_literal, 500),
        Row("run_in_executor round trip", executor_round_trip, 500),
        # Most of it is the kernel's and the child's: the clock on the wall counts that too.
        Row("subprocess, start to end", spawn, 10, time.perf_counter_ns),
    )
}
