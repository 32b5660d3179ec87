"""The rounds of `make bench`: whose servers run at once, whose turns take turns, who fails."""

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from benchmarks.__main__ import measure_alone, measure_row
from benchmarks.hand_rows import BY_HAND
from benchmarks.processes import Failed, build_c_programs
from benchmarks.results import RowResult
from benchmarks.rows import ALL, BENCH_ROWS, CPU, NETWORK, PAIRS, STARTS, WORKERS, BenchRow
from benchmarks.turns import FULL, QUICK, Session, child_seconds

LOOPS = ["asyncio", "pyasync", "uvloop"]


class FakeSession:
    """A session whose servers are there once something was measured."""

    def __init__(self) -> None:
        self.effort = FULL
        self.servers: dict[tuple[str, ...], object] = {}
        self.shared: float | None = None
        self.workers: list[str] = []

    def worker(self, loop: str) -> None:
        if loop not in self.workers:
            self.workers.append(loop)


def row(measure: Any, together: str | None) -> BenchRow:
    return BenchRow("key", "a row", NETWORK, CPU, measure, together=together)


def measured(measured_row: BenchRow, rounds: int = 1) -> RowResult:
    session: Any = FakeSession()
    result = RowResult()
    for _ in range(rounds):
        measure_row(session, measured_row, LOOPS, result)
    return result


def test_small_servers_run_all_at_once():
    all_there = threading.Barrier(len(LOOPS), timeout=10)
    turns = []

    def measure(session: FakeSession, loop: str) -> dict[str, float]:
        alone = (loop,) not in session.servers
        if not alone:
            assert session.shared == FULL.shared_seconds
            all_there.wait()  # breaks unless the others are under way
        session.servers[(loop,)] = object()
        turns.append(loop)
        return {"value": 100.0 if alone else float(len(loop))}

    result = measured(row(measure, ALL), rounds=2)
    assert result.rounds == [{loop: {"value": float(len(loop))} for loop in LOOPS}] * 2
    assert turns[: len(LOOPS)] == LOOPS  # they start one by one, which does not count
    assert len(turns) == 3 * len(LOOPS)


def test_workers_start_one_by_one_and_run_all_at_once_from_the_first_turn_on():
    all_there = threading.Barrier(len(LOOPS), timeout=10)

    def measure(session: FakeSession, loop: str) -> dict[str, float]:
        assert session.workers == LOOPS
        all_there.wait()
        return {"value": 1.0}

    result = measured(row(measure, WORKERS), rounds=2)
    assert result.rounds == [{loop: {"value": 1.0} for loop in LOOPS}] * 2


@pytest.mark.skipif(sys.platform != "linux", reason="the programs in C wait by epoll")
def test_who_drives_by_hand_is_measured_beside_asyncio_in_a_process_of_its_own():
    build_c_programs()
    session = Session(QUICK)
    result = RowResult()
    try:
        measure_row(session, BENCH_ROWS["task_switch"], ["asyncio"], result)
        workers = dict(session.workers)
    finally:
        session.close()
    assert result.failed == {}
    assert workers.keys() == {"asyncio", BY_HAND}
    assert workers["asyncio"] is not workers[BY_HAND]
    assert result.rounds[0][BY_HAND]["value"] < result.rounds[0]["asyncio"]["value"]


def test_interpreters_that_start_run_all_at_once_from_the_first_turn_on():
    all_there = threading.Barrier(len(LOOPS), timeout=10)

    def measure(session: FakeSession, loop: str) -> dict[str, float]:
        all_there.wait()
        return {"value": 1.0}

    result = measured(row(measure, STARTS), rounds=2)
    assert result.rounds == [{loop: {"value": 1.0} for loop in LOOPS}] * 2


def test_the_cpu_time_of_a_child_is_its_own():
    busy = "import time\nwhile time.process_time() < 1: pass"
    with ThreadPoolExecutor(2) as pool:
        quick, slow = pool.map(
            lambda program: child_seconds([sys.executable, "-c", program], os.environ), ["", busy]
        )
    assert 0 < quick < 1 <= slow < 2


def test_a_child_that_fails_says_why():
    with pytest.raises(Failed, match="ModuleNotFoundError: No module named 'no_such_loop'"):
        child_seconds([sys.executable, "-c", "import no_such_loop"], os.environ)


def test_how_much_a_server_answers_alone_stands_beside_its_last_rounds():
    at_work = threading.Lock()

    def measure(session: FakeSession, loop: str) -> dict[str, float]:
        assert session.shared is None
        assert at_work.acquire(blocking=False)
        at_work.release()
        if loop == "uvloop":
            raise Failed("lost: 1")
        return {"value": 1.0, "rate": 1000.0}

    session: Any = FakeSession()
    result = RowResult([{loop: {"value": 2.0} for loop in LOOPS} for _ in range(3)])
    measure_alone(session, row(measure, ALL), LOOPS, 2, result)
    beside = {"value": 2.0, "rate_alone": 1000.0}
    expected = {"asyncio": beside, "pyasync": beside, "uvloop": {"value": 2.0}}
    assert result.rounds[0] == {loop: {"value": 2.0} for loop in LOOPS}
    assert result.rounds[1:] == [expected] * 2
    assert result.failed == {"uvloop": "lost: 1"}


def test_large_servers_run_beside_pyasync():
    both_there = threading.Barrier(2, timeout=10)
    values = iter([10.0, 14.0])
    turns: list[str] = []

    def measure(session: FakeSession, loop: str) -> dict[str, float]:
        alone = (loop,) not in session.servers
        session.servers[(loop,)] = object()
        if alone:
            return {"value": 1.0}
        assert session.shared == FULL.pair_seconds
        both_there.wait()
        turns.append(loop)
        return {"value": next(values) if loop == "pyasync" else 20.0}

    result = measured(row(measure, PAIRS))
    assert sorted(turns) == ["asyncio", "pyasync", "pyasync", "uvloop"]
    assert result.rounds == [
        {
            "asyncio": {"value": 20.0, "beside": 10.0},
            "uvloop": {"value": 20.0, "beside": 14.0},
            "pyasync": {"value": 12.0},
        }
    ]


def test_large_servers_without_pyasync_are_measured_all_the_same():
    def measure(session: FakeSession, loop: str) -> dict[str, float]:
        session.servers[(loop,)] = object()
        if loop == "pyasync":
            raise Failed("no such server")
        return {"value": 1.0}

    result = measured(row(measure, PAIRS))
    assert result.rounds == [{"asyncio": {"value": 1.0}, "uvloop": {"value": 1.0}}]


def test_others_follow_each_other_from_either_end():
    at_work = threading.Lock()
    turns = []

    def measure(session: FakeSession, loop: str) -> dict[str, float]:
        assert at_work.acquire(blocking=False)
        turns.append(loop)
        at_work.release()
        return {"value": 1.0}

    measured(row(measure, None), rounds=3)
    assert turns == [*LOOPS, *reversed(LOOPS), *LOOPS]


@pytest.mark.parametrize("together", [ALL, WORKERS, None])
def test_a_loop_that_fails_is_not_tried_again(together: str | None):
    turns = []

    def measure(session: FakeSession, loop: str) -> dict[str, float]:
        turns.append(loop)
        session.servers[(loop,)] = object()
        if loop == "asyncio":
            raise Failed("no such server")
        return {"value": 1.0}

    result = measured(row(measure, together), rounds=2)
    assert result.failed == {"asyncio": "no such server"}
    assert turns.count("asyncio") == 1
    assert result.rounds == [{"pyasync": {"value": 1.0}, "uvloop": {"value": 1.0}}] * 2


@pytest.mark.parametrize("together", [ALL, PAIRS, WORKERS, None])
def test_a_row_that_no_loop_can_run_has_rounds_without_figures(together: str | None):
    def measure(session: FakeSession, loop: str) -> dict[str, float]:
        raise Failed("no such server")

    result = measured(row(measure, together), rounds=2)
    assert sorted(result.failed) == LOOPS
    assert result.rounds == [{}, {}]
