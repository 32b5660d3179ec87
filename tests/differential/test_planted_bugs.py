"""The differ finds bugs: loops with a bug planted in them are told from asyncio's."""

import asyncio
from asyncio.selector_events import _SelectorSocketTransport

import pyasync

from .search import LOOPS, search

PROGRAMS = 200
SEEDS = 5  # which programs a seed makes differs between Python versions


class SwapsCallbacks(pyasync.Loop):
    """Every fifth callback comes a turn late, after those that were scheduled behind it."""

    calls = 0

    def call_soon(self, callback, *args, context=None):
        self.calls += 1
        if self.calls % 5 == 0 and self.is_running():
            return super().call_soon(super().call_soon, callback, *args, context=context)
        return super().call_soon(callback, *args, context=context)


class RunsTimersTwice(pyasync.Loop):
    """Every third timer runs twice, and once although it was cancelled."""

    calls = 0

    def call_at(self, when, callback, *args, context=None):
        handle = super().call_at(when, callback, *args, context=context)
        self.calls += 1
        if self.calls % 3 == 0:
            super().call_at(when, callback, *args, context=context)
        return handle


class DropsByte(_SelectorSocketTransport):
    """A transport that loses the last byte of every longer write."""

    def write(self, data):
        super().write(data[:-1] if len(data) >= 100 else data)


class ForgetsReset(_SelectorSocketTransport):
    """A transport that tells its protocol of no error when the connection is lost."""

    def _call_connection_lost(self, exc):
        super()._call_connection_lost(None)


def with_transport(transport_class):
    """A class of asyncio loops that make transports of this class."""

    class Loop(asyncio.SelectorEventLoop):
        def _make_socket_transport(self, sock, protocol, waiter=None, **options):
            return transport_class(self, sock, protocol, waiter, **options)

    return Loop


def difference_found(family, factory, *, shrink=True):
    """The report of a program that differs, shrunk if asked for, which takes seconds."""
    for seed in range(1, SEEDS + 1):
        _, difference = search(family, PROGRAMS, seed, factory, shrink=shrink)
        if difference is not None:
            break
    assert difference is not None, f"{SEEDS} times {PROGRAMS} programs did not find the bug"
    return difference


def test_swapped_callbacks():
    difference = difference_found("scheduling", SwapsCallbacks)
    assert sorted(difference.expected) != difference.expected
    assert "check(Scheduling(" in str(difference)


def test_timers_that_run_twice():
    difference = difference_found("scheduling", RunsTimersTwice)
    assert len(difference.got) > len(difference.expected)


def test_a_byte_lost_in_write():
    difference = difference_found("connections", with_transport(DropsByte), shrink=False)
    assert any(" bytes" in line and line not in difference.expected for line in difference.got)
    difference_found("streams", with_transport(DropsByte), shrink=False)


def test_an_error_kept_from_connection_lost():
    difference = difference_found("connections", with_transport(ForgetsReset), shrink=False)
    assert any("connection_lost(None)" in line for line in difference.got)


def test_without_the_bug_there_is_nothing_to_find():
    assert search("scheduling", 20, 1, LOOPS["pyasync"])[1] is None
    assert search("connections", 20, 1, with_transport(_SelectorSocketTransport))[1] is None
