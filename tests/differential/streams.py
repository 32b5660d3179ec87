"""Runs programs of two streams: readers and writers of asyncio's streams API, a task per step.

The operations are the methods of StreamEnd between the two marks below. A task that waits goes on
in a later step; what it then returns is written down there.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

from .clock import Loop
from .link import Link, pattern, run_link, socket_path, socketpair
from .program import Body, Step, Streams


class StreamEnd:
    """One end of the connection: a reader, a writer and the tasks that use them."""

    def __init__(self, link: StreamsLink, name: str) -> None:
        self.link = link
        self.log = link.logs[name]
        self.reader: Any = None
        self.writer: Any = None
        self.tasks: list[Any] = []
        self.written = 0

    def begin(self, body: Body) -> None:
        """Run a body in a task of its own."""
        label = f"t{len(self.tasks) + 1}"
        self.tasks.append(self.link.loop.create_task(self.run(label, body)))

    async def run(self, label: str, body: Body) -> None:
        """Run the operations of a body; the first that raises ends it."""
        for op in body:
            try:
                result = await getattr(self, op.name)(*op.args)
            except asyncio.LimitOverrunError:  # how much was there depends on the chunks
                self.log.add(f"{label} {op.name} raised LimitOverrunError")
                return
            except BaseException as exc:
                self.log.add(f"{label} {op.name} raised {self.log.trace.describe(exc)}")
                if isinstance(exc, asyncio.CancelledError):
                    raise
                return
            if isinstance(result, bytes):
                self.log.add(f"{label} {op.name}: {len(result)} bytes")
                self.log.data(result)
            else:
                self.log.add(f"{label} {op.name} -> {self.log.trace.describe(result)}")

    def next_bytes(self, size: int) -> bytes:
        """What is written next. Nothing to a peer that is gone: a write that fails may be noticed
        in write() or, put together with others, after the next drain()."""
        if any(end.writer.is_closing() for end in self.link.ends.values()):
            return b""
        self.written += size
        return pattern(self.written - size, size)

    # ---- operations

    async def write(self, size: int) -> None:
        self.writer.write(self.next_bytes(size))

    async def writelines(self, sizes: tuple[int, ...]) -> None:
        if sys.version_info >= (3, 12) and self.writer.is_closing():
            return  # see connections.py
        lines = [self.next_bytes(size) for size in sizes]
        self.writer.writelines([line for line in lines if line])

    async def drain(self) -> None:
        await self.writer.drain()

    async def write_eof(self) -> None:
        self.writer.write_eof()

    async def close(self) -> None:
        self.writer.close()

    async def abort(self) -> None:
        if not self.writer.is_closing():  # asyncio's may be gone by then, with an AttributeError
            self.writer.transport.abort()

    async def wait_closed(self) -> None:
        await self.writer.wait_closed()

    async def is_closing(self) -> bool:
        return self.writer.is_closing()

    async def read(self, count: int) -> bytes:
        return await self.reader.read(count)

    async def read_all(self) -> bytes:
        return await self.reader.read()

    async def readexactly(self, count: int) -> bytes:
        return await self.reader.readexactly(count)

    async def readline(self) -> bytes:
        return await self.reader.readline()

    async def readuntil(self, separator: bytes) -> bytes:
        return await self.reader.readuntil(separator)

    async def iterate(self, count: int) -> Any:
        lines = []
        async for line in self.reader:
            lines.append(len(line))
            if len(lines) >= count:
                break
        return lines

    async def at_eof(self) -> bool:
        return self.reader.at_eof()

    async def exception(self) -> Any:
        return self.reader.exception()

    async def cancel(self, index: int) -> Any:
        return self.tasks[index % len(self.tasks)].cancel()

    async def sleep(self) -> None:
        await asyncio.sleep(0)

    # ---- the end of the operations


class StreamsLink(Link):
    """Two ends that are streams."""

    def __init__(self, program: Streams, loop: Loop, trace: Any) -> None:
        super().__init__(program, loop, trace)
        self.ends = {name: StreamEnd(self, name) for name in "ab"}

    async def open(self) -> None:
        a, b = self.ends["a"], self.ends["b"]
        limit = self.program.limit
        if self.program.kind == "pair":
            for end, sock in zip((b, a), socketpair(), strict=True):
                end.reader, end.writer = await asyncio.open_connection(sock=sock, limit=limit)
            return
        accepted = self.loop.create_future()

        def accept(reader: Any, writer: Any) -> None:
            b.reader, b.writer = reader, writer
            accepted.set_result(None)

        if self.program.kind == "tcp":
            server = await asyncio.start_server(accept, "127.0.0.1", 0, limit=limit)
            address = server.sockets[0].getsockname()
            a.reader, a.writer = await asyncio.open_connection(*address, limit=limit)
            await accepted
            server.close()
        else:
            with socket_path() as path:
                server = await asyncio.start_unix_server(accept, path, limit=limit)
                a.reader, a.writer = await asyncio.open_unix_connection(path, limit=limit)
                await accepted
                server.close()

    def step(self, step: Step) -> None:
        self.ends[step.side].begin(step.body)

    def state(self) -> Any:
        return [
            (end.writer.transport.get_write_buffer_size(), len(end.reader._buffer))
            for end in self.ends.values()
        ]

    def summary(self) -> str:
        return str([end.writer.is_closing() for end in self.ends.values()])

    async def close(self) -> None:
        for end in self.ends.values():
            for task in end.tasks:
                task.cancel()
        await self.settle("cancelled")
        for end in self.ends.values():
            await end.abort()
            self.trace.add(f"{end.log.name} at_eof {end.reader.at_eof()}")


def run_streams(program: Streams, factory: Callable[[], Loop]) -> list[str]:
    """Run the program on a loop of the factory; the lines of its trace."""
    return run_link(program, factory, StreamsLink)
