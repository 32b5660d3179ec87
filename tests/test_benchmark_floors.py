"""The benchmarks' floors: the sum of the parts, what is possible within each round, the verdict,
and the rendered section with and without a peer; each part by itself, and that it fails if it does
not do what it measures; the bare C server."""

import argparse
import asyncio
import math
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import floor_cold, floor_tasks
from benchmarks.bare_loop import build_bare_loop
from benchmarks.certificate import certificate_folder
from benchmarks.floor_echoes import accept, buffered, datagrams, expect, protocol, sock, streams
from benchmarks.floor_parts import PLAIN_PARTS
from benchmarks.floor_results import (
    FloorResult,
    Turn,
    floor_cells,
    floor_section,
    load_floors,
    save_floors,
)
from benchmarks.floor_timing import best_of, median_of
from benchmarks.floor_tls import handshake, tls
from benchmarks.floors import (
    EFFORT,
    FLOORS,
    Floor,
    FloorSession,
    Measured,
    cheapest_peer,
    measure_round,
)
from benchmarks.load import echo_server_command
from benchmarks.processes import BARE_LOOP, Failed
from benchmarks.results import Document, RowResult
from benchmarks.rows import APPLICATIONS, BENCH_ROWS, CPU, BenchRow
from benchmarks.samples import code_share, shares_of

ABOUT = {
    "cpu": "a processor",
    "cores": 2,
    "system": "Linux",
    "python": "3.14.0",
    "loops": {"pyasync": "0.1.0", "uvloop": "1.0"},
    "packages": {},
    "commit": "0123456789ab",
    "date": "2026-01-01",
}
KEY = "uvicorn"  # target 1.15


def result(own: float, peer: float | None, rounds: int = 1) -> FloorResult:
    """A row with a floor of 6 + 4 us in the first round, twice that in the second, and so on."""
    loops = {"pyasync": own} | ({} if peer is None else {"uvloop": peer})
    turns = [
        Turn(
            parts={"library": {"": 6.0 * scale}, "carrying": {"": 4.0 * scale}},
            loops={loop: cost * scale for loop, cost in loops.items()},
            stand_in={"": 11.0 * scale},
        )
        for scale in range(1, rounds + 1)
    ]
    return FloorResult("the application; a C server", turns)


def test_ratios_are_taken_within_each_round():
    found = result(12.0, 15.0, rounds=3)
    assert found.over_floor("uvloop").as_ratio() == "1.50 (1.50-1.50)"
    assert found.over_floor("pyasync").as_ratio() == "1.20 (1.20-1.20)"
    assert found.cost("uvloop") == 30.0


def test_the_way_that_is_the_best_over_the_rounds_counts_in_each():
    turns = [
        Turn(
            parts={"carrying": {"no work": one, "all the work": other}},
            loops={"pyasync": 6.0, "uvloop": 6.0},
            stand_in={"small buffer": other, "large buffer": one},
        )
        for one, other in [(4.0, 5.0), (6.0, 5.0), (4.0, 5.0)]
    ]
    found = FloorResult("a server", turns)
    assert found.floors() == found.stand_in() == [4.0, 6.0, 4.0]


@pytest.mark.parametrize(
    ("own", "peer", "possible", "word"),
    [
        (12.0, 15.0, "1.50 (1.50-1.50)", "yes"),
        (12.0, 12.7, "1.27 (1.27-1.27)", "yes"),
        (12.0, 11.5, "1.15 (1.15-1.15)", "not for stand-in"),
        (12.0, 11.4, "1.14 (1.14-1.14)", "no"),
        (9.9, 15.0, "1.50 (1.50-1.50)", "not a floor"),
        (12.0, None, "-", "-"),
    ],
)
def test_a_target_is_in_reach_if_the_best_peer_over_the_floor_is_as_much(own, peer, possible, word):
    cells = floor_cells(KEY, result(own, peer))
    assert cells[1:4] == ["us", "10.0", "6.00 library + 4.00 carrying"]
    assert cells[-3:] == [possible, "1.15", word]


def test_a_row_of_tasks_is_in_nanoseconds():
    turn = Turn(
        parts={"gather": {"": 500.0}, "tasks": {"pyasync": 150.0, "uvloop": 200.0}},
        loops={"pyasync": 700.0, "uvloop": 910.0},
        stand_in={},
    )
    cells = floor_cells("gather_hundred", FloorResult("gather()", [turn]))
    assert cells[1:4] == ["ns", "650", "500 gather + 150 tasks"]
    assert cells[-3:] == ["1.40 (1.40-1.40)", "1.30", "yes"]


def test_a_row_of_start_up_is_in_milliseconds():
    loops = {"pyasync": 44.0, "uvloop": 50.0}
    turn = Turn(parts={"asyncio": {"": 40.0}}, loops=loops, stand_in={})
    cells = floor_cells("import", FloorResult("asyncio", [turn]))
    assert cells[1:4] == ["ms", "40.0", "40.0 asyncio"]
    assert cells[-3:] == ["1.25 (1.25-1.25)", "1.00", "yes"]


@pytest.mark.parametrize(
    ("key", "peer"), [("import", "uvloop"), ("spawn", "asyncio"), ("accept", "asyncio")]
)
def test_the_best_peer_is_the_cheapest_that_the_row_is_compared_with(
    monkeypatch: pytest.MonkeyPatch, key: str, peer: str
):
    monkeypatch.setattr("benchmarks.floors.why_unusable", lambda name: None)
    costs = {"pyasync": 1.0, "asyncio": 2.0, "uvloop": 3.0, "rloop": 4.0}
    rounds = [{loop: {"value": cost} for loop, cost in costs.items()}]
    bench = Document(False, ABOUT, {}, {key: RowResult(rounds)})
    assert cheapest_peer(bench, key) == peer


def test_the_section_is_rendered_from_what_was_saved(tmp_path: Path):
    path = tmp_path / "floors-3.14.json"
    floors = {KEY: result(12.0, 15.0), "tls_1k": FloorResult("TLS", [], "the server ended")}
    save_floors(path, ABOUT, floors)
    about, found = load_floors(path)
    assert found == floors
    text = floor_section("3.14", about, found)
    assert text.startswith("## Floors, CPython 3.14\n")
    assert (
        "| uvicorn, JSON | us | 10.0 | 6.00 library + 4.00 carrying | 11.0 (1.36) | 12.0 "
        "| 1.20 (1.20-1.20) | 15.0 uvloop | 1.50 (1.50-1.50) | 1.15 | yes |"
    ) in text
    assert "- uvicorn, JSON: the application; a C server." in text
    assert "- failed: TLS echo 1 KiB x 50: `the server ended`" in text


def options(**chosen: Any) -> argparse.Namespace:
    """The options of a part, with times as short as can be."""
    return argparse.Namespace(**{"size": 1024, "seconds": 0.002, "repeats": 1, **chosen})


@pytest.mark.parametrize("part", [protocol, buffered, datagrams, sock, streams])
def test_each_kind_of_echo_handles_messages_with_nothing_below_it(part: Callable[..., Any]):
    cost, message = asyncio.run(part(options()))
    assert 0 < cost < 1000
    assert message == bytes(1024)


def test_tls_is_driven_over_memory():
    folder = certificate_folder().name
    cost, ciphertext = asyncio.run(tls(options(certificate=folder)))
    assert 0 < cost < 1000
    assert len(ciphertext) > 1024
    cost, _ = asyncio.run(handshake(options(certificate=folder)))
    assert 0 < cost < 100_000


def test_a_connection_is_made_and_closed_with_nothing_below_it(monkeypatch: pytest.MonkeyPatch):
    cost, _ = asyncio.run(accept(options()))
    assert 0 < cost < 1000
    monkeypatch.setattr("benchmarks.floor_echoes.CloseProtocol", asyncio.Protocol)  # never closes
    with pytest.raises(Failed, match="0 echoes"):
        asyncio.run(accept(options()))


@pytest.mark.parametrize("part", PLAIN_PARTS)
def test_tasks_threads_and_processes_are_measured_by_themselves(part: str):
    if part == "round_trip" and sys.platform != "linux":
        pytest.skip("it waits by epoll")
    measure = PLAIN_PARTS[part](options(part=part, loop="asyncio", size=50))
    cost = best_of(0.002, 1, measure)
    assert math.isfinite(cost)
    assert cost > 0


def test_turns_that_share_a_core_run_at_once_and_others_one_after_the_other():
    both_there = threading.Barrier(2, timeout=10)
    session = FloorSession(EFFORT, shared=1.0)
    assert session.run({"one": both_there.wait, "other": both_there.wait}).keys() == {
        "one",
        "other",
    }
    session.shared = None
    both_there = threading.Barrier(2, timeout=0.05)
    with pytest.raises(threading.BrokenBarrierError):
        session.run({"one": both_there.wait, "other": both_there.wait})
    session.close()


def test_a_part_is_the_least_or_the_median_of_its_figures():
    figures = iter([0.0, 1.0, 9.0, 4.0])  # the first is of the warm-up
    assert best_of(0.0, 3, lambda: next(figures)) == 1.0
    figures = iter([0.0, 1.0, 9.0, 4.0])
    assert median_of(0.0, 3, lambda: next(figures)) == 4.0


@pytest.mark.parametrize("many", [1, 100])
def test_coroutines_that_are_not_advanced_fail(monkeypatch: pytest.MonkeyPatch, many: int):
    monkeypatch.setattr(floor_tasks, "deque", lambda turns, length: None)
    with pytest.raises(Failed, match="not advanced to its end"):
        floor_tasks.measure_switches(many)


@pytest.mark.parametrize("run", [floor_cold.posix_spawn, floor_cold.popen])
def test_a_child_that_fails_is_not_measured(
    monkeypatch: pytest.MonkeyPatch, run: Callable[[], int]
):
    monkeypatch.setattr(floor_cold, "CHILD", "false")
    with pytest.raises(Failed, match="false ended with code 1"):
        floor_cold.measure_children(run)


class Early(Future[int]):
    """A call that says that it has ended before it has."""

    def add_done_callback(self, fn: Callable[[Future[int]], object]) -> None:
        fn(self)

    def result(self, timeout: float | None = None) -> int:
        return 0


@pytest.mark.parametrize(
    ("measure", "reason"),
    [
        pytest.param(
            floor_cold.measure_round_trip,
            "before the call",
            marks=pytest.mark.skipif(sys.platform != "linux", reason="it waits by epoll"),
        ),
    ],
)
def test_calls_that_an_executor_does_not_make_fail(
    monkeypatch: pytest.MonkeyPatch, measure: Callable[[], float], reason: str
):
    assert measure() > 0
    monkeypatch.setattr(ThreadPoolExecutor, "submit", lambda *_: Early())
    with pytest.raises(Failed, match=reason):
        measure()


def test_an_application_costs_what_the_loop_leaves(monkeypatch: pytest.MonkeyPatch):
    row = BenchRow("uvicorn", "uvicorn", APPLICATIONS, CPU, lambda session, loop: {"value": 20.0})
    monkeypatch.setitem(BENCH_ROWS, KEY, row)
    floor = Floor(KEY, "without", lambda session, peer: Measured(loop_share=0.25))
    monkeypatch.setitem(FLOORS, KEY, floor)
    session = FloorSession(EFFORT)
    turn = measure_round(session, KEY, "uvloop")
    session.close()
    assert turn["parts"] == {"all but the loop": {"": 15.0}}
    assert turn["loops"] == {"pyasync": 20.0, "uvloop": 20.0}


def test_the_loop_is_sampled_once_under_load(monkeypatch: pytest.MonkeyPatch):
    calls, enough = [], threading.Event()
    session = FloorSession(EFFORT)

    def load() -> None:
        session.servers[("server",)] = SimpleNamespace(pid=42, stop=int)  # type: ignore[assignment]
        calls.append(None)
        if len(calls) == 3:
            enough.set()

    def sample(pid: int, seconds: float, files: Sequence[str]) -> float:
        assert pid == 42
        assert calls  # the server is there
        assert enough.wait(10)
        return 0.125

    monkeypatch.setattr("benchmarks.floors.code_share", sample)
    assert session.loop_share(["server"], load) == 0.125
    made = len(calls)
    assert session.loop_share(["server"], load) == 0.125
    assert len(calls) == made
    session.close()
    assert session.loop_shares == {}


def test_shares_are_read_from_the_report():
    report = (
        "    62.79%  python3.14   \n     4.15%  _core.cpython-314.so\n     0.01%  libuv.so.1\n\n"
    )
    assert shares_of(report) == pytest.approx(
        {"python3.14": 0.6279, "_core.cpython-314.so": 0.0415, "libuv.so.1": 0.0001}
    )


def perf_works() -> bool:
    """Whether perf is installed, finds its events in /sys and may use them."""
    probe = ["perf", "record", "-q", "-e", "cpu-clock", "-o", os.devnull, "--", "true"]
    return (
        shutil.which("perf") is not None
        and not subprocess.run(probe, capture_output=True).returncode
    )


@pytest.mark.skipif(not perf_works(), reason="perf (linux-perf) is missing or may not take samples")
def test_a_busy_process_is_sampled():
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
        try:
            assert code_share(busy.pid, 0.3, ["python", "libpython"]) > 0.8
            assert code_share(busy.pid, 0.3, ["_core.", "libuv."]) == 0
            with pytest.raises(Failed, match="perf ended with status"):
                code_share(0x7FFFFFFF, 0.1, ["python"])  # no such process
        finally:
            busy.terminate()


def test_without_perf_nothing_is_sampled(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(Failed, match="linux-perf"):
        code_share(1, 0.1, ["python"])


def test_an_echo_that_is_not_what_was_sent_fails():
    with pytest.raises(Failed, match="1 echoes"):
        expect([b"other"], b"message")()


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("floors")
    sources = Path(__file__).parent.parent / "benchmarks" / "c"
    subprocess.run(["make", "-s", "-C", sources, f"OUT={folder}"], check=True)
    return folder


@pytest.mark.skipif(sys.platform != "linux", reason="the programs in C wait by epoll")
@pytest.mark.parametrize(
    ("kind", "size", "server_options", "load_options"),
    [
        ("tcp", 1000, [], []),
        ("tcp", 3_000_000, ["--work=1000", "--message=1000"], []),
        ("unix", 3_000_000, ["--buffer=1000000"], []),
        ("udp", 1000, ["--udp"], []),
        ("tcp", 1000, ["--accept"], ["--accept"]),
        ("tcp", 1000, ["--accept", "--work=1000", "--message=1000"], ["--accept"]),
    ],
)
def test_the_bare_server_carries_every_byte(
    programs: Path,
    tmp_path: Path,
    kind: str,
    size: int,
    server_options: list[str],
    load_options: list[str],
):
    command = [programs / "bare_server", *server_options]
    if kind == "unix":
        command.append(f"--unix={tmp_path / 'echo'}")
    check_load(programs, command, kind, [f"--size={size}", *load_options])


@pytest.mark.skipif(sys.platform != "linux", reason="the programs in C wait by epoll")
@pytest.mark.parametrize(
    ("style", "kind"),
    [("protocol", "tcp"), ("buffered", "tcp"), ("streams", "tcp"), ("protocol", "unix")],
)
def test_the_bare_loop_calls_protocols_and_coroutines(
    programs: Path, tmp_path: Path, style: str, kind: str
):
    build_bare_loop()
    path = str(tmp_path / "echo") if kind == "unix" else None
    check_load(programs, echo_server_command(BARE_LOOP, style, path), kind, ["--size=1024"])


@pytest.mark.skipif(sys.platform != "linux", reason="the programs in C wait by epoll")
@pytest.mark.parametrize(
    ("options", "load_options"),
    [
        (["--accept"], ["--size=1", "--accept"]),
        ([], ["--size=1024", "--connections=5"]),
        ([], ["--size=10000000"]),  # more than the socket takes at once
    ],
)
def test_the_tls_server_shakes_hands_or_echoes(
    programs: Path, options: list[str], load_options: list[str]
):
    command = [programs / "tls_server", *options, certificate_folder().name]
    check_load(programs, command, "tcp", ["--tls", *load_options])


@contextmanager
def started(command: list[Any]) -> Iterator[str]:
    """The server for the length of a `with` block: the port or the path where it listens."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip()
        finally:
            server.terminate()


def check_load(programs: Path, command: list[Any], kind: str, options: list[str]) -> None:
    """Runs the server under a short load, which must see no error."""
    with started(command) as address:
        load = [programs / "load", f"--{kind}={address}", "--connections=3", *options]
        load += ["--warmup=0.05", "--seconds=0.2"]
        done = subprocess.run(load, stdout=subprocess.PIPE, timeout=30)
    assert done.returncode == 0, done.stdout
    assert b'"messages": 0,' not in done.stdout
