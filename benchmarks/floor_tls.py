"""The parts of the floors of TLS: OpenSSL's work on the server's side, over memory, as Python's ssl
module does it.

The C object below ssl.SSLObject is used, which saves a Python call each time, as a loop can.
"""

import argparse
import ssl
import time
from typing import Any

from benchmarks.certificate import server_context
from benchmarks.floor_timing import CONNECTIONS, median_of
from benchmarks.processes import Failed

RECORD = 16 * 1024  # the most plaintext of a TLS record
IN_FLIGHT = 256 * 1024  # bytes of messages prepared before the clock starts: they stay in the cache


def client_context() -> ssl.SSLContext:
    """A client's context that checks no certificate."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Pair:
    """Both ends of a TLS connection over memory."""

    def __init__(self, client: ssl.SSLContext, server: ssl.SSLContext) -> None:
        self.to_server, self.from_server = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.to_client, self.from_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.client = client.wrap_bio(self.to_client, self.from_client)
        self.server_context = server
        self.used = 0  # CPU ns of the server's side of the handshake

    def open_server(self) -> Any:
        """The server's end."""
        end = self.server_context.wrap_bio(self.to_server, self.from_server, True)
        return getattr(end, "_sslobj", end)

    def handshake(self) -> Any:
        """Shakes hands; the server's end. Its work is counted from ciphertext to ciphertext."""
        server: Any = None
        for _ in range(2):  # flights of the client
            try:
                self.client.do_handshake()
            except ssl.SSLWantReadError:
                pass
            ciphertext = self.from_client.read()
            start = time.process_time_ns()
            server = server or self.open_server()
            self.to_server.write(ciphertext)
            try:
                server.do_handshake()
            except ssl.SSLWantReadError:
                pass
            answer = self.from_server.read()
            self.used += time.process_time_ns() - start
            self.to_client.write(answer)
        return server


class TlsEcho(Pair):
    """An open connection; `echo()` is the server's side of one message."""

    def __init__(self, folder: str, size: int) -> None:
        super().__init__(client_context(), server_context(folder))
        self.codec = self.handshake()
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
    return median_of(options.seconds, options.repeats, pair.measure), pair.echo(pair.encrypted())


async def handshake(options: argparse.Namespace) -> tuple[float, bytes]:
    """CPU us per handshake of a server's TLS and its notice of closing."""
    client, server = client_context(), server_context(options.certificate)

    def measure() -> float:
        pair = Pair(client, server)
        end = pair.handshake()
        start = time.process_time_ns()
        try:
            end.shutdown()
        except ssl.SSLWantReadError:
            pass  # the client's notice, which the row's load does not send: it resets
        closing = pair.from_server.read()
        used = pair.used + time.process_time_ns() - start
        if not closing or pair.client.version() != "TLSv1.3":
            raise Failed("TLS over memory: no handshake of TLS 1.3, or no notice of closing")
        return used / 1000

    return median_of(options.seconds, options.repeats, measure), b""
