"""The paths that `make bench-smoke` counts instructions of; a child that runs under callgrind.

    python -m benchmarks.smoke_paths --loop pyasync --paths task_switch echo --certificate FOLDER

Each path runs with N operations to warm up, with N and with 2N, and ends each with a mark, at which
callgrind writes down what it has counted. What it executes must not depend on
the clock or on chance: no garbage collection, about a hundred operations per turn of the loop (so
how often the loop polls does not depend on how long a turn takes), and the other end of a
connection in a process of its own, which sends the next message a while after the last has come
back (so that the loop is idle by then, slow as it is under callgrind).
"""

import argparse
import asyncio
import gc
import os
import socket
import ssl
import subprocess
import sys
import types
from collections.abc import Callable, Coroutine, Generator
from dataclasses import dataclass
from typing import Any, cast

from benchmarks.certificate import server_context
from benchmarks.loops import LOOPS, loop_factory
from benchmarks.task_rows import noop

AT_ONCE = 100
MESSAGE = bytes(range(256)) * 4

CLIENT = """
import socket, ssl, sys, time
sock = socket.socket(fileno=int(sys.argv[1]))
count, size = int(sys.argv[2]), int(sys.argv[3])
if sys.argv[4] == "tls":
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    sock = context.wrap_socket(sock)
message = bytes(size)
for _ in range(count):
    sock.sendall(message)
    left = size
    while left:
        left -= len(sock.recv(left)) or sys.exit("the server closed the connection")
    time.sleep(0.005)
"""


def mark() -> None:
    """Makes callgrind write down what it has counted so far and begin anew: see smoke.MARK."""
    os.getsid(0)


def in_lengths(
    path: Callable[[int], Coroutine[Any, Any, None]],
) -> Callable[[int, ssl.SSLContext | None], Coroutine[Any, Any, None]]:
    """A path that runs with N operations, N and 2N, and makes a mark after each."""

    async def run(count: int, _: ssl.SSLContext | None) -> None:
        for times in (1, 1, 2):
            await path(count * times)
            mark()

    return run


@types.coroutine
def give_way(count: int) -> Generator[None, None, None]:
    """Gives way `count` times, with as little Python in between as can be."""
    for _ in range(count):
        yield


async def switch(count: int) -> None:
    await give_way(count)


async def task_switch(count: int) -> None:
    """Tasks that give way in turn."""
    loop = asyncio.get_running_loop()
    for task in [loop.create_task(switch(count // AT_ONCE)) for _ in range(AT_ONCE)]:
        await task


async def create_and_await(count: int) -> None:
    """A task is created for an empty coroutine and awaited, by many at a time."""
    loop = asyncio.get_running_loop()

    async def some() -> None:
        for _ in range(count // AT_ONCE):
            await loop.create_task(noop())

    for task in [loop.create_task(some()) for _ in range(AT_ONCE)]:
        await task


async def in_chains(count: int, schedule: Callable[[Callable[[], None]], Any]) -> None:
    """Callbacks that schedule themselves again, a hundred of them side by side."""
    done = asyncio.get_running_loop().create_future()
    left = count

    def step() -> None:
        nonlocal left
        left -= 1
        if left >= AT_ONCE:
            schedule(step)
        elif left == 0:
            done.set_result(None)

    for _ in range(AT_ONCE):
        schedule(step)
    await done


async def call_soon(count: int) -> None:
    """A callback is scheduled and runs."""
    await in_chains(count, asyncio.get_running_loop().call_soon)


async def timer(count: int) -> None:
    """A timer is set to a time that is past, so it is due in the next turn, and expires."""
    loop = asyncio.get_running_loop()
    await in_chains(count, lambda step: loop.call_at(0, step))


class Echo(asyncio.Protocol):
    """Writes back what it is given, and makes the marks at the messages that end a length."""

    def __init__(self, count: int) -> None:
        self.lost = asyncio.get_running_loop().create_future()
        self.lengths = [2 * count, count, count]  # messages from mark to mark, the last first
        self.left = self.lengths.pop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.left -= 1  # a message is small enough to come in one piece
        if not self.left:
            mark()
            self.left = self.lengths.pop() if self.lengths else 0
        self.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(None)


async def echo(count: int, context: ssl.SSLContext | None) -> None:
    """A message of 1 KiB is received and sent back; the client is another process."""
    ours, theirs = socket.socketpair()
    kind = "tls" if context else "plain"
    arguments = [str(theirs.fileno()), str(4 * count), str(len(MESSAGE)), kind]
    with ours, theirs:
        client = subprocess.Popen(
            [sys.executable, "-c", CLIENT, *arguments], pass_fds=[theirs.fileno()]
        )
        theirs.close()
        loop = asyncio.get_running_loop()
        _, protocol = await loop.connect_accepted_socket(lambda: Echo(count), ours, ssl=context)
        await protocol.lost
    if client.wait() != 0:
        raise SystemExit(f"the client ended with status {client.returncode}")


@dataclass(frozen=True)
class Path:
    """A path that is counted: its coroutine, which makes the marks, and the shorter length."""

    run: Callable[[int, ssl.SSLContext | None], Coroutine[Any, Any, None]]
    count: int
    tls: bool = False


PATHS = {
    "task_switch": Path(in_lengths(task_switch), 10_000),
    "create_and_await": Path(in_lengths(create_and_await), 3_000),
    "call_soon": Path(in_lengths(call_soon), 10_000),
    "timer": Path(in_lengths(timer), 5_000),
    "echo": Path(echo, 300),
    "tls_echo": Path(echo, 300, tls=True),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loop", choices=LOOPS, required=True)
    parser.add_argument("--paths", choices=PATHS, nargs="+", required=True)
    parser.add_argument("--certificate", metavar="FOLDER", required=True)
    options = parser.parse_args()
    factory = loop_factory(options.loop)
    context = server_context(options.certificate)
    gc.disable()
    for path in map(PATHS.__getitem__, options.paths):
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(path.run(path.count, context if path.tls else None))


if __name__ == "__main__":
    main()
