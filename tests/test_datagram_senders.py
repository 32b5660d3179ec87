"""A datagram server that answers many clients: every answer goes to the one that asked."""

import asyncio
import socket
import sys

import pytest

from tests.support import HOST, until

MANY = 1200  # more than a loop remembers addresses of
LOCAL = {socket.AF_INET: HOST, socket.AF_INET6: "::1"}


class Server(asyncio.DatagramProtocol):
    """Keeps what it gets; answers at once unless told to wait."""

    def __init__(self, at_once=True):
        self.at_once = at_once
        self.received = []

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, address):
        self.received.append((data, address))
        if self.at_once:
            self.transport.sendto(data, address)


async def serve(family=socket.AF_INET, **options):
    loop = asyncio.get_running_loop()
    _, server = await loop.create_datagram_endpoint(
        lambda: Server(**options), local_addr=(LOCAL[family], 0), family=family
    )
    return server


def make_clients(count, family=socket.AF_INET):
    clients = []
    for _ in range(count):
        client = socket.socket(family, socket.SOCK_DGRAM)
        client.bind((LOCAL[family], 0))
        client.settimeout(5)
        clients.append(client)
    return clients


def name(client):
    return b"%d" % client.getsockname()[1]


def where(server):
    return server.transport.get_extra_info("sockname")


async def ask(server, clients):
    """Each client sends its name; waits until the server has got all of them."""
    before = len(server.received)
    for number, client in enumerate(clients, 1):
        client.sendto(name(client), where(server))
        if number % 50 == 0 or number == len(clients):  # what a socket's buffer is sure to hold
            await until(lambda number=number: len(server.received) == before + number)


def check_answers(clients):
    for client in clients:
        assert client.recvfrom(100)[0] == name(client)


def close(server, *clients):
    server.transport.close()
    for client in clients:
        client.close()


@pytest.mark.parametrize("family", LOCAL, ids=lambda family: family.name)
async def test_each_gets_its_own_answer(loop, family):
    server, clients = await serve(family), make_clients(20, family)
    for _ in range(3):
        await ask(server, clients)
        check_answers(clients)
    assert {address for _, address in server.received} == {c.getsockname() for c in clients}
    close(server, *clients)
    await asyncio.sleep(0)


async def test_more_than_are_remembered(loop):
    """In groups, as a process may have no more than a thousand descriptors open."""
    server = await serve()
    for _ in range(MANY // 100):
        clients = make_clients(100)
        await ask(server, clients)
        await ask(server, clients[::-1])
        for client in clients:
            assert [client.recv(100), client.recv(100)] == [name(client)] * 2
        for client in clients:
            client.close()
    close(server)
    await asyncio.sleep(0)


async def test_answers_that_come_late(loop):
    """By then others were heard, and may have taken the place of who asked first."""
    server, clients = await serve(at_once=False), make_clients(300)
    await ask(server, clients)
    for data, address in server.received:
        server.transport.sendto(data, address)
    check_answers(clients)
    close(server, *clients)
    await asyncio.sleep(0)


async def test_an_equal_address_and_a_changed_one(loop):
    server, (one, two) = await serve(at_once=False), make_clients(2)
    await ask(server, [one])
    host, port = server.received[0][1]
    server.transport.sendto(b"equal", (host, port))
    server.transport.sendto(b"other", (host, two.getsockname()[1]))
    assert one.recv(100) == b"equal"
    assert two.recv(100) == b"other"
    close(server, one, two)
    await asyncio.sleep(0)


async def test_an_address_heard_by_another_endpoint(loop):
    """Also one of another family, which it cannot reach."""
    four, six = await serve(at_once=False), await serve(socket.AF_INET6, at_once=False)
    again = await serve(at_once=False)
    (client,) = make_clients(1)
    await ask(four, [client])
    address = four.received[0][1]
    again.transport.sendto(b"from another", address)
    assert client.recvfrom(100) == (b"from another", where(again))
    errors = []
    six.error_received = errors.append
    six.transport.sendto(b"not reached", address)
    await until(lambda: errors)
    assert isinstance(errors[0], OSError)
    close(four, client)
    close(six)
    close(again)
    await asyncio.sleep(0)


async def test_an_address_is_a_plain_tuple_that_outlives_its_endpoint(loop):
    server, (client,) = await serve(at_once=False), make_clients(1)
    await ask(server, [client])
    address = server.received[0][1]
    assert type(address) is tuple and address == client.getsockname()
    close(server, client)
    await asyncio.sleep(0)
    del server
    assert address == (HOST, address[1])


def test_no_address_is_kept_by_a_closed_loop(new_loop):
    loop = new_loop()

    async def body():
        server, (client,) = await serve(at_once=False), make_clients(1)
        await ask(server, [client])
        address = server.received.pop()[1]
        close(server, client)
        await asyncio.sleep(0)
        return address

    address = loop.run_until_complete(body())
    loop.close()
    assert sys.getrefcount(address) <= 2  # ours, and that of the call
