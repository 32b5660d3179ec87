"""The command line: runs many programs, prints every difference, and counts.

python -m tests.differential --programs 3000 --seed 1
python -m tests.differential --minutes 60
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Sequence

import pyasync

from .families import FAMILIES
from .search import LOOPS, chunks, search_in_process

CHUNK = 250  # programs per process
MAX_DIFFERENCES = 10  # the first few are enough to start from


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.differential",
        description="Run small random programs on asyncio and on pyasync and compare.",
    )
    parser.add_argument("--programs", type=int, default=3000, metavar="N")
    parser.add_argument("--minutes", type=float, help="run for so long instead, with fresh seeds")
    parser.add_argument("--seed", type=int, help="the first seed (default: a random one)")
    parser.add_argument("--family", choices=sorted(FAMILIES), help="default: all in turn")
    parser.add_argument("--loop", choices=sorted(LOOPS), default="pyasync")
    options = parser.parse_args(argv)
    if options.programs < 1:
        parser.error(f"--programs {options.programs}: at least 1")
    if options.seed is None:
        options.seed = random.randrange(10**9)
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv`; the exit status, 1 when a program differs."""
    options = parse(argv)
    info = pyasync.build_info()
    print(
        f"asyncio against {options.loop}, Python {info['python']}, libuv {info['libuv']}, "
        f"tasks: {info['task']}, seed {options.seed}",
        flush=True,
    )
    begin = time.monotonic()
    end = begin + options.minutes * 60 if options.minutes else float("inf")
    programs = sys.maxsize if options.minutes else options.programs
    families = [options.family] if options.family else list(FAMILIES)
    ran = differences = 0
    for family, count, number in chunks(families, programs, CHUNK, options.seed):
        if time.monotonic() > end or differences >= MAX_DIFFERENCES:
            break
        result = search_in_process(family, count, number, options.loop)
        ran += result.programs
        differences += len(result.reports)
        for report in result.reports:
            print(f"\n===== {family}, seed {number} =====\n{report}\n", flush=True)
    print(f"{ran} programs, {differences} differences, {time.monotonic() - begin:.0f} s")
    print(f"{ran - differences} passed, {differences} failed")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
