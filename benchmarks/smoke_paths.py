"""The paths that `make bench-smoke` counts instructions of; a child that runs under callgrind.

    python -m benchmarks.smoke_paths --loop pyasync --path task_switch --count 2000

Runs `count` operations and ends. What it executes must not depend on the clock or on chance: no
garbage collection, about a hundred operations per turn of the loop (so how often the loop polls
does not depend on how long a turn takes), and the other end of a connection in a process of its
own, which sends the next message only when the last has come back.
"""

import argparse
import asyncio
import gc
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Coroutine
from typing import Any, cast

from benchmarks.certificate import server_context
from benchmarks.loops import LOOPS, loop_factory
from benchmarks.task_rows import noop, switch

AT_ONCE = 100
MESSAGE = bytes(range(256)) * 4

CLIENT = """
import socket, ssl, sys
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
"""


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
    """Writes back what it is given, until the connection is lost."""

    def __init__(self) -> None:
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(None)


async def echo(count: int, context: ssl.SSLContext | None = None) -> None:
    """A message of 1 KiB is received and sent back; the client is another process."""
    ours, theirs = socket.socketpair()
    arguments = [str(theirs.fileno()), str(count), str(len(MESSAGE)), "tls" if context else "plain"]
    with ours, theirs:
        client = subprocess.Popen(
            [sys.executable, "-c", CLIENT, *arguments], pass_fds=[theirs.fileno()]
        )
        theirs.close()
        loop = asyncio.get_running_loop()
        _, protocol = await loop.connect_accepted_socket(Echo, ours, ssl=context)
        await protocol.lost
    if client.wait() != 0:
        raise SystemExit(f"the client ended with status {client.returncode}")


PATHS: dict[str, Callable[..., Coroutine[Any, Any, None]]] = {
    "task_switch": task_switch,
    "create_and_await": create_and_await,
    "call_soon": call_soon,
    "timer": timer,
    "echo": echo,
    "tls_echo": echo,
}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loop", choices=LOOPS, required=True)
    parser.add_argument("--path", choices=PATHS, required=True)
    parser.add_argument("--count", type=int, required=True, help=f"a multiple of {AT_ONCE}")
    parser.add_argument("--certificate", metavar="FOLDER", help="of cert.pem and key.pem")
    options = parser.parse_args()
    extra = [server_context(options.certificate)] if options.path == "tls_echo" else []
    gc.disable()
    with asyncio.Runner(loop_factory=loop_factory(options.loop)) as runner:
        runner.run(PATHS[options.path](options.count, *extra))
