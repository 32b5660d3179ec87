"""Servers: listening, accepting, closing, many sockets, limits of descriptors."""

import asyncio
import socket
import sys
import weakref

import pytest

from tests.support import (
    HOST,
    Recorder,
    closed,
    connected,
    error_of,
    plain,
    run_snippet,
    turns,
    until,
)


async def talk(loop, address):
    transport, protocol = await loop.create_connection(Recorder, *address[:2])
    await closed(protocol)


async def test_a_server_and_its_sockets(loop):
    server = await loop.create_server(Recorder, HOST, 0)
    assert isinstance(server, asyncio.AbstractServer)
    assert type(server).__name__ == "Server"
    assert server.is_serving() and server.get_loop() is loop
    (sock,) = server.sockets
    assert sock.getsockname()[0] == HOST and sock.getsockname()[1] > 0
    await talk(loop, sock.getsockname())
    server.close()
    assert not server.is_serving()
    assert server.sockets == ()
    await server.wait_closed()


async def test_a_closed_server_refuses(loop):
    server = await loop.create_server(Recorder, HOST, 0)
    address = server.sockets[0].getsockname()
    server.close()
    server.close()
    with pytest.raises(ConnectionRefusedError):
        await loop.create_connection(Recorder, *address)


async def test_the_server_without_a_start(loop):
    server = await loop.create_server(Recorder, HOST, 0, start_serving=False)
    assert not server.is_serving()
    address = server.sockets[0].getsockname()
    with pytest.raises(ConnectionRefusedError):
        await loop.create_connection(Recorder, *address)
    await server.start_serving()
    await server.start_serving()
    assert server.is_serving()
    await talk(loop, address)
    server.close()
    await server.wait_closed()


async def test_serve_forever_until_cancelled(loop):
    server = await loop.create_server(Recorder, HOST, 0)
    address = server.sockets[0].getsockname()
    task = asyncio.ensure_future(server.serve_forever())
    await talk(loop, address)
    with pytest.raises(RuntimeError, match="is already being awaited on serve_forever"):
        await server.serve_forever()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not server.is_serving()
    with pytest.raises(RuntimeError, match="is closed"):
        await server.serve_forever()


async def test_the_server_as_context_manager(loop):
    async with await loop.create_server(Recorder, HOST, 0) as server:
        await talk(loop, server.sockets[0].getsockname())
    assert not server.is_serving()


def test_wait_closed(same_as_asyncio):
    """Whether wait_closed waits for connections differs between Python versions."""

    async def body(loop):
        made = loop.create_future()

        class Server(Recorder):
            def connection_made(self, transport):
                super().connection_made(transport)
                made.set_result(self)

        server = await loop.create_server(Server, HOST, 0)
        address = server.sockets[0].getsockname()
        transport, client = await loop.create_connection(Recorder, *address)
        server_side = await made
        server.close()
        waiter = asyncio.ensure_future(server.wait_closed())
        await turns(5)
        early = waiter.done()
        await closed(client, server_side)
        await asyncio.wait_for(waiter, 5)
        return early

    early = same_as_asyncio(body)
    assert early is (sys.version_info < (3, 12))


def test_close_and_abort_clients(same_as_asyncio):
    if sys.version_info < (3, 13):
        pytest.skip("Server.close_clients and abort_clients came with Python 3.13")

    async def body(loop):
        results = []
        for method in ("close_clients", "abort_clients"):
            server = await loop.create_server(Recorder, HOST, 0)
            address = server.sockets[0].getsockname()
            clients = [(await loop.create_connection(Recorder, *address))[1] for _ in range(5)]
            await asyncio.sleep(0.002)
            getattr(server, method)()
            await asyncio.wait([client.lost for client in clients], timeout=5)
            results.append([client.lost.done() for client in clients])
            server.close()
            await asyncio.wait_for(server.wait_closed(), 5)
        return results

    assert same_as_asyncio(body) == [[True] * 5] * 2


async def test_a_server_knows_its_transports_until_they_are_lost(loop):
    if sys.version_info < (3, 13):
        pytest.skip("until Python 3.13 a server only counts its transports")
    made = []

    def make():
        made.append(Recorder())
        return made[-1]

    server = await loop.create_server(make, HOST, 0)
    address = server.sockets[0].getsockname()
    clients = [(await loop.create_connection(Recorder, *address))[1] for _ in range(5)]
    await until(lambda: len(made) == 5 and all(protocol.made.done() for protocol in made))
    assert set(server._clients) == {protocol.transport for protocol in made}
    await closed(*made[:2])
    assert set(server._clients) == {protocol.transport for protocol in made[2:]}
    server.close()
    waiter = loop.create_task(server.wait_closed())
    await closed(made[2], *clients)
    await asyncio.wait_for(waiter, 5)
    assert len(server._clients) == 0


@pytest.mark.parametrize("method", ["_attach", "_detach"])
async def test_what_replaces_a_method_of_the_server_is_called(loop, monkeypatch, method):
    calls = []
    original = getattr(asyncio.Server, method)

    def instead(self, *transports):
        calls.append(len(transports))
        return original(self, *transports)

    monkeypatch.setattr(asyncio.Server, method, instead)
    server = await loop.create_server(Recorder, HOST, 0)
    for _ in range(2):
        await talk(loop, server.sockets[0].getsockname())
    await until(lambda: len(calls) == 2)
    assert calls == [int(sys.version_info >= (3, 13))] * 2
    server.close()


async def test_what_replaces_a_method_of_weak_sets_is_called(loop, monkeypatch):
    if sys.version_info < (3, 13):
        pytest.skip("until Python 3.13 a server only counts its transports")
    added = []
    original = weakref.WeakSet.add
    monkeypatch.setattr(
        weakref.WeakSet, "add", lambda self, item: (added.append(item), original(self, item))
    )
    server = await loop.create_server(Recorder, HOST, 0)
    await talk(loop, server.sockets[0].getsockname())
    await until(lambda: any(isinstance(item, asyncio.Transport) for item in added))
    server.close()


async def test_connections_outlive_the_server(loop):
    server_side, client, server = await connected()
    await turns(3)
    client.transport.write(b"still here")
    await until(lambda: server_side.data == b"still here")
    await closed(client, server_side)


async def test_a_sequence_of_hosts(loop):
    server = await loop.create_server(Recorder, ["127.0.0.1", "127.0.0.2"], 0)
    addresses = [sock.getsockname() for sock in server.sockets]
    assert sorted(address[0] for address in addresses) == ["127.0.0.1", "127.0.0.2"]
    for address in addresses:
        await talk(loop, address)
    server.close()
    await server.wait_closed()


async def test_the_empty_host_listens_everywhere(loop):
    server = await loop.create_server(Recorder, "", 0, family=socket.AF_INET)
    address = server.sockets[0].getsockname()
    assert address[0] == "0.0.0.0"
    await talk(loop, (HOST, address[1]))
    server.close()
    await server.wait_closed()


async def test_a_socket_of_ones_own(loop):
    sock = socket.socket()
    sock.bind((HOST, 0))
    server = await loop.create_server(Recorder, sock=sock)
    assert sock.gettimeout() == 0
    await talk(loop, sock.getsockname())
    server.close()
    await server.wait_closed()
    assert sock.fileno() == -1


def test_bad_arguments(same_as_asyncio):
    async def body(loop):
        async def failing(*args, **options):
            try:
                server = await loop.create_server(*args, **options)
            except (ValueError, TypeError, OSError, OverflowError) as exc:
                return type(exc).__name__, plain(str(exc))
            server.close()
            return "no error"

        datagram = socket.socket(type=socket.SOCK_DGRAM)
        found = [
            await failing(Recorder),
            await failing(Recorder, HOST, 0, sock=datagram),
            await failing(Recorder, sock=datagram),
            await failing(Recorder, HOST, 0, ssl=True),
            await failing(Recorder, HOST, 0, ssl_handshake_timeout=5),
            await failing(Recorder, HOST, 0, ssl_shutdown_timeout=5),
            await failing(Recorder, "192.0.2.1", 0),
            await failing(Recorder, HOST, 70000),
            await failing(Recorder, "256.256.256.256", 0, flags=socket.AI_NUMERICHOST),
        ]
        datagram.close()
        return found

    same_as_asyncio(body)


async def test_an_address_in_use(loop):
    server = await loop.create_server(Recorder, HOST, 0)
    address = server.sockets[0].getsockname()
    with pytest.raises(OSError) as caught:
        await loop.create_server(Recorder, *address)
    assert caught.value.errno == 98
    assert str(address) in str(caught.value)
    server.close()
    again = await loop.create_server(Recorder, *address)
    again.close()


async def test_reuse_port(loop):
    first = await loop.create_server(Recorder, HOST, 0, reuse_port=True)
    address = first.sockets[0].getsockname()
    second = await loop.create_server(Recorder, *address, reuse_port=True)
    for _ in range(10):
        await talk(loop, address)
    for server in (first, second):
        option = server.sockets[0].getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)
        assert option != 0
        server.close()
        await server.wait_closed()


async def test_the_backlog_is_accepted_in_one_go(loop):
    """Many connections that wait at once are all accepted."""
    made = []

    class Counts(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            made.append(self)

    server = await loop.create_server(Counts, HOST, 0, backlog=100, start_serving=False)
    await server.start_serving()
    address = server.sockets[0].getsockname()
    clients = [socket.create_connection(address) for _ in range(80)]
    await until(lambda: len(made) == 80)
    for client in clients:
        client.close()
    await asyncio.wait([protocol.lost for protocol in made])
    server.close()
    await server.wait_closed()


async def test_a_client_that_is_gone_before_it_is_accepted(loop):
    import struct

    made = []

    class Counts(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            made.append(self)

    server = await loop.create_server(Counts, HOST, 0)
    address = server.sockets[0].getsockname()
    for _ in range(10):
        client = socket.create_connection(address)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
    await talk(loop, address)
    await until(lambda: made and all(protocol.lost.done() for protocol in made))
    server.close()
    await server.wait_closed()


async def test_closing_the_server_in_a_protocol_callback(loop):
    class Closes(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            server.close()

    server = await loop.create_server(Closes, HOST, 0)
    await talk(loop, server.sockets[0].getsockname())
    await until(lambda: not server.is_serving())
    await turns(5)


async def test_a_server_that_is_dropped_goes_on(loop):
    import gc

    server = await loop.create_server(Recorder, HOST, 0)
    sock = server.sockets[0]
    address = sock.getsockname()
    keep = server
    del server
    gc.collect()
    await talk(loop, address)
    keep.close()
    await keep.wait_closed()


def test_a_server_listening_when_the_loop_closes(snippet):
    out = snippet(
        """
        loop = new_loop()
        server = loop.run_until_complete(loop.create_server(asyncio.Protocol, "127.0.0.1", 0))
        address = server.sockets[0].getsockname()
        loop.close()
        del server
        gc.collect()
        print("closed")
        """,
        stderr=None,
    )
    assert out == "closed\n"


def test_running_out_of_descriptors_pauses_accepting(snippet):
    """EMFILE on accept: reported, a pause of a second, no spinning, then served."""
    out = snippet(
        """
        import resource
        loop = new_loop()
        reports = []
        loop.set_exception_handler(lambda loop, context: reports.append(context))
        made = []
        class Server(asyncio.Protocol):
            def connection_made(self, transport):
                self.transport = transport
                made.append(self)
        async def main():
            server = await loop.create_server(Server, "127.0.0.1", 0, backlog=10)
            address = server.sockets[0].getsockname()
            clients = [socket.socket() for _ in range(3)]
            highest = max(client.fileno() for client in clients)
            resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, 4096))
            holes = []
            try:
                while True:
                    holes.append(os.dup(0))
            except OSError:
                pass
            for client in clients:
                client.setblocking(False)
                client.connect_ex(address)
            used = time.process_time()
            await asyncio.sleep(0.4)
            print("busy" if time.process_time() - used > 0.25 else "idle", len(made))
            print(len(reports) > 0, reports[0]["message"], type(reports[0]["exception"]).__name__)
            count = len(reports)
            for hole in holes:
                os.close(hole)
            resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
            start = time.monotonic()
            while len(made) < 3 and time.monotonic() - start < 8:
                await asyncio.sleep(0.01)
            print("served", len(made), time.monotonic() - start > 0.2)
            for client in clients:
                client.close()
            for protocol in made:
                protocol.transport.close()
            server.close()
            await asyncio.sleep(0.01)
        loop.run_until_complete(main())
        loop.close()
        """,
    )
    lines = out.splitlines()
    assert lines[0] == "idle 0"
    assert lines[1] == "True socket.accept() out of system resource OSError"
    assert lines[2] == "served 3 True"


def test_what_is_reported_on_running_out_of_descriptors(snippet, loop_name):
    source = """
        import resource
        loop = new_loop()
        def report(loop, context):
            print(sorted(context), context["exception"])
        loop.set_exception_handler(report)
        async def main():
            server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0, backlog=1)
            client = socket.socket()
            resource.setrlimit(resource.RLIMIT_NOFILE, (client.fileno() + 1, 4096))
            holes = []
            try:
                while True:
                    holes.append(os.dup(0))
            except OSError:
                pass
            client.setblocking(False)
            client.connect_ex(server.sockets[0].getsockname())
            await asyncio.sleep(0.05)
            for hole in holes:
                os.close(hole)
            client.close()
            server.close()
        loop.run_until_complete(main())
        loop.close()
    """
    line = run_snippet("asyncio", source).splitlines()[0]
    assert snippet(source).splitlines()[0] == line
    assert line == "['exception', 'message', 'socket'] [Errno 24] Too many open files"


def test_server_errors(same_as_asyncio):
    async def body(loop):
        server = await loop.create_server(Recorder, HOST, 0)
        sock = server.sockets[0]
        found = [
            error_of(sock.accept)[0] if hasattr(sock, "accept") else "no accept",
            type(sock).__name__,
            server.get_loop() is loop,
        ]
        server.close()
        await server.wait_closed()
        return found

    same_as_asyncio(body)
