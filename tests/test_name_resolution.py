"""getaddrinfo and getnameinfo: results, errors, and programs that replace socket's functions."""

import asyncio
import contextlib
import socket
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pyasync

ODD_SPELLINGS = ["0:0::1", "::0001", "FE80::A", "::ffff:1.2.3.4", "::1.2.3.4", "1::", "010.0.0.1"]


def run(loop, coroutine):
    return loop.run_until_complete(coroutine)


@pytest.mark.parametrize(
    "host, port, options",
    [
        ("127.0.0.1", 80, {}),
        ("127.0.0.1", 80, {"type": socket.SOCK_STREAM}),
        ("127.0.0.1", 80, {"type": socket.SOCK_DGRAM}),
        ("127.0.0.1", "80", {"type": socket.SOCK_STREAM}),
        ("127.0.0.1", b"80", {"type": socket.SOCK_STREAM}),
        ("127.0.0.1", "http", {"type": socket.SOCK_STREAM}),
        ("127.0.0.1", None, {"type": socket.SOCK_STREAM}),
        ("127.0.0.1", 0, {"type": socket.SOCK_STREAM, "proto": socket.IPPROTO_TCP}),
        ("127.0.0.1", 80, {"family": socket.AF_INET}),
        (b"127.0.0.1", 80, {"type": socket.SOCK_STREAM}),
        ("127.1", 80, {"type": socket.SOCK_STREAM}),
        ("0", 80, {"type": socket.SOCK_STREAM}),
        ("0x7f.1", 80, {"type": socket.SOCK_STREAM}),
        ("::1", 80, {"type": socket.SOCK_STREAM}),
        ("::1", 80, {"family": socket.AF_INET6}),
        ("::ffff:127.0.0.1", 80, {"type": socket.SOCK_STREAM}),
        ("fe80::1%1", 80, {"type": socket.SOCK_STREAM}),
        ("fe80::1%lo", 80, {"type": socket.SOCK_STREAM}),
        ("127.0.0.1", 80, {"flags": socket.AI_CANONNAME}),
        ("localhost", 80, {"type": socket.SOCK_STREAM}),
        ("localhost", 80, {"type": socket.SOCK_STREAM, "flags": socket.AI_CANONNAME}),
        (None, 80, {"type": socket.SOCK_STREAM}),
        (None, 80, {"type": socket.SOCK_STREAM, "flags": socket.AI_PASSIVE}),
        ("", 80, {"type": socket.SOCK_STREAM}),
        ("127.0.0.1", 65535, {"type": socket.SOCK_STREAM}),
        ("127.0.0.1", 70000, {"type": socket.SOCK_STREAM}),
        ("127.0.0.1", -1, {"type": socket.SOCK_STREAM}),
        ("127.0.0.1", 80, {"type": socket.SOCK_STREAM, "proto": socket.IPPROTO_UDP}),
        ("127.0.0.1", 80, {"family": socket.AF_INET6}),
        ("127.0.0.1", 80, {"type": 77}),
        ("127.0.0.1", "no such service", {}),
        ("256.256.256.256", 80, {"flags": socket.AI_NUMERICHOST}),
        ("bad\0name", 80, {}),
        ("x" * 70 + ".example", 80, {}),
        (5, 80, {}),
        ("127.0.0.1", 1.5, {}),
    ],
    ids=repr,
)
def test_getaddrinfo_answers_like_the_socket_module(loop, host, port, options):
    def outcome(call):
        try:
            return call()
        except Exception as exc:
            return type(exc), exc.args

    expected = outcome(lambda: socket.getaddrinfo(host, port, **options))
    got = outcome(lambda: run(loop, loop.getaddrinfo(host, port, **options)))
    assert got == expected


@given(
    hosts=st.lists(st.ip_addresses().map(str) | st.sampled_from(ODD_SPELLINGS), min_size=1),
    port=st.integers(0, 65535),
    options=st.fixed_dictionaries(
        {},
        optional={
            "family": st.sampled_from([socket.AF_UNSPEC, socket.AF_INET, socket.AF_INET6]),
            "type": st.sampled_from([0, socket.SOCK_STREAM, socket.SOCK_DGRAM]),
            "proto": st.sampled_from([0, socket.IPPROTO_TCP, socket.IPPROTO_UDP]),
            "flags": st.sampled_from([0, socket.AI_PASSIVE, socket.AI_NUMERICHOST]),
        },
    ),
)
@settings(max_examples=200, deadline=None)
def test_any_literal_is_resolved_like_by_the_socket_module(hosts, port, options):
    def outcome(call):
        try:
            return call()
        except OSError as exc:
            return type(exc), exc.args

    with contextlib.closing(pyasync.new_event_loop()) as loop:
        for host in hosts:
            expected = outcome(lambda host=host: socket.getaddrinfo(host, port, **options))
            got = outcome(lambda host=host: run(loop, loop.getaddrinfo(host, port, **options)))
            assert got == expected
            assert [*map(repr, got)] == [*map(repr, expected)]


@pytest.mark.parametrize(
    "address, flags",
    [
        (("127.0.0.1", 80), socket.NI_NUMERICHOST | socket.NI_NUMERICSERV),
        (("127.0.0.1", 80), socket.NI_NUMERICHOST),
        (("::1", 80), socket.NI_NUMERICHOST | socket.NI_NUMERICSERV),
        (("::1", 80, 0, 0), socket.NI_NUMERICHOST | socket.NI_NUMERICSERV),
        (("127.0.0.1", 53), socket.NI_NUMERICHOST | socket.NI_DGRAM),
        (("127.0.0.1", 80), socket.NI_NUMERICSERV),
        (("127.0.0.1",), 0),
        (("127.0.0.1", 70000), 0),
        ("127.0.0.1", 0),
    ],
    ids=repr,
)
def test_getnameinfo_answers_like_the_socket_module(loop, address, flags):
    def outcome(call):
        try:
            return call()
        except Exception as exc:
            return type(exc), exc.args

    expected = outcome(lambda: socket.getnameinfo(address, flags))
    assert outcome(lambda: run(loop, loop.getnameinfo(address, flags))) == expected


def test_an_unknown_host_is_a_gaierror(loop):
    with pytest.raises(socket.gaierror) as caught:
        run(loop, loop.getaddrinfo("host.invalid", 80))
    assert caught.value.errno in (socket.EAI_NONAME, socket.EAI_AGAIN, socket.EAI_NODATA)
    assert caught.value.strerror and "libuv" not in str(caught.value)
    with pytest.raises(socket.gaierror) as expected:
        socket.getaddrinfo("host.invalid", 80)
    assert caught.value.args == expected.value.args


def test_create_connection_to_an_unknown_host(loop):
    with pytest.raises(socket.gaierror):
        run(loop, loop.create_connection(asyncio.Protocol, "host.invalid", 80))


def test_a_replaced_getaddrinfo_is_honoured(loop, monkeypatch):
    """Test suites replace socket.getaddrinfo; the loop must ask that one."""
    seen = []

    def fake(host, port, family=0, type=0, proto=0, flags=0):
        seen.append((host, port))
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.9", 9))]

    monkeypatch.setattr(socket, "getaddrinfo", fake)
    result = run(loop, loop.getaddrinfo("replaced.example", 80))
    assert result == [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.9", 9))]
    assert seen == [("replaced.example", 80)]
    assert run(loop, loop.getaddrinfo("127.0.0.1", 80)) == result


def test_a_replaced_getnameinfo_is_honoured(loop, monkeypatch):
    monkeypatch.setattr(socket, "getnameinfo", lambda address, flags: ("replaced", "service"))
    assert run(loop, loop.getnameinfo(("127.0.0.1", 80))) == ("replaced", "service")


def test_a_replacement_that_raises(loop, monkeypatch):
    def fake(*args, **kwargs):
        raise socket.gaierror(socket.EAI_NONAME, "replaced")

    monkeypatch.setattr(socket, "getaddrinfo", fake)
    with pytest.raises(socket.gaierror, match="replaced"):
        run(loop, loop.getaddrinfo("host", 80))


def test_an_overridden_getaddrinfo_of_the_loop_is_used_by_create_connection(new_loop):
    probe = new_loop()
    seen = []

    class Mine(type(probe)):
        async def getaddrinfo(self, host, port, **options):
            seen.append(host)
            return await super().getaddrinfo("127.0.0.1", port, **options)

    probe.close()
    loop = Mine()

    async def body():
        server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        transport, _ = await loop.create_connection(asyncio.Protocol, "my.host", port)
        transport.abort()
        await asyncio.sleep(0.01)
        server.close()

    loop.run_until_complete(body())
    loop.close()
    assert "my.host" in seen


def test_many_lookups_at_once(loop):
    async def body():
        lookups = [loop.getaddrinfo("localhost", i, type=socket.SOCK_STREAM) for i in range(1, 60)]
        return await asyncio.gather(*lookups)

    results = run(loop, body())
    assert [result[0][4][1] for result in results] == list(range(1, 60))


def test_a_cancelled_lookup_is_forgotten(loop):
    async def body():
        for _ in range(20):
            task = asyncio.ensure_future(loop.getaddrinfo("localhost", 80))
            await asyncio.sleep(0)
            was_pending = task.cancel()
            await asyncio.wait([task])
            assert task.cancelled() is was_pending
        await asyncio.sleep(0.01)

    run(loop, body())


def test_a_loop_closed_during_a_lookup(snippet):
    out = snippet(
        """
        loop = new_loop()
        async def main():
            lookup = asyncio.ensure_future(loop.getaddrinfo("localhost", 80))
            await asyncio.sleep(0)
            lookup.cancel()
        loop.run_until_complete(main())
        loop.close()
        print("closed")
        """
    )
    assert out == "closed\n"


def test_lookups_leave_the_loop_free(loop):
    """While a slow resolver works the loop goes on."""
    release = threading.Event()
    original = socket.getaddrinfo

    def slow(*args, **kwargs):
        release.wait(5)
        return original(*args, **kwargs)

    async def body():
        socket.getaddrinfo = slow
        try:
            lookup = asyncio.ensure_future(loop.getaddrinfo("127.0.0.1", 80))
            for _ in range(10):
                await asyncio.sleep(0.0005)
            assert not lookup.done()
            release.set()
            assert await lookup
        finally:
            socket.getaddrinfo = original

    run(loop, body())


def test_an_answer_belongs_to_the_caller(loop):
    first = run(loop, loop.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM))
    first.clear()
    second = run(loop, loop.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM))
    assert second == socket.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)
