"""Runs a program on two loops, compares the traces, and says how they differ."""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Callable

import pyasync

from .clock import Loop, OrderedLoop
from .connections import run_connection
from .interpreter import run_scheduling
from .program import Connection, Program, Scheduling, script
from .streams import run_streams

Factory = Callable[[], Loop]

CONTEXT_LINES = 12  # of the traces, before the first difference
SHOWN_LINES = 60


class Difference(AssertionError):
    """A program that does one thing on the reference loop and another on the loop under test."""

    def __init__(self, program: Program, expected: list[str], got: list[str]) -> None:
        self.program = program
        self.expected = expected
        self.got = got
        super().__init__(f"\n{script(program)}\n{self.traces()}")

    def traces(self) -> str:
        """The traces around their first difference, lines of asyncio with -, of pyasync with +."""
        diff = difflib.unified_diff(
            self.expected, self.got, "asyncio", "pyasync", n=CONTEXT_LINES, lineterm=""
        )
        lines = list(diff)
        if len(lines) > SHOWN_LINES:
            lines[SHOWN_LINES:] = [f"... ({len(lines) - SHOWN_LINES} more lines)"]
        return "\n".join(lines)


def trace_of(program: Program, factory: Factory) -> list[str]:
    """Run the program on a loop of the factory and return the lines of its trace."""
    if isinstance(program, Scheduling):
        return run_scheduling(program, factory)
    if isinstance(program, Connection):
        return run_connection(program, factory)
    return run_streams(program, factory)


def compare(
    program: Program,
    subject: Factory = pyasync.new_event_loop,
    reference: Factory = OrderedLoop,
) -> Difference | None:
    """Run the program on both loops; the difference, None when there is none."""
    assert asyncio._get_running_loop() is None, "programs run loops of their own"
    expected = trace_of(program, reference)
    got = trace_of(program, subject)
    if expected == got:
        return None
    return Difference(program, expected, got)


def check(program: Program) -> None:
    """Compare asyncio and pyasync on the program and print the outcome: for scripts."""
    difference = compare(program)
    if difference is None:
        print("\n".join(trace_of(program, pyasync.new_event_loop)))
        print("no difference")
    else:
        print(difference.traces())
