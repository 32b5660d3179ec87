"""The differ finds bugs: loops with a bug planted in them are told from asyncio's."""

import pyasync

from .search import LOOPS, search

PROGRAMS = 200


class SwapsCallbacks(pyasync.Loop):
    """Every fifth call_soon() lets the next one in first."""

    calls = 0
    held = None

    def call_soon(self, callback, *args, context=None):
        self.calls += 1
        if self.calls % 5 == 0 and self.is_running():
            self.held = self.held or []
            handle = super().call_soon(self._late, callback, args, context=context)
            return handle
        return super().call_soon(callback, *args, context=context)

    def _late(self, callback, args):
        super().call_soon(callback, *args)


class LosesCancellation(pyasync.Loop):
    """A timer runs although it was cancelled, once in a while."""

    calls = 0

    def call_at(self, when, callback, *args, context=None):
        handle = super().call_at(when, callback, *args, context=context)
        self.calls += 1
        if self.calls % 3 == 0:
            super().call_at(when, callback, *args, context=context)
        return handle


def smallest_difference(family, factory):
    _, difference = search(family, PROGRAMS, 1, factory)
    return difference


def test_swapped_callbacks_are_found():
    difference = smallest_difference("scheduling", SwapsCallbacks)
    assert difference is not None
    assert "check(Scheduling(" in str(difference)


def test_a_timer_that_runs_twice_is_found():
    difference = smallest_difference("scheduling", LosesCancellation)
    assert difference is not None
    assert "call_" in str(difference) or "sleep" in str(difference)


def test_the_same_loops_without_the_bug_are_not():
    _, difference = search("scheduling", 20, 1, LOOPS["pyasync"])
    assert difference is None
