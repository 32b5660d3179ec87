"""tests/refleaks.py itself: it sees what grows with every run and forgives what grew once."""

from __future__ import annotations

import os

from tests.refleaks import growth, leaks, main


def test_objects_kept_are_seen():
    kept = []
    grown = growth(lambda new_loop: kept.append([object() for _ in range(10)]), object)
    assert "blocks" in leaks(grown)


def test_descriptors_kept_are_seen():
    kept = []
    grown = growth(lambda new_loop: kept.append(os.open("/", os.O_RDONLY)), object)
    for descriptor in kept:
        os.close(descriptor)
    assert leaks(grown)["descriptors"] == [1, 1, 1, 1, 1]


def test_a_count_that_grew_once_is_no_leak():
    assert leaks({"blocks": [7, 0, 0, 0, 0], "references": [0, 0, 1, -1, 0]}) == {}


def test_scenarios_run(capsys):
    assert main(["run_noop", "tasks", "--loop", "asyncio"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "2 passed, 0 failed"
