"""A server with TLS that stops gracefully: on SIGTERM it refuses new connections, answers what
it has begun, and only then ends. The certificate is made here, with the openssl command.
"""

import asyncio
import os
import signal
import ssl
import tempfile
from pathlib import Path

import pyasync

HOST = "127.0.0.1"


async def make_certificate(folder: Path) -> tuple[Path, Path]:
    """Make a key and a self-signed certificate for HOST, good for a day."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    command = f"openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN={HOST}"
    command += f" -addext subjectAltName=IP:{HOST} -keyout {key} -out {certificate}"
    openssl = await asyncio.create_subprocess_exec(*command.split(), stderr=asyncio.subprocess.PIPE)
    _, errors = await openssl.communicate()
    if openssl.returncode:
        raise RuntimeError(f"openssl failed: {errors.decode()}")
    return key, certificate


class Server:
    """Answers each line after a while; knows its connections, so that it can end them well."""

    def __init__(self) -> None:
        self.stopping = asyncio.Event()
        self.connections: set[asyncio.Task[None]] = set()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.connections.add(task)
        task.add_done_callback(self.connections.discard)
        try:
            while not self.stopping.is_set() and (line := await reader.readline()):
                await asyncio.sleep(0.3)  # the work
                writer.write(b"done: " + line)
                await writer.drain()
        finally:
            writer.close()
            await writer.wait_closed()

    async def serve(self, context: ssl.SSLContext, started: asyncio.Future[int]) -> None:
        """Serve until SIGTERM; sets `started` to the port."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self.stopping.set)
        server = await asyncio.start_server(self.handle, HOST, 0, ssl=context)
        started.set_result(server.sockets[0].getsockname()[1])
        await self.stopping.wait()
        server.close()  # 1. no new connections
        print("server: stopping, connections open:", len(self.connections))
        if self.connections:  # 2. time for those that are there, but not for ever
            await asyncio.wait(self.connections, timeout=5)
        for connection in self.connections:  # 3. who is not ready by now is cut off
            connection.cancel()
        loop.remove_signal_handler(signal.SIGTERM)
        print("server: stopped")


async def client(port: int, context: ssl.SSLContext) -> None:
    reader, writer = await asyncio.open_connection(HOST, port, ssl=context)
    print("client: connected with", writer.get_extra_info("ssl_object").version())
    for request in (b"one\n", b"two\n"):
        writer.write(request)
        if request == b"two\n":
            await asyncio.sleep(0.1)  # the server is at work on it ...
            os.kill(os.getpid(), signal.SIGTERM)  # ... when it is told to stop
        print("client:", (await reader.readline()).decode().strip())
    print("client: the server closed the connection:", await reader.read() == b"")
    writer.close()
    await writer.wait_closed()


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        key, certificate = await make_certificate(Path(folder))
        for_server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        for_server.load_cert_chain(certificate, key)
        # The client verifies as always; it only trusts this certificate, too.
        for_client = ssl.create_default_context(cafile=str(certificate))

    started = asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(Server().serve(for_server, started))
    port = await started

    # A client that does not trust the certificate gets no connection.
    try:
        await asyncio.open_connection(HOST, port, ssl=ssl.create_default_context())
    except ssl.SSLCertVerificationError as error:
        print("stranger:", error.verify_message)

    await client(port, for_client)
    await serving
    try:
        await asyncio.open_connection(HOST, port, ssl=for_client)
    except ConnectionRefusedError:
        print("late client: refused")


if __name__ == "__main__":
    pyasync.run(main())
