"""What benchmarks.floors found: kept as JSON, the floors and the ratios made of it, the table.

A floor is the sum of its parts of one round; ratios are taken within a round. "possible" is what
the best peer costs over the floor: the ratio that pyasync would have if it cost the floor and no
more. Of several ways to do a part that one
counts which is the best by its median over the rounds: the best of each round would be a little
better than any of them is, as every turn varies.
"""

import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypedDict

from benchmarks.markdown import number, table
from benchmarks.report import Spread, ratios
from benchmarks.results import OURS, describe, write_document
from benchmarks.rows import BENCH_ROWS, MILLISECONDS, NANOSECONDS

STAND_IN = "stand-in"  # the least code that does the other work of the row and carries
UNITS = {NANOSECONDS: "ns", MILLISECONDS: "ms"}  # of floors; the others are in us
Ways = dict[str, float]  # of doing the same: name -> its cost in the row's unit
Parts = dict[str, Ways]


class Turn(TypedDict):
    """One round of one row."""

    parts: Parts
    loops: dict[str, float]  # pyasync's cost, and that of the best peer if there is one
    stand_in: Ways  # empty if no C server stands in for the whole


def best_way(rounds: Sequence[Ways]) -> list[float]:
    """Of each round the figure of that way which has the least median over all rounds; empty if no
    way is in every round."""
    ways = sorted(set.intersection(*(set(turn) for turn in rounds)))
    if not ways:
        return []
    medians = {way: statistics.median(turn[way] for turn in rounds) for way in ways}
    best = min(ways, key=lambda way: medians[way])
    return [turn[best] for turn in rounds]


@dataclass
class FloorResult:
    """One row: what its floor consists of, its rounds, and why there are not more of them."""

    text: str
    rounds: list[Turn] = field(default_factory=list)
    failed: str | None = None

    def spread(self, figure: Callable[[Turn], float]) -> Spread:
        """The spread of a figure over the rounds."""
        return Spread.of(figure(turn) for turn in self.rounds)

    def parts(self) -> dict[str, list[float]]:
        """Each part's cost in each round."""
        names = self.rounds[0]["parts"]
        return {name: best_way([turn["parts"][name] for turn in self.rounds]) for name in names}

    def floors(self) -> list[float]:
        """The floor of each round."""
        return [sum(costs) for costs in zip(*self.parts().values(), strict=True)]

    def cost(self, loop: str) -> float:
        """Median cost of the row on one loop."""
        return self.spread(lambda turn: turn["loops"][loop]).median

    def over_floor(self, loop: str) -> Spread:
        """How many times the floor a loop costs."""
        return ratios([turn["loops"][loop] for turn in self.rounds], self.floors())

    def stand_in(self) -> list[float]:
        """Of each round what the C server costs that stands in for the whole; empty without one."""
        return best_way([turn["stand_in"] for turn in self.rounds])

    @property
    def peer(self) -> str | None:
        """The peer that was measured beside pyasync, if there was one."""
        return min(set(self.rounds[0]["loops"]) - {OURS}, default=None)


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
        "unit",
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
    """Whether the target is possible: "yes", "no", or that the stand-in does not get there; "not
    a floor" if pyasync costs less than it, "-" without a peer to compare with."""
    if own.median < 1:
        return "not a floor"
    if possible is None:
        return "-"
    if possible.median < target:
        return "no"
    missed = stand_in is not None and stand_in.median < target
    return f"not for {STAND_IN}" if missed else "yes"


def with_ratio(figure: str, ratio: Spread | None) -> str:
    """A figure, with the median of a ratio in brackets if there is one."""
    return figure + ("" if ratio is None else f" ({ratio.median:.2f})")


def floor_cells(key: str, result: FloorResult) -> list[str]:
    """One line of the table, of at least one round; figures are medians in the line's unit."""
    row, peer, own = BENCH_ROWS[key], result.peer, result.over_floor(OURS)
    possible = None if peer is None else result.over_floor(peer)
    whole = result.stand_in()
    stand_in = None
    if whole and peer is not None:
        stand_in = ratios([turn["loops"][peer] for turn in result.rounds], whole)
    return [
        row.title,
        UNITS.get(row.unit, "us"),
        number(Spread.of(result.floors()).median),
        " + ".join(
            f"{number(Spread.of(costs).median)} {name}" for name, costs in result.parts().items()
        ),
        with_ratio(number(Spread.of(whole).median), stand_in) if whole else "-",
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
