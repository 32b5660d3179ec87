"""The benchmarks' floors: the sum of the parts, what is possible within each round, the verdict,
and the rendered section with and without a peer; each part by itself; the bare C server."""

import argparse
import asyncio
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.certificate import certificate_folder
from benchmarks.floor_echoes import buffered, datagrams, expect, protocol, sock, streams
from benchmarks.floor_results import (
    FloorResult,
    floor_cells,
    floor_section,
    load_floors,
    save_floors,
)
from benchmarks.floor_tasks import TASK_PARTS, tasks
from benchmarks.floor_tls import handshake, tls
from benchmarks.processes import Failed

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
    loops = {"pyasync": own, "C stand-in": 11.0} | ({} if peer is None else {"uvloop": peer})
    turns = [
        {
            "parts": {"library": 6.0 * scale, "carrying": 4.0 * scale},
            "loops": {loop: cost * scale for loop, cost in loops.items()},
        }
        for scale in range(1, rounds + 1)
    ]
    return FloorResult("the application; a C server", turns)


def test_ratios_are_taken_within_each_round():
    found = result(12.0, 15.0, rounds=3)
    assert found.over_floor("uvloop").as_ratio() == "1.50 (1.50-1.50)"
    assert found.over_floor("pyasync").as_ratio() == "1.20 (1.20-1.20)"
    assert found.cost("uvloop") == 30.0


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
    assert cells[-4:] == [possible, "-", "1.15", word]


@pytest.mark.parametrize(("rate", "word"), [(120_000.0, "yes"), (104_900.0, "no")])
def test_a_rate_is_bounded_by_what_the_load_generator_gets_out_of_the_least_server(rate, word):
    turn = {
        "parts": {"protocol": 1.0, "carrying": 4.0},
        "loops": {"pyasync": 6.0, "uvloop": 7.0},
        "rates": {"bare C": rate, "uvloop": 100_000.0},
    }
    cells = floor_cells("unix_1k", FloorResult("a server", [turn]))  # target 1.05
    assert cells[4] == "-"  # no C server stands in
    assert cells[-3:] == [f"{rate / 1000:.1f}k ({rate / 1e5:.2f})", "1.05", word]


def test_a_row_of_tasks_is_in_nanoseconds():
    turn = {
        "parts": {"gather": 500.0, "tasks": 150.0},
        "loops": {"pyasync": 700.0, "uvloop": 910.0},
    }
    cells = floor_cells("gather_hundred", FloorResult("gather()", [turn]))
    assert cells[1:4] == ["ns", "650", "500 gather + 150 tasks"]
    assert cells[-4:] == ["1.40 (1.40-1.40)", "-", "1.30", "yes"]


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
        "| 1.20 (1.20-1.20) | 15.0 uvloop | 1.50 (1.50-1.50) | - | 1.15 | yes |"
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


@pytest.mark.parametrize("part", TASK_PARTS)
def test_tasks_are_measured_without_a_loop_and_on_one(part: str):
    cost = tasks(options(part=part, loop="asyncio", size=50))
    assert math.isfinite(cost)
    assert cost > 0


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
def test_the_handshake_server_shakes_hands(programs: Path):
    command = [programs / "handshake_server", certificate_folder().name]
    check_load(programs, command, "tcp", ["--size=1", "--tls", "--accept"])


def check_load(programs: Path, command: list[Any], kind: str, options: list[str]) -> None:
    """Runs the server under a short load, which must see no error."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        address = server.stdout.readline().strip()
        load = [programs / "load", f"--{kind}={address}", "--connections=3", *options]
        load += ["--warmup=0.05", "--seconds=0.2"]
        done = subprocess.run(load, stdout=subprocess.PIPE, timeout=30)
        server.terminate()
    assert done.returncode == 0, done.stdout
    assert b'"messages": 0,' not in done.stdout
