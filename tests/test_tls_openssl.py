"""TLS against the openssl command: bytes both ways, with TLS 1.2 and 1.3, have equal checksums.

PYASYNC_TLS_MEGABYTES=200 sends that many MB (10**6 bytes) each way; the suite sends 4.
"""

import asyncio
import contextlib
import hashlib
import os
import random
import socket
import ssl
import subprocess
import threading

import pytest

from tests.support import HOST

MEGABYTES = float(os.environ.get("PYASYNC_TLS_MEGABYTES", "4"))
PIECE = 50_021  # no multiple of a record
PATIENCE = 60 + MEGABYTES  # s
VERSIONS = {"-tls1_2": ssl.TLSVersion.TLSv1_2, "-tls1_3": ssl.TLSVersion.TLSv1_3}


def pieces(seed):
    """The same random bytes for the same seed, piece by piece."""
    generator = random.Random(seed)
    left = int(MEGABYTES * 1e6)
    while left > 0:
        size = min(PIECE, left)
        yield generator.randbytes(size)
        left -= size


def checksum(chunks):
    """Number of bytes and SHA-256 of all chunks."""
    size, digest = 0, hashlib.sha256()
    for chunk in chunks:
        size += len(chunk)
        digest.update(chunk)
    return size, digest.hexdigest()


class Command:
    """An openssl command; threads write its standard input and check its standard output."""

    def __init__(self, *arguments, errors=subprocess.DEVNULL):
        self.process = subprocess.Popen(
            ["openssl", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
        )
        self.checksum = None
        self.threads = []

    def exchange(self, seed, expected_size):
        """Write the bytes of `seed`, read as many as expected, both in threads."""

        def write():
            for piece in pieces(seed):
                self.process.stdin.write(piece)
            self.process.stdin.flush()

        def read():
            left = expected_size

            def chunks():
                nonlocal left
                while left > 0 and (chunk := self.process.stdout.read1(min(left, 1 << 16))):
                    left -= len(chunk)
                    yield chunk

            self.checksum = checksum(chunks())

        self.threads = [threading.Thread(target=target, daemon=True) for target in (write, read)]
        for thread in self.threads:
            thread.start()

    async def exchanged(self):
        """The checksum of what came, when all has been written and read."""
        for thread in self.threads:
            await asyncio.to_thread(thread.join, PATIENCE)
            assert not thread.is_alive(), "openssl hangs"
        return self.checksum

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.process.kill()
        self.process.wait()
        for thread in self.threads:
            thread.join(10)
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.stdout.close()


async def echo(reader, writer):
    """Send back what comes until the peer ends."""
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        while data := await reader.read(1 << 18):
            writer.write(data)
            await writer.drain()
    writer.close()
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        await writer.wait_closed()


async def stop(server):
    """Close the server and let its last connections end."""
    server.close()
    for _ in range(500):
        if len(asyncio.all_tasks()) == 1:
            break
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("option", VERSIONS)
async def test_a_server_echoes_s_client(loop, contexts, option):
    server = await asyncio.start_server(echo, HOST, 0, ssl=contexts[0])
    port = server.sockets[0].getsockname()[1]
    address = f"{HOST}:{port}"
    with Command("s_client", option, "-quiet", "-nocommands", "-connect", address) as client:
        expected = await asyncio.to_thread(checksum, pieces(1))
        client.exchange(1, expected[0])
        assert await client.exchanged() == expected
    await stop(server)


@pytest.mark.parametrize("option", VERSIONS)
async def test_a_client_of_s_server(loop, contexts, certificate, option):
    """The two send different bytes at the same time."""
    with socket.create_server((HOST, 0)) as free:
        port = free.getsockname()[1]
    files = "-cert", certificate[0], "-key", certificate[1]
    address = f"{HOST}:{port}"
    with Command("s_server", option, "-quiet", "-accept", address, *files) as server:
        for _ in range(200):
            with contextlib.suppress(ConnectionRefusedError):
                reader, writer = await asyncio.open_connection(
                    HOST, port, ssl=contexts[1], server_hostname="localhost"
                )
                break
            await asyncio.sleep(0.05)
        tls = writer.get_extra_info("ssl_object")
        assert tls.version() == {"-tls1_2": "TLSv1.2", "-tls1_3": "TLSv1.3"}[option]
        sent, wanted = checksum(pieces(2)), checksum(pieces(3))
        server.exchange(3, sent[0])

        async def send():
            for piece in pieces(2):
                writer.write(piece)
                await writer.drain()

        async def receive():
            size, digest = 0, hashlib.sha256()
            while size < wanted[0] and (data := await reader.read(1 << 18)):
                size += len(data)
                digest.update(data)
            return size, digest.hexdigest()

        sending = asyncio.ensure_future(send())
        assert await asyncio.wait_for(receive(), PATIENCE) == wanted
        await sending
        assert await server.exchanged() == sent
        writer.close()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()


@pytest.mark.parametrize(
    ("option", "command", "answer"),
    [("-tls1_3", b"K\n", b"KEYUPDATE"), ("-tls1_2", b"R\n", b"RENEGOTIATING")],
)
async def test_new_keys_on_a_connection_in_use(loop, contexts, option, command, answer):
    """The peer asks for a key update, or renegotiates; data goes on in both directions."""
    allow_client_renegotiation = 1 << 8  # OpenSSL 3 refuses it by default
    contexts[0].options |= allow_client_renegotiation
    server = await asyncio.start_server(echo, HOST, 0, ssl=contexts[0])
    port = server.sockets[0].getsockname()[1]
    command_line = "s_client", option, "-connect", f"{HOST}:{port}"
    with Command(*command_line, errors=subprocess.STDOUT) as client:
        # Commands are lines of their own; the echo tells when the connection is up.
        output = b""

        async def until_output(wanted):
            nonlocal output
            while wanted not in output:
                chunk = await asyncio.wait_for(
                    asyncio.to_thread(client.process.stdout.read1, 1 << 16), 20
                )
                assert chunk, output
                output += chunk

        def type_in(line):
            client.process.stdin.write(line)
            client.process.stdin.flush()

        type_in(b"first line\n")
        await until_output(b"first line\n")
        type_in(command)
        await asyncio.sleep(0.2)
        type_in(b"second line\n")
        await until_output(b"second line\n")
        await until_output(answer)
    await stop(server)
