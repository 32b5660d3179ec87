"""The benchmarks' floors: the sum of the parts, what is possible within each round, the verdict,
and the rendered section with and without a peer."""

from pathlib import Path

import pytest

from benchmarks.floor_results import (
    FloorResult,
    floor_cells,
    floor_section,
    load_floors,
    save_floors,
)

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
    assert cells[1:3] == ["10.0", "6.00 library + 4.00 carrying"]
    assert cells[-3:] == [possible, "1.15", word]


def test_the_section_is_rendered_from_what_was_saved(tmp_path: Path):
    path = tmp_path / "floors-3.14.json"
    floors = {KEY: result(12.0, 15.0), "tls_1k": FloorResult("TLS", [], "the server ended")}
    save_floors(path, ABOUT, floors)
    about, found = load_floors(path)
    assert found == floors
    text = floor_section("3.14", about, found)
    assert text.startswith("## Floors, CPython 3.14\n")
    assert (
        "| uvicorn, JSON | 10.0 | 6.00 library + 4.00 carrying | 11.0 (1.36) | 12.0 "
        "| 1.20 (1.20-1.20) | 15.0 uvloop | 1.50 (1.50-1.50) | 1.15 | yes |"
    ) in text
    assert "- uvicorn, JSON: the application; a C server." in text
    assert "- failed: TLS echo 1 KiB x 50: `the server ended`" in text
