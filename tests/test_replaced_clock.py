"""Another function in the place of time.monotonic, by which test suites move the time of timers."""

import asyncio
import time

import pytest


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still; a test moves it."""

    class Clock:
        now = time.monotonic()

        def __call__(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    return clock


def test_time(loop, clock):
    assert loop.time() == clock.now
    clock.now += 100
    assert loop.time() == clock.now


def test_time_after_it_was_put_back(loop, monkeypatch):
    real = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: 5.0)
    assert loop.time() == 5.0
    monkeypatch.setattr(time, "monotonic", real)
    before = time.monotonic()
    assert before <= loop.time() <= time.monotonic()


async def test_timers_follow_it(loop, clock):
    fired = []
    handle = loop.call_later(50, fired.append, 1)
    assert handle.when() == clock.now + 50
    await asyncio.sleep(0)
    assert fired == []
    clock.now += 50
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert fired == [1]


async def test_replaced_while_the_loop_runs(loop, monkeypatch):
    fired = []
    loop.call_later(1000, fired.append, 1)
    later = time.monotonic() + 1001
    monkeypatch.setattr(time, "monotonic", lambda: later)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert fired == [1]


def test_what_it_raises(loop, monkeypatch):
    def broken():
        raise ZeroDivisionError

    monkeypatch.setattr(time, "monotonic", broken)
    for ask in (loop.time, lambda: loop.call_later(1, print)):
        with pytest.raises(ZeroDivisionError):
            ask()
    monkeypatch.undo()


def test_it_may_call_the_loop(loop, monkeypatch):
    """A clock that is Python code may do anything, also schedule and look at the current task."""
    real, seen = time.monotonic, []

    def clock():
        seen.append(asyncio.current_task(loop))
        return real()

    async def main():
        monkeypatch.setattr(time, "monotonic", clock)
        await asyncio.sleep(0.001)
        monkeypatch.undo()

    loop.run_until_complete(main())
    assert None in seen
