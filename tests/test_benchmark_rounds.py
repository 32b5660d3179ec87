"""The rounds of `make bench`: whose servers run at once, whose turns take turns, who fails."""

import threading
from typing import Any

import pytest

from benchmarks.__main__ import measure_row
from benchmarks.processes import Failed
from benchmarks.results import RowResult
from benchmarks.rows import CPU, NANOSECONDS, NETWORK, BenchRow

LOOPS = ["asyncio", "pyasync", "uvloop"]


class FakeSession:
    """A session whose servers are there once something was measured."""

    def __init__(self) -> None:
        self.servers: dict[tuple[str, ...], object] = {}


def row(unit: str, measure: Any) -> BenchRow:
    """A row of which all are measured at once if CPU time counts."""
    return BenchRow("key", "a row", NETWORK, unit, measure, at_once=unit == CPU)


def measured(measured_row: BenchRow, rounds: int = 1) -> RowResult:
    session: Any = FakeSession()
    result = RowResult()
    for _ in range(rounds):
        measure_row(session, measured_row, LOOPS, result)
    return result


def test_servers_whose_cpu_time_counts_run_at_once():
    all_there = threading.Barrier(len(LOOPS), timeout=10)
    turns = []

    def measure(session: FakeSession, loop: str) -> dict[str, float]:
        if (loop,) in session.servers:
            all_there.wait()  # breaks unless the others are under way
        session.servers[(loop,)] = object()
        turns.append(loop)
        return {"value": float(len(loop))}

    result = measured(row(CPU, measure), rounds=2)
    assert result.rounds == [{loop: {"value": float(len(loop))} for loop in LOOPS}] * 2
    assert turns[: len(LOOPS)] == LOOPS  # they start one by one, which does not count
    assert len(turns) == 3 * len(LOOPS)


def test_others_follow_each_other_from_either_end():
    at_work = threading.Lock()
    turns = []

    def measure(session: FakeSession, loop: str) -> dict[str, float]:
        assert at_work.acquire(blocking=False)
        turns.append(loop)
        at_work.release()
        return {"value": 1.0}

    measured(row(NANOSECONDS, measure), rounds=3)
    assert turns == [*LOOPS, *reversed(LOOPS), *LOOPS]


@pytest.mark.parametrize("unit", [CPU, NANOSECONDS])
def test_a_loop_that_fails_is_not_tried_again(unit: str):
    turns = []

    def measure(session: FakeSession, loop: str) -> dict[str, float]:
        turns.append(loop)
        session.servers[(loop,)] = object()
        if loop == "asyncio":
            raise Failed("no such server")
        return {"value": 1.0}

    result = measured(row(unit, measure), rounds=2)
    assert result.failed == {"asyncio": "no such server"}
    assert turns.count("asyncio") == 1
    assert result.rounds == [{"pyasync": {"value": 1.0}, "uvloop": {"value": 1.0}}] * 2


def test_a_row_that_no_loop_can_run_has_rounds_without_figures():
    def measure(session: FakeSession, loop: str) -> dict[str, float]:
        raise Failed("no such server")

    result = measured(row(CPU, measure), rounds=2)
    assert sorted(result.failed) == LOOPS
    assert result.rounds == [{}, {}]
