"""What benchmarks.floors found: kept as JSON, the floors and the ratios made of it, the table.

A floor is the sum of its parts of one round; ratios are taken within a round. "possible" is what
the best peer costs over the floor: the ratio that pyasync would have if it cost the floor and no
more.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.markdown import number, table
from benchmarks.report import Spread
from benchmarks.results import OURS, describe, write_document
from benchmarks.rows import BENCH_ROWS

STAND_IN = "C stand-in"  # its name among the loops: works as long as the library, and carries
Parts = dict[str, float]  # name -> CPU us per message or request
Turn = dict[str, dict[str, float]]  # {"parts": Parts, "loops": {loop: CPU us}}


def floor_of(turn: Turn) -> float:
    """The floor of one round, CPU us."""
    return sum(turn["parts"].values())


@dataclass
class FloorResult:
    """One row: what its floor consists of, its rounds, and why there are not more of them."""

    text: str
    rounds: list[Turn] = field(default_factory=list)
    failed: str | None = None

    def spread(self, figure: Callable[[Turn], float]) -> Spread:
        """The spread of a figure over the rounds."""
        return Spread.of(figure(turn) for turn in self.rounds)

    def part(self, name: str) -> float:
        """Median CPU us of one part."""
        return self.spread(lambda turn: turn["parts"][name]).median

    def cost(self, loop: str) -> float:
        """Median CPU us of the row on one loop."""
        return self.spread(lambda turn: turn["loops"][loop]).median

    def over_floor(self, loop: str) -> Spread:
        """How many times the floor a loop costs."""
        return self.spread(lambda turn: turn["loops"][loop] / floor_of(turn))

    def ratio(self, loop: str, other: str) -> Spread:
        """How many times as much as `other` a loop costs."""
        return self.spread(lambda turn: turn["loops"][loop] / turn["loops"][other])

    @property
    def peer(self) -> str | None:
        """The peer that was measured beside pyasync, if there was one."""
        names = set.intersection(*(set(turn["loops"]) for turn in self.rounds)) - {OURS, STAND_IN}
        return min(names, default=None)


Floors = dict[str, FloorResult]


def save_floors(path: Path, about: dict[str, Any], floors: Floors) -> None:
    """Writes a run to `path`, to be read by load_floors()."""
    rows = {key: asdict(result) for key, result in floors.items()}
    write_document(path, {"about": about, "rows": rows})


def load_floors(path: Path) -> tuple[dict[str, Any], Floors]:
    """The circumstances and the rows of a run; rows that are no longer measured are left out."""
    document = json.loads(path.read_text())
    rows = {key: row for key, row in document["rows"].items() if key in BENCH_ROWS}
    return document["about"], {key: FloorResult(**row) for key, row in rows.items()}


def floor_columns() -> list[str]:
    """The titles of floor_cells()."""
    return [
        "work",
        "floor",
        "parts of the floor",
        f"{STAND_IN} (ratio)",
        OURS,
        "over floor (min-max)",
        "best peer",
        "possible ratio (min-max)",
        "target",
        "in reach",
    ]


def reach(own: Spread, possible: Spread | None, stand_in: Spread | None, target: float) -> str:
    """Whether the target is possible: "yes", "no", or that the C stand-in does not get there; "not
    a floor" if pyasync costs less than it, "-" without a peer to compare with."""
    if own.median < 1:
        return "not a floor"
    if possible is None or stand_in is None:
        return "-"
    if possible.median < target:
        return "no"
    return "yes" if stand_in.median >= target else f"not for {STAND_IN}"


def floor_cells(key: str, result: FloorResult) -> list[str]:
    """One line of the table, of at least one round; figures are medians of CPU us."""
    row, peer, own = BENCH_ROWS[key], result.peer, result.over_floor(OURS)
    possible = None if peer is None else result.over_floor(peer)
    stand_in = None if peer is None else result.ratio(peer, STAND_IN)
    return [
        row.title,
        number(result.spread(floor_of).median),
        " + ".join(f"{number(result.part(name))} {name}" for name in result.rounds[0]["parts"]),
        number(result.cost(STAND_IN)) + ("" if stand_in is None else f" ({stand_in.median:.2f})"),
        number(result.cost(OURS)),
        own.as_ratio(),
        "-" if peer is None else f"{number(result.cost(peer))} {peer}",
        "-" if possible is None else possible.as_ratio(),
        f"{row.target:.2f}",
        reach(own, possible, stand_in, row.target),
    ]


def floor_section(version: str, about: dict[str, Any], floors: Floors) -> str:
    """The floors of one Python version: the table, what each floor is, what failed."""
    measured = {key: result for key, result in floors.items() if result.rounds}
    titles: dict[str, list[str]] = {}
    for key, result in measured.items():
        titles.setdefault(result.text, []).append(BENCH_ROWS[key].title)
    failed = [
        f"- failed: {BENCH_ROWS[key].title}: `{result.failed}`"
        for key, result in floors.items()
        if result.failed
    ]
    rounds = [len(result.rounds) for result in measured.values()]
    return "\n\n".join(
        [
            f"## Floors, CPython {version}",
            f"{min(rounds, default=0)} to {max(rounds, default=0)} rounds. {describe(about)}.",
            table(floor_columns(), [floor_cells(*item) for item in measured.items()]),
            "\n".join(
                [*(f"- {'; '.join(rows)}: {text}." for text, rows in titles.items()), *failed]
            ),
        ]
    )
