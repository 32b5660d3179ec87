"""Lifetimes under stress: a collection at every allocation, finalisers, growth over rounds."""

import asyncio
import gc
import socket
import sys
import tracemalloc
import weakref

import pytest

from tests.support import closed, connected, turn, turns


@pytest.fixture
def collect_always():
    """Collect the youngest generation at (nearly) every allocation."""
    old = gc.get_threshold()
    gc.set_threshold(1, 1, 1)
    yield
    gc.set_threshold(*old)


def test_callbacks_and_timers(collect_always, loop):
    seen = []
    for i in range(50):
        loop.call_soon(seen.append, i)
        loop.call_later(0, seen.append, i)
        loop.call_later(1000, seen.append, i).cancel()
        loop.call_soon(seen.append, i).cancel()
    turn(loop, 3)
    assert len(seen) == 100


def test_tasks_and_futures(collect_always, loop):
    async def child(future):
        return await future

    async def body():
        futures = [loop.create_future() for _ in range(30)]
        tasks = [asyncio.ensure_future(child(future)) for future in futures]
        await asyncio.sleep(0)
        for i, future in enumerate(futures):
            loop.call_soon(future.set_result, i)
        results = await asyncio.gather(*tasks)
        try:
            async with asyncio.timeout(0):
                await asyncio.sleep(1)
        except TimeoutError:
            pass
        return results

    assert loop.run_until_complete(body()) == list(range(30))


async def test_connections(collect_always, loop):
    server_side, client, server = await connected()
    for _ in range(10):
        client.transport.write(b"x" * 1000)
        await asyncio.sleep(0)
    client.transport.write_eof()
    await server_side.eof
    assert len(server_side.data) == 10_000
    await closed(client, server_side)


def test_a_finaliser_that_uses_the_loop(loop):
    seen = []

    class Finaliser:
        def __del__(self):
            loop.call_soon(seen.append, "soon")
            loop.call_later(0, seen.append, "later")
            future = loop.create_future()
            future.set_result(None)
            future.add_done_callback(lambda f: seen.append("future"))

    loop.call_soon(lambda argument: None, Finaliser())
    turn(loop, 3)
    assert sorted(seen) == ["future", "later", "soon"]


def test_a_finaliser_during_close(new_loop):
    seen = []
    loop = new_loop()

    class Finaliser:
        def __del__(self):
            try:
                loop.call_soon(print)
            except RuntimeError as exc:
                seen.append(str(exc))

    for schedule in (loop.call_soon, lambda *args: loop.call_later(1000, *args)):
        schedule(print, Finaliser())
    loop.close()
    gc.collect()
    assert set(seen) <= {"Event loop is closed"}


def test_a_cancelled_handle_whose_argument_cancels_others(loop):
    handles = []

    class Chain:
        def __init__(self, index):
            self.index = index

        def __del__(self):
            if self.index + 1 < len(handles):
                handles[self.index + 1].cancel()

    handles.extend(loop.call_soon(print, Chain(i)) for i in range(200))
    handles[0].cancel()
    assert all(handle.cancelled() for handle in handles)
    turn(loop)


def test_a_task_destroyed_by_its_own_wake_up(loop):
    """The last reference to a task may be the wake-up that runs it."""
    references = []

    async def body(future):
        await future

    def start():
        future = loop.create_future()
        task = loop.create_task(body(future))
        references.append(weakref.ref(task))
        loop.call_soon(loop.call_soon, future.set_result, None)

    start()
    turn(loop, 6)
    gc.collect()
    assert references[0]() is None


async def test_a_transport_nobody_holds_lives_while_it_is_open(loop):
    server_side, client, server = await connected()
    reference = weakref.ref(server_side.transport)
    server_side.transport = None
    server_side.made = None
    gc.collect()
    client.transport.write(b"still there")
    await turns(5)
    client.transport.write_eof()
    await server_side.eof
    assert server_side.data == b"still there"
    await server_side.lost
    await closed(client)
    await turns(3)
    gc.collect()
    assert reference() is None


async def test_protocol_and_transport_are_freed_after_the_connection(loop):
    server_side, client, server = await connected()
    references = [weakref.ref(p) for p in (server_side, client)]
    references += [weakref.ref(p.transport) for p in (server_side, client)]
    await closed(client, server_side)
    del server_side, client, server
    await turns(3)
    gc.collect()
    assert [reference() for reference in references] == [None] * 4


def growth_of(work, rounds=4):
    """Bytes that the later rounds of `work` leave behind, caches of the first ones excepted."""
    work()
    work()
    gc.collect()
    tracemalloc.start()
    try:
        work()
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(rounds):
            work()
        gc.collect()
        return tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()


def test_callbacks_leave_nothing(loop):
    def work():
        for i in range(500):
            loop.call_soon(int, i)
            loop.call_soon(print).cancel()
            loop.call_later(0, int)
            loop.call_later(1000, int).cancel()
            loop.call_soon_threadsafe(int)
        turn(loop, 3)

    assert growth_of(work) < 40_000


def test_tasks_leave_nothing(loop):
    async def child(i):
        await asyncio.sleep(0)
        if i % 7 == 0:
            raise LookupError
        return i

    async def body():
        await asyncio.gather(*(child(i) for i in range(200)), return_exceptions=True)
        tasks = [asyncio.ensure_future(asyncio.sleep(1000)) for _ in range(50)]
        await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    assert growth_of(lambda: loop.run_until_complete(body())) < 40_000


def test_connections_leave_nothing(loop):
    async def body():
        for _ in range(5):
            server_side, client, server = await connected()
            client.transport.write(b"x" * 100_000)
            client.transport.write_eof()
            await server_side.eof
            await closed(client, server_side)
            await server.wait_closed()

    assert growth_of(lambda: loop.run_until_complete(body())) < 40_000


def test_loops_leave_nothing(new_loop):
    def work():
        for _ in range(5):
            loop = new_loop()
            left, right = socket.socketpair()
            loop.add_reader(left, int)
            loop.call_later(1000, int)
            loop.run_until_complete(asyncio.sleep(0))
            loop.remove_reader(left)
            loop.close()
            left.close()
            right.close()

    assert growth_of(work) < 40_000


def test_references_of_arguments_balance(loop):
    """After any way through the queue an argument has as many references as before."""
    argument = object()
    before = sys.getrefcount(argument)

    def fails(*args):
        raise LookupError

    loop.set_exception_handler(lambda loop, context: None)
    for count in (1, 2, 4, 5, 8):
        arguments = [argument] * count
        loop.call_soon(lambda *args: None, *arguments)
        loop.call_soon(lambda *args: None, *arguments).cancel()
        loop.call_soon(fails, *arguments)
        loop.call_later(0, lambda *args: None, *arguments)
        loop.call_later(0, fails, *arguments)
        loop.call_later(1000, fails, *arguments).cancel()
        loop.call_soon_threadsafe(lambda *args: None, *arguments)
        turn(loop, 3)
        del arguments
    gc.collect()
    assert sys.getrefcount(argument) == before
