"""Differences that are known and not yet mended: the pattern of what is overlooked, and why.

test_known_differences.py fails as soon as one of them is gone, so that its entry goes too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .program import Forever, Op, Program, Scheduling, UntilComplete


@dataclass(frozen=True)
class Known:
    """What is cut out of both traces, and a program that shows the difference."""

    pattern: re.Pattern[str]
    reason: str
    program: Program


KNOWN = [
    Known(
        re.compile(
            r"(Unhandled error in exception handler[^\0]* with ZeroDivisionError.*) after .*"
        ),
        "the exception handler is not called inside the handling of the callback's exception, "
        "so that what it raises has no __context__",
        Scheduling(
            runs=(Forever((Op("call_soon", (Op("raise_", "ValueError"),)),)),),
            handler="raise",
        ),
    ),
    Known(
        re.compile(r"()\nhandle_traceback: Handle created at \.\.\.\n"),
        "debug mode does not set loop._current_handle, which the default exception handler shows",
        Scheduling(
            runs=(UntilComplete((Op("call_handler"),)),),
            handler="default",
            debug=True,
        ),
    ),
]


def without_known(lines: list[str]) -> list[str]:
    """The lines of a trace without what is known to differ."""
    for known in KNOWN:
        lines = [known.pattern.sub(r"\1", line) for line in lines]
    return lines
