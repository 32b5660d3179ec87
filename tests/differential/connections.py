"""Runs programs of two protocols: transports that write, pause, half-close, close and abort.

The operations are the methods of End between the two marks below; each gets no more than its
arguments and returns what is worth comparing.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

from .clock import Loop
from .link import LARGE, Link, pattern, run_link, socket_path, socketpair
from .program import Body, Connection, Op, Reactions, Step

BUFFER_SIZE = 5000
INFO = ["sockname", "peername", "socket", "sslcontext", "nothing"]


class Plain(asyncio.Protocol):
    """A protocol that tells its end everything."""

    def __init__(self, end: End) -> None:
        self.end = end

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.end.name}>"

    def connection_made(self, transport: Any) -> None:
        self.end.transport = transport
        self.end.react("made", "connection_made")

    def data_received(self, data: bytes) -> None:
        if type(data) is not bytes or not data:
            self.end.log.add(f"odd data {type(data)} {len(data)}")
        self.end.log.data(data)
        self.end.react("data", "", "answers")

    def eof_received(self) -> bool:
        self.end.react("eof", "eof_received")
        return self.end.reactions.keep_open

    def pause_writing(self) -> None:
        self.end.react("pause", "pause_writing", "flow")

    def resume_writing(self) -> None:
        self.end.react("resume", "resume_writing", "flow")

    def connection_lost(self, exc: BaseException | None) -> None:
        self.end.lost = True
        self.end.react("lost", f"connection_lost({self.end.log.trace.describe(exc)})")


class Buffered(asyncio.BufferedProtocol):
    """The same with a buffer of its own."""

    def __init__(self, end: End) -> None:
        self.end = end
        self.buffer = bytearray(BUFFER_SIZE)

    __repr__ = Plain.__repr__
    connection_made = Plain.connection_made
    eof_received = Plain.eof_received
    pause_writing = Plain.pause_writing
    resume_writing = Plain.resume_writing
    connection_lost = Plain.connection_lost

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.buffer

    def buffer_updated(self, count: int) -> None:
        self.end.log.data(bytes(self.buffer[:count]))
        self.end.react("data", "", "answers")


PROTOCOLS = {"plain": Plain, "buffered": Buffered}


class End:
    """One end of the connection, with the operations on its transport."""

    def __init__(self, link: ConnectionLink, name: str, reactions: Reactions, kind: str) -> None:
        self.link = link
        self.name = name
        self.log = link.logs[name]
        self.reactions = reactions
        self.kind = kind
        self.transport: Any = None
        self.lost = False
        self.large = False
        self.written = 0
        self.counts: dict[str, int] = {}

    def protocol(self) -> asyncio.BaseProtocol:
        """The protocol that the end begins with."""
        return PROTOCOLS[self.kind](self)

    def react(self, event: str, text: str, lane: str = "main") -> None:
        """Write the event down and run the body for it, if this is one of the first times."""
        if text:
            self.log.add(text, lane)
        self.counts[event] = self.counts.get(event, 0) + 1
        limit = 1 if event == "data" else self.reactions.limit  # in how many pieces is open
        if self.counts[event] <= limit:
            self.run(getattr(self.reactions, event), lane)

    def run(self, body: Body, lane: str = "main") -> None:
        """Run the operations of a body, as far as none raises on purpose."""
        for op in body:
            self.operate(op, lane)

    def operate(self, op: Op, lane: str) -> None:
        """Run one operation and write down how it ended."""
        if self.lost and self.large:
            return  # asyncio's transport that closed with a full buffer raises AttributeErrors
        if op.name == "raise_":
            self.log.add("raises", lane)
            raise ValueError("from a protocol")
        try:
            result = getattr(self, op.name)(*op.args)
        except Exception as exc:
            self.log.add(f"{op.name} raised {self.log.trace.describe(exc)}", lane)
        else:
            self.log.add(f"{op.name} -> {self.log.trace.describe(result)}", lane)

    def state(self) -> list[bool]:
        """What the transport says of itself."""
        return [self.transport.is_closing(), self.transport.is_reading(), self.lost]

    def next_bytes(self, size: int) -> bytes:
        """What is written next. Nothing over TCP after its end: when a reset of a peer that is
        gone comes back depends on how writes are put together."""
        if "eof" in self.counts and self.link.program.kind == "tcp":
            return b""
        self.written += size
        self.large |= size >= LARGE
        return pattern(self.written - size, size)

    # ---- operations

    def write(self, size: int) -> None:
        self.transport.write(self.next_bytes(size))

    def write_mutable(self, size: int) -> None:
        """What happens to the buffer afterwards must not be sent; but asyncio's transports of 3.12
        and newer keep a view of it when the socket is full."""
        data = bytearray(self.next_bytes(size))
        self.transport.write(data)
        if self.transport.get_write_buffer_size() == 0:
            data[:] = bytes(size)

    def write_view(self, size: int) -> None:
        self.transport.write(memoryview(self.next_bytes(size)))

    def write_wrong(self) -> None:
        self.transport.write("text")

    def writelines(self, sizes: tuple[int, ...]) -> None:
        if sys.version_info >= (3, 12) and self.transport.is_closing():
            return  # asyncio's fails from inside when the connection is lost meanwhile
        lines = [self.next_bytes(size) for size in sizes]
        self.transport.writelines([line for line in lines if line])

    def write_eof(self) -> None:
        self.transport.write_eof()

    def can_write_eof(self) -> bool:
        return self.transport.can_write_eof()

    def close(self) -> None:
        self.transport.close()

    def abort(self) -> None:
        self.transport.abort()

    def pause_reading(self) -> None:
        self.transport.pause_reading()

    def resume_reading(self) -> None:
        self.transport.resume_reading()

    def set_limits(self, high: int | None, low: int | None) -> Any:
        self.transport.set_write_buffer_limits(high, low)
        return self.transport.get_write_buffer_limits()

    def set_protocol(self, kind: str) -> Any:
        protocol = PROTOCOLS[kind](self)
        self.transport.set_protocol(protocol)
        return self.transport.get_protocol() is protocol

    def info(self, index: int) -> Any:
        value = self.transport.get_extra_info(INFO[index % len(INFO)], "default")
        known = value is None or value in ("", "default")
        return value if known else type(value).__name__

    def call_soon(self, body: Body) -> None:
        self.link.loop.call_soon(self.run, body, "later")

    # ---- the end of the operations


class ConnectionLink(Link):
    """Two ends that are protocols."""

    def __init__(self, program: Connection, loop: Loop, trace: Any) -> None:
        super().__init__(program, loop, trace)
        self.ends = {
            "a": End(self, "a", program.a, program.protocols[0]),
            "b": End(self, "b", program.b, program.protocols[1]),
        }

    async def open(self) -> None:
        a, b = self.ends["a"], self.ends["b"]
        if self.program.kind == "pair":
            for end, sock in zip((b, a), socketpair(), strict=True):
                await self.loop.create_connection(end.protocol, sock=sock)
        elif self.program.kind == "tcp":
            server = await self.loop.create_server(b.protocol, "127.0.0.1", 0)
            address = server.sockets[0].getsockname()
            await self.loop.create_connection(a.protocol, *address)
            await self.accepted(b)
            server.close()
        else:
            with socket_path() as path:
                server = await self.loop.create_unix_server(b.protocol, path)
                await self.loop.create_unix_connection(a.protocol, path)
                await self.accepted(b)
                server.close()

    async def accepted(self, end: End) -> None:
        """Wait until the server has made its end."""
        for _ in range(1000):
            if end.transport is not None:
                return
            await asyncio.sleep(0.001)
        self.trace.add("the server did not accept")

    def step(self, step: Step) -> None:
        self.loop.call_soon(self.ends[step.side].run, step.body)

    def state(self) -> Any:
        return [end.transport.get_write_buffer_size() for end in self.ends.values()]

    def summary(self) -> str:
        return str([end.state() for end in self.ends.values()])

    async def close(self) -> None:
        for end in self.ends.values():
            end.reactions = Reactions(keep_open=end.reactions.keep_open)
        for end in self.ends.values():
            if not end.lost:
                end.transport.abort()


def run_connection(program: Connection, factory: Callable[[], Loop]) -> list[str]:
    """Run the program on a loop of the factory; the lines of its trace."""
    return run_link(program, factory, ConnectionLink)
