"""What benchmarks.floors found: kept as JSON, the floors and the ratios made of it, the table.

A floor is the sum of its parts of one round; ratios are taken within a round. "possible" is what
the best peer costs over the floor: the ratio that pyasync would have if it cost the floor and no
more. Where a row counts messages per second, the load generator bounds them too: the "rate bound"
is the rate that it reaches with the C server that costs the least, or pyasync if that is more.
"""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.markdown import number, table, thousands
from benchmarks.processes import BARE_SERVER
from benchmarks.report import Spread
from benchmarks.results import OURS, describe, write_document
from benchmarks.rows import BENCH_ROWS, MILLISECONDS, NANOSECONDS

STAND_IN = "C stand-in"  # its name among the loops: works as long as the library, and carries
# name -> CPU us per message or request; ns or ms for a row in that unit
Parts = dict[str, float]
UNITS = {NANOSECONDS: "ns", MILLISECONDS: "ms"}  # of floors; the others are in us
# {"parts": Parts, "loops": {loop: its cost}}, and perhaps "rates": {BARE_SERVER or peer: per s}
Turn = dict[str, dict[str, float]]


def floor_of(turn: Turn) -> float:
    """The floor of one round."""
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
        """Median of one part."""
        return self.spread(lambda turn: turn["parts"][name]).median

    def cost(self, loop: str) -> float:
        """Median cost of the row on one loop."""
        return self.spread(lambda turn: turn["loops"][loop]).median

    def over_floor(self, loop: str) -> Spread:
        """How many times the floor a loop costs."""
        return self.spread(lambda turn: turn["loops"][loop] / floor_of(turn))

    def rate(self, name: str) -> Spread | None:
        """Messages per second with one server; None if rates are not what the row counts."""
        if not all(name in turn.get("rates", {}) for turn in self.rounds):
            return None
        return self.spread(lambda turn: turn["rates"][name])

    def ratio(self, loop: str, other: str) -> Spread:
        """How many times as much as `other` a loop costs."""
        return self.spread(lambda turn: turn["loops"][loop] / turn["loops"][other])

    def has(self, loop: str) -> bool:
        """Whether every round has the cost of a loop."""
        return all(loop in turn["loops"] for turn in self.rounds)

    @property
    def rate_bound(self) -> Spread | None:
        """The rate with the bare C server over the peer's; None if the row does not count rates."""
        peer = self.peer
        if peer is None or self.rate(peer) is None or self.rate(BARE_SERVER) is None:
            return None
        return self.spread(lambda turn: turn["rates"][BARE_SERVER] / turn["rates"][peer])

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
        "unit",
        "floor",
        "parts of the floor",
        f"{STAND_IN} (ratio)",
        OURS,
        "over floor (min-max)",
        "best peer",
        "possible ratio (min-max)",
        "rate bound, /s (ratio)",
        "target",
        "in reach",
    ]


def reach(own: Spread, possible: list[Spread], stand_in: Spread | None, target: float) -> str:
    """Whether the target is possible: "yes", "no", or that the C stand-in does not get there; "not
    a floor" if pyasync costs less than it, "-" without a peer to compare with."""
    if own.median < 1:
        return "not a floor"
    if not possible:
        return "-"
    if any(spread.median < target for spread in possible):
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
    spins = result.has(STAND_IN)
    stand_in = result.ratio(peer, STAND_IN) if spins and peer is not None else None
    bound, rate = result.rate_bound, result.rate(BARE_SERVER)
    return [
        row.title,
        UNITS.get(row.unit, "us"),
        number(result.spread(floor_of).median),
        " + ".join(f"{number(result.part(name))} {name}" for name in result.rounds[0]["parts"]),
        with_ratio(number(result.cost(STAND_IN)), stand_in) if spins else "-",
        number(result.cost(OURS)),
        own.as_ratio(),
        "-" if peer is None else f"{number(result.cost(peer))} {peer}",
        "-" if possible is None else possible.as_ratio(),
        "-" if rate is None else with_ratio(thousands(rate.median), bound),
        f"{row.target:.2f}",
        reach(own, [spread for spread in (possible, bound) if spread], stand_in, row.target),
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
