"""The tests that are not run on pyasync, each with its reason. Nothing is skipped on asyncio.

An entry stays only as long as it is needed: one that matches no test of its group on a Python
version it claims is an error (`--check-skips`, and every full run of the group).
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from .groups import Test

Version = tuple[int, int]


@dataclass(frozen=True)
class Skip:
    """A pattern over `Test.name` in one group.

    Only white-box tests are skipped: those of the inside of CPython's own classes. `since` and
    `until` bound, inclusively, the Python versions on which the test exists and has to be skipped.
    """

    group: str
    pattern: str
    reason: str
    since: Version = (3, 11)
    until: Version = (3, 99)

    def applies(self) -> bool:
        """Whether the running Python is one of the entry's versions."""
        return self.since <= sys.version_info[:2] <= self.until

    def matches(self, test: Test) -> bool:
        """Whether `test` is to be skipped, on a version to which the entry applies."""
        return test.group == self.group and fnmatchcase(test.name, self.pattern)


SKIPS: tuple[Skip, ...] = (
    Skip(
        "tasks",
        "test_tasks.Task_Future_Tests.test_set_*_causes_invalid_state",
        "calls the set_result() and set_exception() of the Future class on a Task, but "
        "pyasync.Task derives from asyncio.Task, not from pyasync.Future; "
        "Task_StockFuture_Tests runs the same with asyncio.Future",
    ),
    Skip(
        "ssl",
        "test_ssl.TestSSL.test_remote_shutdown_receives_trailing_data_on_slow_socket",
        "replaces the write() and the _sock of asyncio's socket transport object to make its "
        "socket look full; tests/test_tls.py closes connections whose socket is full",
        since=(3, 14),
    ),
)


def find(test: Test, skips: Iterable[Skip]) -> Skip | None:
    """The entry of `skips` for `test` on the running Python, if there is one."""
    return next((skip for skip in skips if skip.applies() and skip.matches(test)), None)


def stale(tests: Collection[Test], groups: Iterable[str], skips: Iterable[Skip]) -> list[Skip]:
    """The entries for `groups` that apply to the running Python and match none of `tests`."""
    groups = set(groups)
    return [
        skip
        for skip in skips
        if skip.group in groups and skip.applies() and not any(map(skip.matches, tests))
    ]
