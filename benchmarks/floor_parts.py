"""What a library costs by itself, with no socket and no system call: the part of a row's cost that
stays the same on every loop. A child of benchmarks.floors.

    python -m benchmarks.floor_parts --part uvicorn --path / [--answer FILE]
    python -m benchmarks.floor_parts --part streams --size 1024
    python -m benchmarks.floor_parts --part tls --size 1024 --certificate FOLDER

Prints {"cpu_us": CPU per request or message, "bytes": what the other end gets} and writes the bytes
of one answer to FILE. Everything runs hot and with nothing in between, so each figure is less than
the same code costs in a server: a floor made of them is never too high for that reason.

- aiohttp, uvicorn: the server's own protocol objects on a pyasync loop. Each is given the bytes of
  a request as wrk sends it; the transport drops what is written.
- streams: the coroutine of echo_server.py, sent into by hand, with asyncio's own reader and writer.
  Feeding the reader is not counted, as a loop can do that in C.
- tls: the server's side of a pair of TLS objects over memory, from ciphertext to ciphertext. The C
  object below ssl.SSLObject is used, which saves a Python call each time, as a loop can.
"""

import argparse
import asyncio
import json
import ssl
import time
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pyasync
from benchmarks.certificate import server_context
from benchmarks.echo_server import echo_stream
from benchmarks.http_server import aiohttp_application, uvicorn_server
from benchmarks.processes import Failed

CONNECTIONS = 20  # that take turns within one measurement
TURNS = 100  # of the loop at most until a request is answered
RECORD = 16 * 1024  # the most plaintext of a TLS record
IN_FLIGHT = 256 * 1024  # bytes of messages prepared before the clock starts: they stay in the cache
WARM_UP = 0.2  # of the measured time, before it


class Dropping(asyncio.Transport):
    """A transport that leaves what is written in a list; writing costs one call into C."""

    def __init__(self, written: list[Any]) -> None:
        super().__init__({"peername": ("127.0.0.1", 50000), "sockname": ("127.0.0.1", 80)})
        # An attribute of the instance, in C, costs no Python call of its own.
        vars(self).update(write=written.append, writelines=written.extend)

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        pass


def best_of(seconds: float, repeats: int, measure: Callable[[], float]) -> float:
    """The least of `repeats` figures, each the mean of what `measure()` gives for `seconds`."""
    figures: list[float] = []
    for length in (WARM_UP * seconds, *[seconds] * repeats):
        end = time.perf_counter() + length
        found: list[float] = []
        while not found or time.perf_counter() < end:
            found.append(measure())
        figures.append(sum(found) / len(found))
    return min(figures[1:])


async def aiohttp_factory(stack: AsyncExitStack) -> Callable[[], asyncio.BaseProtocol]:
    """What makes a protocol of the aiohttp application for each connection."""
    from aiohttp import web

    runner = web.AppRunner(aiohttp_application(Path("/dev/null")), access_log=None)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    server = runner.server
    assert server is not None
    return server


async def uvicorn_factory(stack: AsyncExitStack) -> Callable[[], asyncio.BaseProtocol]:
    """What makes a protocol of uvicorn for each connection."""
    server = uvicorn_server()
    server.config.load()
    await server.on_tick(0)  # makes the headers that every answer has
    kind: Any = server.config.http_protocol_class
    return lambda: kind(config=server.config, server_state=server.server_state, app_state={})


APPLICATIONS = {"aiohttp": aiohttp_factory, "uvicorn": uvicorn_factory}


def http_request(path: str) -> bytes:
    """A request as wrk sends it; ports that the kernel chooses have five digits."""
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:50000\r\n\r\n".encode()


class Requests:
    """Connections of one application that are all given the same request, again and again."""

    def __init__(self, factory: Callable[[], asyncio.BaseProtocol], path: str) -> None:
        self.request = http_request(path)
        self.written: list[Any] = []
        self.protocols: list[Any] = [factory() for _ in range(CONNECTIONS)]
        for protocol in self.protocols:
            protocol.connection_made(Dropping(self.written))

    async def first_answer(self) -> bytes:
        """The answer to one request; raises Failed if it is no complete answer with status 200."""
        self.protocols[0].data_received(self.request)
        for _ in range(TURNS):
            await asyncio.sleep(0)
        self.chunks = len(self.written)
        answer = b"".join(self.written)
        self.written.clear()
        head, _, body = answer.partition(b"\r\n\r\n")
        length = b"content-length: %d\r\n" % len(body)
        if not head.startswith(b"HTTP/1.1 200 ") or length not in head.lower() + b"\r\n":
            raise Failed(f"the application answered {answer[:200]!r}")
        return answer

    async def answer_all(self) -> None:
        """One request on every connection, until all are answered."""
        request, written = self.request, self.written
        for protocol in self.protocols:
            protocol.data_received(request)
        wanted = self.chunks * CONNECTIONS
        for _ in range(TURNS):
            await asyncio.sleep(0)
            if len(written) >= wanted:
                break
        if len(written) != wanted:
            raise Failed(f"{len(written)} writes for {CONNECTIONS} requests, not {wanted}")
        written.clear()


async def application(options: argparse.Namespace) -> tuple[float, bytes]:
    """CPU us per request of an HTTP application, and one answer."""
    async with AsyncExitStack() as stack:
        factory = await APPLICATIONS[options.part](stack)
        requests = Requests(factory, options.path)
        answer = await requests.first_answer()
        figures = []
        for length in (WARM_UP * options.seconds, *[options.seconds] * options.repeats):
            rounds, end = 0, time.perf_counter() + length
            start = time.process_time_ns()
            while time.perf_counter() < end:
                await requests.answer_all()
                rounds += 1
            figures.append((time.process_time_ns() - start) / (rounds * CONNECTIONS * 1000))
        for protocol in requests.protocols:
            protocol.connection_lost(None)
        await asyncio.sleep(0)
    return min(figures[1:]), answer


async def streams(options: argparse.Namespace) -> tuple[float, bytes]:
    """CPU us per message of the streams' echo coroutine, and the message."""
    loop = asyncio.get_running_loop()
    message = bytes(options.size)
    written: list[Any] = []
    readers, coroutines = [], []
    for _ in range(CONNECTIONS):
        reader = asyncio.StreamReader(loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        transport = Dropping(written)
        protocol.connection_made(transport)
        coroutine = echo_stream(reader, asyncio.StreamWriter(transport, protocol, reader, loop))
        coroutine.send(None)  # it waits for data now
        readers.append(reader)
        coroutines.append(coroutine)

    def measure() -> float:
        for reader in readers:
            reader.feed_data(message)
        start = time.process_time_ns()
        for coroutine in coroutines:
            coroutine.send(None)
        used = time.process_time_ns() - start
        if written != [message] * CONNECTIONS:
            raise Failed(f"{len(written)} echoes of {CONNECTIONS}, or not what was sent")
        written.clear()
        return used / (CONNECTIONS * 1000)

    figure = best_of(options.seconds, options.repeats, measure)
    for coroutine in coroutines:
        coroutine.close()
    return figure, message


class TlsEcho:
    """Both ends of a TLS connection over memory; `echo()` is the server's side of one message."""

    def __init__(self, folder: str, size: int) -> None:
        client_context = ssl.create_default_context()
        client_context.check_hostname = False
        client_context.verify_mode = ssl.CERT_NONE
        self.to_server, self.from_server = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.to_client, self.from_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        server = server_context(folder).wrap_bio(self.to_server, self.from_server, True)
        self.client = client_context.wrap_bio(self.to_client, self.from_client)
        for end in (self.client, server, self.client, server):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                pass
            self.to_server.write(self.from_client.read())
            self.to_client.write(self.from_server.read())
        self.codec: Any = getattr(server, "_sslobj", server)
        self.message = bytes(range(256)) * (size // 256)
        self.space = memoryview(bytearray(len(self.message)))
        self.batch = max(1, min(CONNECTIONS, IN_FLIGHT // size))

    def encrypted(self) -> bytes:
        """The client's message as it comes from the wire."""
        done = 0
        while done < len(self.message):
            done += self.client.write(self.message[done : done + RECORD])
        return self.from_client.read()

    def echo(self, ciphertext: bytes) -> bytes:
        """Decrypts a message, encrypts it again: as many reads and writes as there are records."""
        codec, space = self.codec, self.space
        size = len(space)
        self.to_server.write(ciphertext)
        done = 0
        while done < size:
            done += codec.read(size - done, space[done:])
        done = 0
        while done < size:
            done += codec.write(space[done : done + RECORD])
        return self.from_server.read()

    def measure(self) -> float:
        """CPU us per message, of as many as stay in the cache; raises Failed for a wrong echo."""
        messages = [self.encrypted() for _ in range(self.batch)]
        start = time.process_time_ns()
        answers = [self.echo(message) for message in messages]
        used = time.process_time_ns() - start
        for answer in answers:
            self.to_client.write(answer)
            echoed = b""
            while len(echoed) < len(self.message):
                echoed += self.client.read(RECORD)
            if echoed != self.message:
                raise Failed("TLS over memory: not what was sent")
        return used / (self.batch * 1000)


async def tls(options: argparse.Namespace) -> tuple[float, bytes]:
    """CPU us per message of a server's TLS, and the message as it is on the wire."""
    pair = TlsEcho(options.certificate, options.size)
    return best_of(options.seconds, options.repeats, pair.measure), pair.echo(pair.encrypted())


PARTS: dict[str, Callable[[argparse.Namespace], Coroutine[Any, Any, tuple[float, bytes]]]] = {
    "aiohttp": application,
    "uvicorn": application,
    "streams": streams,
    "tls": tls,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=PARTS, required=True)
    parser.add_argument("--path", default="/", help="of the request")
    parser.add_argument("--size", type=int, default=1024, help="of the message, bytes")
    parser.add_argument("--certificate", metavar="FOLDER", help="with cert.pem and key.pem")
    parser.add_argument("--answer", type=Path, metavar="FILE", help="write one answer there")
    parser.add_argument("--seconds", type=float, default=0.3, help="per repeat (0.3)")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    figure, answer = pyasync.run(PARTS[options.part](options))
    if options.answer is not None:
        options.answer.write_bytes(answer)
    print(json.dumps({"cpu_us": figure, "bytes": len(answer)}))


if __name__ == "__main__":
    main()
