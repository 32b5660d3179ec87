"""Clocks that make the time of a program a function of what the loop does, never of the machine.

"ticks": a callback that queues itself again counts the turns, and time() is that count; the loop
is never idle. "polls": time() goes on by a unit whenever the loop's own code asks for it, which it
does in every turn with a timer and once more before it sleeps; the loop sleeps for real, a
millisecond at a time. "real": time() is the loop's own, turns are counted as with "ticks".

A run is bounded: after LIMIT units the clock writes "stuck" and stops the loop.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
from asyncio import base_events
from collections.abc import Callable
from typing import Any

LIMIT = 150
START = 1000.0
# How long a unit is. That of "polls" is far below the millisecond that a loop sleeps at least.
UNITS = {"ticks": 1.0, "polls": 2.0**-20, "real": 0.0}

Loop = asyncio.AbstractEventLoop


class Deadline(float):
    """A deadline that sorts by the order of its making among equal ones.

    asyncio leaves the order of ties to its heap, pyasync promises the order of scheduling: the
    reference must promise as much.
    """

    _numbers = itertools.count()

    def __new__(cls, when: float) -> Deadline:
        self = super().__new__(cls, when)
        self.number = next(cls._numbers)
        return self

    def __lt__(self, other: float) -> bool:
        if isinstance(other, Deadline) and float(self) == float(other):
            return self.number < other.number
        return float(self) < other


class OrderedLoop(asyncio.SelectorEventLoop):
    """asyncio's loop, whose timers with equal deadlines run in the order of scheduling."""

    def call_at(self, when: Any, callback: Any, *args: Any, context: Any = None) -> Any:
        if isinstance(when, (int, float)):
            when = Deadline(when)
        return super().call_at(when, callback, *args, context=context)


class Clock:
    """Counts the units of one program, and bounds each of its runs."""

    def __init__(self, kind: str, factory: Callable[[], Loop]) -> None:
        self.kind = kind
        self.unit = UNITS[kind]
        self.now = 0
        self._end = 0
        self._pending: Any = None
        self.on_stuck: Callable[[], None] = lambda: None
        self.loop = _clocked(factory, self) if kind != "real" else factory()

    def seconds(self, units: float) -> float:
        """A delay of this many units as the loop's methods take it."""
        return units * self.unit

    def time(self) -> float:
        """What time() of a loop with this clock returns."""
        if self.kind == "polls" and sys._getframe(2).f_code in _LOOP_CODE:
            self.now += 1
        return START + self.now * self.unit

    def begin(self, limit: int = LIMIT) -> None:
        """A run begins: it will be stopped after `limit` units."""
        self._end = self.now + limit
        if self.kind == "polls":
            self._pending = self.loop.call_later(self.seconds(limit), self._stuck)
        else:
            self._pending = self.loop.call_soon(self._tick)

    def end(self) -> None:
        """The run is over."""
        self._pending.cancel()

    def _tick(self) -> None:
        self.now += 1
        if self.now >= self._end:
            self._stuck()
        else:
            self._pending = self.loop.call_soon(self._tick)

    def _stuck(self) -> None:
        self.on_stuck()
        self.loop.stop()


def _clocked(factory: Callable[[], Loop], clock: Clock) -> Loop:
    """A loop of a subclass of the factory's class, with the clock's time()."""
    kind = factory if isinstance(factory, type) else _kind(factory)
    return type("ClockedLoop", (kind,), {"time": lambda self: clock.time()})()


_kinds: dict[Any, type] = {}


def _kind(factory: Callable[[], Loop]) -> type:
    if factory not in _kinds:
        loop = factory()
        loop.close()
        _kinds[factory] = type(loop)
    return _kinds[factory]


def run_forever(loop: Loop) -> None:
    """loop.run_forever(), from a frame that "polls" knows as the loop's own."""
    loop.run_forever()


# Where time() is called from when the loop itself asks: for a loop in C, the frame that runs it.
_LOOP_CODE = {
    base_events.BaseEventLoop._run_once.__code__,
    base_events.BaseEventLoop.run_until_complete.__code__,
    base_events.BaseEventLoop.run_forever.__code__,
    run_forever.__code__,
}
