"""Streams: order, backpressure, failures, time, threads, files and callbacks."""

from __future__ import annotations

import asyncio
import itertools
import threading
from contextlib import aclosing

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyasync import flow
from tests.support import turns

SHARED = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)  # the loop is shared by the examples on purpose


async def slowly(items, delays=(0,)):
    for item, delay in zip(items, itertools.cycle(delays), strict=False):
        await turns(delay)
        yield item


async def collect(stream):
    return [item async for item in stream]


@SHARED
@given(
    items=st.lists(st.integers(), max_size=9),
    delays=st.lists(st.integers(0, 3), min_size=1, max_size=4),
    size=st.integers(1, 4),
    within=st.sampled_from([None, 60]),
)
def test_batched_and_buffered_have_their_sequential_meaning(loop, items, delays, size, within):
    async def main():
        batches = await collect(flow.batched(slowly(items, delays), size, within=within))
        return batches, await collect(flow.buffered(slowly(items, delays), size))

    wants = [tuple(items[start : start + size]) for start in range(0, len(items), size)]
    assert loop.run_until_complete(main()) == (wants, items)


@SHARED
@given(
    sources=st.lists(st.lists(st.integers(), max_size=5), max_size=4),
    delays=st.lists(st.integers(0, 3), min_size=1, max_size=4),
    size=st.integers(1, 4),
)
def test_merge_gives_every_item_of_every_source_in_its_order(loop, sources, delays, size):
    async def main():
        named = [slowly([(n, item) for item in items], delays) for n, items in enumerate(sources)]
        return await collect(flow.merge(*named, size=size))

    found = loop.run_until_complete(main())
    for name, items in enumerate(sources):
        assert [item for owner, item in found if owner == name] == items
    assert len(found) == sum(map(len, sources))


@SHARED
@given(sources=st.lists(st.lists(st.integers(), max_size=4), max_size=4), strict=st.booleans())
def test_zip_is_zip(loop, sources, strict):
    async def main():
        return await collect(flow.zip(*map(slowly, sources), strict=strict))

    try:
        wants = list(zip(*sources, strict=strict))
    except ValueError:
        with pytest.raises(ValueError, match="ended before the others"):
            loop.run_until_complete(main())
    else:
        assert loop.run_until_complete(main()) == wants


async def test_a_batch_is_yielded_when_its_time_is_up(loop):
    more = asyncio.Event()

    async def source():
        yield 1
        yield 2
        await more.wait()
        yield 3

    start = loop.time()
    async with aclosing(flow.batched(source(), 10, within=0.005)) as found:
        assert await anext(found) == (1, 2), "yielded though the input has stopped"
        assert loop.time() - start >= 0.004
        more.set()
        assert await anext(found) == (3,)
        assert await anext(found, None) is None


async def test_what_came_before_a_failure_comes_first(loop):
    async def source():
        yield 1
        yield 2
        raise OSError

    for stream, wants in [
        (flow.buffered(source(), 5), [1, 2]),
        (flow.merge(source(), size=5), [1, 2]),
        (flow.batched(source(), 5), [(1, 2)]),
        (flow.batched(source(), 5, within=60), [(1, 2)]),
    ]:
        found = []
        with pytest.raises(OSError):
            async for item in stream:
                found.append(item)
        assert found == wants


async def test_buffered_reads_ahead_and_no_further(loop):
    pulled = []

    async def source():
        for number in itertools.count():
            pulled.append(number)
            yield number

    async with aclosing(flow.buffered(source(), 3)) as found:
        assert await anext(found) == 0
        await turns(20)
        assert pulled == [0, 1, 2, 3, 4], "one taken, three waiting, one in hand"


async def test_streams_close_their_sources_and_tasks_when_left(loop):
    closed = []

    async def source():
        try:
            for number in itertools.count():
                await asyncio.sleep(0)
                yield number
        finally:
            await asyncio.sleep(0)
            closed.append(True)

    for make in (
        lambda: flow.buffered(source(), 2),
        lambda: flow.merge(source()),
        lambda: flow.batched(source(), 2),
        lambda: flow.batched(source(), 2, within=60),
        lambda: flow.zip(source()),
    ):
        async with aclosing(make()) as found:
            await anext(found)
        assert closed == [True], make
        assert asyncio.all_tasks() == {asyncio.current_task()}
        closed.clear()


async def test_to_thread_iter_runs_next_in_a_thread_and_closes_there(loop):
    threads = set()

    def blocking():
        try:
            for number in itertools.count():
                threads.add(threading.get_ident())
                yield number
        finally:
            threads.add(("closed", threading.get_ident()))

    async with aclosing(flow.to_thread_iter(blocking())) as found:
        assert [await anext(found) for _ in range(3)] == [0, 1, 2]
    worker, closed = sorted(threads, key=str, reverse=True)
    assert worker != threading.get_ident() and closed == ("closed", worker)
    with pytest.raises(ZeroDivisionError):
        await collect(flow.to_thread_iter(1 // number for number in (1, 0)))
    assert await collect(flow.to_thread_iter([])) == []


async def test_a_cancelled_to_thread_iter_waits_for_the_running_next(loop):
    begun, release, ended = threading.Event(), threading.Event(), []

    def blocking():
        begun.set()
        release.wait(10)
        ended.append(True)
        yield 1

    task = loop.create_task(collect(flow.to_thread_iter(blocking())))
    while not begun.is_set():
        await asyncio.sleep(0.001)
    task.cancel()
    await turns(5)
    assert not task.done()
    release.set()
    await asyncio.wait([task])
    assert task.cancelled() and ended == [True]


@SHARED
@given(
    lines=st.lists(st.text("ab é", max_size=6), max_size=8),
    chunk=st.integers(1, 12),
    binary=st.booleans(),
)
def test_chunked_lines_are_the_lines_of_the_file(loop, tmp_path, lines, chunk, binary):
    path = tmp_path / "lines"
    path.write_bytes("\n".join(lines).encode())
    with open(path, "rb") if binary else open(path, encoding="utf-8") as file:
        wants = list(file)
    encoding = None if binary else "utf-8"
    stream = flow.chunked_lines(path, encoding=encoding, chunk=chunk)
    assert loop.run_until_complete(collect(stream)) == wants


async def test_chunked_lines_bounds_the_length_of_a_line(loop, tmp_path):
    path = tmp_path / "lines"
    path.write_text("short\n" + "x" * 100)
    found = []
    with pytest.raises(ValueError, match="a line is longer than 10"):
        async for line in flow.chunked_lines(path, chunk=1, longest=10):
            found.append(line)
    assert found == ["short\n"]
    with pytest.raises(FileNotFoundError):
        await collect(flow.chunked_lines(tmp_path / "none"))
    path.write_bytes(b"\xff\n")
    with pytest.raises(UnicodeDecodeError):
        await collect(flow.chunked_lines(path))
    async with aclosing(flow.chunked_lines(__file__, chunk=1)) as left_early:
        assert await anext(left_early)


async def test_from_callback_takes_items_from_any_thread(loop):
    undone = []

    def register(emit):
        def run():
            for number in range(5):
                emit(number)
            emit.close()
            emit(99)

        thread = threading.Thread(target=run)
        thread.start()

        async def undo():
            await asyncio.sleep(0)
            thread.join()
            undone.append(True)

        return undo

    assert await collect(flow.from_callback(register)) == [0, 1, 2, 3, 4]
    assert undone == [True]


@pytest.mark.parametrize(
    ("overflow", "wants"), [("drop_oldest", [2, 3]), ("drop_newest", [0, 1]), ("error", [0, 1])]
)
async def test_from_callback_bounds_what_waits(loop, overflow, wants):
    def register(emit):
        for number in range(4):
            emit(number)
        emit.close()

    found = []
    try:
        async for number in flow.from_callback(register, maxsize=2, overflow=overflow):
            found.append(number)
    except asyncio.QueueFull:
        assert overflow == "error"
    else:
        assert overflow != "error"
    assert found == wants


async def test_from_callback_fails_after_its_items(loop):
    def register(emit):
        emit(1)
        emit.fail(OSError("lost"))
        emit.fail(ValueError("too late"))

    found = []
    with pytest.raises(OSError, match="lost"):
        async for number in flow.from_callback(register):
            found.append(number)
    assert found == [1]
    with pytest.raises(ZeroDivisionError):
        await collect(flow.from_callback(lambda emit: 1 // 0))


def test_arguments_that_cannot_work_are_refused_at_once():
    for make, error in [
        (lambda: flow.buffered([], 0), ValueError),
        (lambda: flow.buffered(3), TypeError),
        (lambda: flow.merge([], 3), TypeError),
        (lambda: flow.merge([], size=0), ValueError),
        (lambda: flow.batched([], 0), ValueError),
        (lambda: flow.batched([], 1, within=0), ValueError),
        (lambda: flow.zip(3), TypeError),
        (lambda: flow.to_thread_iter([], executor="processes"), ValueError),
        (lambda: flow.chunked_lines("x", chunk=0), ValueError),
        (lambda: flow.chunked_lines("x", executor="interpreters"), ValueError),
        (lambda: flow.from_callback(print, maxsize=-1), ValueError),
        (lambda: flow.from_callback(print, overflow="block"), ValueError),
    ]:
        with pytest.raises(error):
            make()
