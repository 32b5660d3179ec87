"""Two ends of a connection on one loop, steps on either end, and settling in between.

What runs in which turn is not promised for sockets. A program over a connection is therefore a
sequence of steps: one end does something, and the next step waits until nothing moves any more.
What each end saw is compared by itself, with neighbouring data put together (`Log`).
"""

from __future__ import annotations

import abc
import asyncio
import contextlib
import gc
import logging
import os
import re
import socket
import tempfile
import zlib
from collections.abc import Callable
from typing import Any

from .clock import Loop
from .program import Connection, Step, Streams
from .trace import Trace

# A full socket whose peer goes: whether reading or writing finds out is open, as reads go on for a
# while before a write is tried.
GONE = re.compile(r"(BrokenPipe|ConnectionReset)Error\('\[Errno (32|104)\][^']*'\)")

LANES = ("main", "flow", "answers", "later")
PATIENCE = 400  # looks at the connection until it must have settled
QUIET = {"pair": 2, "unix": 2, "tcp": 4}  # looks that must find nothing new
LOOK_SECONDS = 0.0005
LARGE = 600_000  # bytes: more than a socket and a transport take below their high-water marks


def pattern(start: int, size: int) -> bytes:
    """The bytes that a side writes next: no two neighbouring writes look alike."""
    block = bytes(range(32, 127)) + b"\n"
    offset = start % len(block)
    return (block * (size // len(block) + 2))[offset : offset + size]


class Log:
    """What one end saw, in lanes that are each in order.

    "main" has what happened. "flow" has pause_writing() and resume_writing(), whose place among
    the data that comes in is open; "answers" what a protocol did when data came, because it may
    come in more or fewer pieces; "later" what was done in the next turn, before or after the events
    of its poll.
    """

    def __init__(self, trace: Trace, name: str) -> None:
        self.trace = trace
        self.name = name
        self.lanes: dict[str, list[str]] = {name: [] for name in LANES}
        self.events = 0
        self._data: list[int] | None = None

    def add(self, text: str, lane: str = "main") -> None:
        """Write down an event."""
        self.events += 1
        if lane == "main":
            self.end_of_data()
        self.lanes[lane].append(self.trace.plain(text))

    def data(self, data: bytes) -> None:
        """Write down data that came in, together with that before it."""
        self.events += 1
        size, crc = self._data or (0, 0)
        self._data = [size + len(data), zlib.crc32(data, crc)]

    def end_of_data(self) -> None:
        """What comes now is no longer one with the data before."""
        if self._data is not None:
            size, crc = self._data
            self._data = None
            self.lanes["main"].append(f"data: {size} bytes, crc {crc:08x}")

    def take(self) -> list[str]:
        """The lines since the last call."""
        self.end_of_data()
        lines = []
        for lane, texts in self.lanes.items():
            name = self.name if lane == "main" else f"{self.name} {lane}:"
            lines += [f"{name} {text}" for text in texts]
            texts.clear()
        return lines


class Link(abc.ABC):
    """Runs the steps of a program over a connection; a subclass brings the two ends."""

    def __init__(self, program: Connection | Streams, loop: Loop, trace: Trace) -> None:
        self.program = program
        self.loop = loop
        self.trace = trace
        self.logs = {name: Log(trace, name) for name in "ab"}

    @abc.abstractmethod
    async def open(self) -> None:
        """Connect the two ends."""

    @abc.abstractmethod
    def step(self, step: Step) -> None:
        """Begin a step."""

    @abc.abstractmethod
    def state(self) -> Any:
        """What changes as long as something moves."""

    @abc.abstractmethod
    def summary(self) -> str:
        """What can be seen of both ends when nothing moves."""

    @abc.abstractmethod
    async def close(self) -> None:
        """End what is left."""

    async def run(self) -> None:
        """The whole program."""
        self.loop.set_exception_handler(lambda loop, context: self.trace.handled(context))
        await self.open()
        await self.settle("opened")
        for number, step in enumerate(self.program.steps):
            self.step(step)
            await self.settle(f"step {number}")
        await self.close()
        await self.settle("closed")

    async def settle(self, what: str) -> None:
        """Wait until nothing moves, then put what both ends saw into the trace."""
        quiet, last = 0, None
        for _ in range(PATIENCE):
            await asyncio.sleep(0)
            await asyncio.sleep(LOOK_SECONDS)
            state = (self.logs["a"].events, self.logs["b"].events, self.state())
            quiet = quiet + 1 if state == last else 0
            last = state
            if quiet >= QUIET[self.program.kind]:
                break
        else:
            self.trace.add("does not settle")
        self.trace.add(f"{what}: {self.summary()}")
        for log in self.logs.values():
            for line in log.take():
                self.trace.add(line)


def socketpair() -> tuple[socket.socket, socket.socket]:
    """Two connected unix sockets that do not block."""
    pair = socket.socketpair()
    for sock in pair:
        sock.setblocking(False)
    return pair


@contextlib.contextmanager
def socket_path() -> Any:
    """A path for a unix server."""
    with tempfile.TemporaryDirectory() as folder:
        yield os.path.join(folder, "socket")


def _is_promised(record: logging.LogRecord) -> bool:
    """The warning about the fifth write to a lost connection: which write finds out that it is
    lost depends on how writes are put together."""
    return record.getMessage() != "socket.send() raised exception."


def run_link(
    program: Connection | Streams,
    factory: Callable[[], Loop],
    link: Callable[[Any, Loop, Trace], Link],
) -> list[str]:
    """Run a program over a connection on a loop of the factory; the lines of its trace."""
    trace = Trace()
    trace.addFilter(_is_promised)
    if str(LARGE) in repr(program):
        trace.same.append((GONE, "OSError(the peer is gone)"))
    gc.disable()
    try:
        with trace.watching():
            loop = factory()
            try:
                loop.set_debug(program.debug)
                loop.slow_callback_duration = 1e9
                loop.run_until_complete(link(program, loop, trace).run())
                loop.run_until_complete(loop.shutdown_asyncgens())
            except BaseException as exc:
                trace.add(f"run raised {trace.describe(exc)}")
            finally:
                loop.close()
            del loop
            with trace.sorted_section():
                gc.collect()
    finally:
        gc.enable()
    return trace.lines
