"""What the tests share: the loops under test, isolated snippets, recording protocols.

LOOPS names every loop a test body runs on. asyncio's own loop stands first: a body that fails
there is a wrong test, a body that fails on pyasync alone is a difference to asyncio.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import socket
import struct
import subprocess
import sys
import textwrap

import pyasync

LOOPS = {"asyncio": asyncio.SelectorEventLoop, "pyasync": pyasync.new_event_loop}
LOOP_SOURCES = {
    "asyncio": "new_loop = asyncio.SelectorEventLoop",
    "pyasync": "import pyasync; new_loop = pyasync.new_event_loop",
}

# Ctrl-C works in a snippet although tests in the background of a shell inherit that it is ignored.
PRELUDE = (
    "import asyncio, gc, os, signal, socket, sys, threading, time, warnings, weakref\n"
    "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
)

HOST = "127.0.0.1"


def live_handles() -> int:
    """Number of libuv handles that are open in this interpreter."""
    return pyasync._core.live_handles()


def open_descriptors() -> dict[int, str]:
    """Every open file descriptor of this process and what it refers to."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:  # the descriptor of the directory just listed
            continue
    return found


class AsyncioLog(logging.Handler):
    """Collects what asyncio logs from WARNING up; a test takes what it expects."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)

    def take(self) -> list[str]:
        """Return the messages logged so far and forget them."""
        messages = [record.getMessage() for record in self.records]
        self.records.clear()
        return messages


def turn(loop, count: int = 1) -> None:
    """Run exactly `count` turns of a loop that is not running."""
    for _ in range(count):
        loop.call_soon(loop.stop)
        loop.run_forever()


async def turns(count: int) -> None:
    """Let the running loop make `count` turns."""
    for _ in range(count):
        await asyncio.sleep(0)


async def until(condition, timeout: float = 10) -> None:
    """Wait until `condition()` is true, a millisecond at a time; TimeoutError after `timeout` s."""
    async with asyncio.timeout(timeout):
        while not condition():
            await asyncio.sleep(0.001)


def finish(loop) -> list[str]:
    """End what still runs on `loop`, close it, and return the tasks that had been left behind."""
    if loop.is_closed():
        return []
    turn(loop, 3)
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    if left:
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
    loop.run_until_complete(loop.shutdown_asyncgens())
    if loop._default_executor is not None:
        loop.run_until_complete(loop.shutdown_default_executor())
    turn(loop, 3)
    loop.close()
    return [repr(task) for task in left]


def error_of(function, *args, **kwargs) -> tuple[str, str]:
    """Call a function that must raise; return the name of the exception's type and its text."""
    try:
        result = function(*args, **kwargs)
    except BaseException as exc:
        return type(exc).__name__, str(exc)
    raise AssertionError(f"{function!r} returned {result!r}, an exception was due")


def plain(text: str) -> str:
    """A repr without what differs between two runs: addresses, task numbers, descriptors."""
    text = re.sub(r"0x[0-9a-f]+", "0x", text)
    text = re.sub(r"Task-\d+", "Task-N", text)
    return re.sub(r"\bfd=\d+", "fd=N", text)


def run_snippet(
    loop_name: str, source: str, *, options=(), env=None, stderr="", returncode=0, timeout=20
) -> str:
    """Run `source` in a fresh interpreter and return what it printed.

    `new_loop` makes a loop there, the modules of PRELUDE are imported. `stderr` must be found on
    its standard error output, None accepts anything; a hang is an error after `timeout` seconds.
    """
    code = PRELUDE + LOOP_SOURCES[loop_name] + "\n" + textwrap.dedent(source)
    environ = dict(os.environ, PYTHONPATH=os.pathsep.join(filter(None, [os.getcwd(), *sys.path])))
    environ.pop("PYTHONASYNCIODEBUG", None)
    environ.update(env or {})
    done = subprocess.run(
        [sys.executable, *options, "-c", code],
        env=environ,
        capture_output=True,
        text=True,
        timeout=timeout,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == returncode, (done.returncode, done.stdout, done.stderr)
    if stderr == "":
        assert done.stderr == "", done.stderr
    elif stderr is not None:
        assert stderr in done.stderr, done.stderr
    return done.stdout


class Recorder(asyncio.Protocol):
    """A protocol that writes down every call it gets; `lost` is done after connection_lost."""

    def __init__(self) -> None:
        self.events: list = []
        self.data = bytearray()
        self.transport = None
        self.made = asyncio.get_running_loop().create_future()
        self.eof = asyncio.get_running_loop().create_future()
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport
        self.events.append("made")
        self.made.set_result(transport)

    def data_received(self, data):
        assert type(data) is bytes and data
        if self.events[-1] != "data":
            self.events.append("data")
        self.data += data

    def eof_received(self):
        self.events.append("eof")
        if not self.eof.done():
            self.eof.set_result(None)

    def pause_writing(self):
        self.events.append("pause")

    def resume_writing(self):
        self.events.append("resume")

    def connection_lost(self, exc):
        self.events.append("lost" if exc is None else f"lost {type(exc).__name__}")
        assert not self.lost.done(), "connection_lost came twice"
        self.lost.set_result(exc)


async def connected(server_factory=Recorder, client_factory=Recorder, **server_options):
    """Connect two protocols over TCP on this host; return (server side, client side, server).

    The server listens no more when this returns: the connection lives on.
    """
    loop = asyncio.get_running_loop()
    accepted = loop.create_future()

    def accept():
        protocol = server_factory()
        accepted.set_result(protocol)
        return protocol

    server = await loop.create_server(accept, HOST, 0, **server_options)
    address = server.sockets[0].getsockname()
    _, client = await loop.create_connection(client_factory, *address[:2])
    server_side = await accepted
    if isinstance(server_side, Recorder):
        await server_side.made
    server.close()
    return server_side, client, server


async def closed(*protocols: Recorder) -> None:
    """Close the transports of the protocols and wait until each has lost its connection."""
    for protocol in protocols:
        protocol.transport.close()
    for protocol in protocols:
        await asyncio.wait_for(asyncio.shield(protocol.lost), 10)


def reset(sock):
    """Close a socket so that its peer gets a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


async def over_socket(loop, factory=Recorder):
    """A protocol on one end of a TCP connection, the bare other end in the test's hand."""
    with socket.create_server((HOST, 0)) as listener:
        sock = socket.create_connection(listener.getsockname())
        sock.setblocking(False)
        other, _ = listener.accept()
    transport, protocol = await loop.create_connection(factory, sock=sock)
    return transport, protocol, other
