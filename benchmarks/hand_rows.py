"""Coroutines driven by hand: what a switch costs when there is no loop and no task at all.

The limit that a loop's switching can be compared with: the same coroutines as in task_rows.py, sent
into in turn by a few lines of Python. They run inside a loop only because every row does.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from benchmarks.task_rows import Row, sleep_zero, switch

BY_HAND = "by hand"  # its name among the loops


def drive(coroutines: list[Coroutine[Any, Any, None]]) -> None:
    """Sends into each coroutine in turn, until all have ended."""
    while coroutines:
        left = []
        for coroutine in coroutines:
            try:
                coroutine.send(None)
            except StopIteration:
                continue
            left.append(coroutine)
        coroutines = left


def driven(
    start: Callable[[asyncio.AbstractEventLoop, int], Coroutine[Any, Any, None]], many: int
) -> Callable[[asyncio.AbstractEventLoop, int], Coroutine[Any, Any, None]]:
    """A row that drives `many` coroutines of `start` by hand."""

    async def run(loop: asyncio.AbstractEventLoop, count: int) -> None:
        drive([start(loop, count // many) for _ in range(many)])

    return run


HAND_ROWS = {
    "sleep_zero": Row("sleep(0), one coroutine", driven(sleep_zero, 1), 20_000),
    "sleep_zero_many": Row("sleep(0), 100 coroutines", driven(sleep_zero, 100), 50_000),
    "task_switch": Row("switch", driven(lambda _, count: switch(count), 100), 50_000),
}
