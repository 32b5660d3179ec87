"""The benchmarks' floors: the sum of the parts, what is possible within each round, the verdict,
and the rendered section with and without a peer; each part by itself, and that it fails if it does
not do what it measures; the bare C server."""

import argparse
import asyncio
import math
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from benchmarks import floor_cold, floor_tasks
from benchmarks.certificate import certificate_folder
from benchmarks.floor_applications import executor, http
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
from benchmarks.floors import EFFORT, FloorSession, cheapest_peer, sent_from_file
from benchmarks.http_server import ANSWER, LARGE
from benchmarks.processes import Failed
from benchmarks.results import Document, RowResult

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
        (12.0, 11.5, "1.15 (1.15-1.15)", "not for C stand-in"),
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
        (floor_cold.measure_queue, "in their order"),
    ],
)
def test_calls_that_an_executor_does_not_make_fail(
    monkeypatch: pytest.MonkeyPatch, measure: Callable[[], float], reason: str
):
    assert measure() > 0
    monkeypatch.setattr(ThreadPoolExecutor, "submit", lambda *_: Early())
    with pytest.raises(Failed, match=reason):
        measure()


@pytest.mark.parametrize(
    ("part", "path", "body"),
    [("httptools", "/", ANSWER), ("aiohttp", "/", ANSWER), ("aiohttp", "/static", LARGE)],
)
def test_an_application_answers_in_memory(part: str, path: str, body: bytes):
    pytest.importorskip(part, reason="it is measured with the library")
    # At least one request is measured, however little time there is.
    cost, answer = asyncio.run(http(options(part=part, path=path, seconds=0.0)))
    assert 0 < cost < 10_000
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"\r\n\r\n" + body)


def test_what_goes_to_the_executor_is_counted_by_the_request():
    pytest.importorskip("aiohttp", reason="it is measured with the library")
    cost, _ = asyncio.run(executor(options(path="/static")))
    assert 0 < cost < 10_000
    with pytest.raises(Failed, match="nothing to the executor for /small"):
        asyncio.run(executor(options(path="/small")))


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


@pytest.mark.skipif(sys.platform != "linux", reason="the programs in C wait by epoll")
@pytest.mark.parametrize("size", [65536, 20_000_000])  # taken at once, or a part at a time
def test_the_bare_server_answers_from_a_file(programs: Path, tmp_path: Path, size: int):
    head, body = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size, b"0123456789abcdef"
    body *= size // len(body)
    path = tmp_path / "answer"
    path.write_bytes(head + body)
    sent = sent_from_file(path)
    assert path.read_bytes() == head
    with (
        started([programs / "bare_server", f"--answer={path}", *sent]) as port,
        socket.create_connection(("127.0.0.1", int(port)), timeout=20) as client,
        client.makefile("rb") as stream,
    ):
        for _ in range(3):
            client.sendall(b"GET / HTTP/1.1\r\n\r\n")
            assert stream.read(len(head + body)) == head + body


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
