"""Lets hypothesis look for programs that differ, in this process or in one of its own.

A worker process looks through one part of the programs and writes every program down before it
runs: when the loop under test crashes or hangs, the parent still has the program.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Flaky

import pyasync

from .clock import OrderedLoop
from .differ import Difference, Factory, compare
from .families import FAMILIES
from .program import Program, script

LOOPS: dict[str, Factory] = {"asyncio": OrderedLoop, "pyasync": pyasync.new_event_loop}
HANG_SECONDS = 20  # a program takes milliseconds


@dataclass
class Result:
    """How many programs ran, and the reports of those that differed, shrunk."""

    programs: int
    reports: list[str]


class Drawn:
    """A program on its way from hypothesis, which would take minutes to print a large one."""

    def __init__(self, program: Program) -> None:
        self.program = program

    def __repr__(self) -> str:
        return "the program reported above"


@st.composite
def drawn(draw: st.DrawFn, family: str) -> Drawn:
    """Programs of the family."""
    return Drawn(draw(FAMILIES[family]))


def search(
    family: str,
    count: int,
    number: int,
    subject: Factory,
    *,
    shrink: bool = True,
    before: Callable[[Program], None] = lambda program: None,
) -> tuple[int, Difference | None]:
    """Run up to `count` programs of a family made from the seed `number`.

    Returns how many ran before the first difference, and that difference, the smallest that
    hypothesis finds; one that comes and goes, as it came last. `before` is called with each
    program before it runs.
    """
    ran = 0
    found: Difference | None = None
    phases = [Phase.generate, Phase.shrink] if shrink else [Phase.generate]

    @seed(number)
    @settings(
        max_examples=count,
        phases=phases,
        database=None,
        deadline=None,
        report_multiple_bugs=False,
        print_blob=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(drawn(family))
    def test(example: Drawn) -> None:
        nonlocal ran, found
        program = example.program
        before(program)
        difference = compare(program, subject)
        ran += found is None
        if difference is not None:
            found = difference
            raise difference

    try:
        test()
    except Difference as difference:
        return ran, difference
    except Flaky:
        return ran, found
    return ran, None


def work(family: str, count: int, number: int, loop: str, journal: Path) -> None:
    """The worker process: prints a Result as JSON. The journal holds the program that runs."""

    def before(program: Program) -> None:
        journal.write_text(script(program))
        faulthandler.dump_traceback_later(HANG_SECONDS, exit=True)

    faulthandler.enable()
    gc.collect()
    gc.freeze()  # once: what pyasync keeps for reuse must not be frozen between programs
    result = Result(0, [])
    ran, difference = search(family, count, number, LOOPS[loop], before=before)
    faulthandler.cancel_dump_traceback_later()
    result.programs += ran
    if difference is not None:
        result.reports.append(str(difference))
    print(json.dumps(result.__dict__))


def search_in_process(family: str, count: int, number: int, loop: str) -> Result:
    """search() in a process of its own; a crash or a hang is a difference."""
    with tempfile.TemporaryDirectory() as folder:
        journal = Path(folder, "program.py")
        command = [sys.executable, "-m", "tests.differential.search", family, str(count)]
        command += [str(number), loop, str(journal)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode == 0:
            return Result(**json.loads(done.stdout.splitlines()[-1]))
        how = "crashed" if done.returncode < 0 else "hung or failed"
        program = journal.read_text() if journal.exists() else "(before the first program)"
        tail = "\n".join(done.stderr.splitlines()[-60:])
        return Result(1, [f"{how}, exit status {done.returncode}\n{program}\n{tail}"])


def chunks(families: list[str], programs: int, size: int, first_seed: int) -> Iterator[tuple]:
    """(family, count, seed) of the parts that make up so many programs, families in turn."""
    number = first_seed
    while programs > 0:
        for family in families:
            count = min(size, programs)
            if count > 0:
                yield family, count, number
            programs -= count
        number += 1


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        family, count, number, loop, journal = sys.argv[1:]
        work(family, int(count), int(number), loop, Path(journal))
