"""Looks for leaks: runs each scenario again and again and compares what the interpreter counts.

    python3.14-dbg -m tests.refleaks [SCENARIO ...] [--loop asyncio|pyasync]

After some runs to warm up, each scenario runs five times. After each run the total of reference
counts (debug builds of CPython only), the allocated blocks, the open libuv handles and descriptors
are taken. A leak grows with every run; one count that moved once is a cache. On asyncio the
scenarios show what the measurement itself is worth. They are in tests/leak_scenarios.py
and tests/leak_scenarios_network.py.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Sequence

import tests.leak_scenarios_network  # noqa: F401 (it enters its scenarios among the others)
from pyasync import literals
from tests.leak_scenarios import SCENARIOS, Scenario
from tests.support import LOOPS, live_handles, open_descriptors

WARM_UPS = 4
RUNS = 5

# The name of 3.11 and 3.12 is deprecated.
clear_caches = getattr(sys, "_clear_internal_caches", None) or sys._clear_type_cache
total_references: Callable[[], int] | None = getattr(sys, "gettotalrefcount", None)


def counts() -> dict[str, int]:
    """What must not grow, once nothing of a run is left to collect."""
    clear_caches()
    literals.resolve.cache_clear()  # bounded: 256 answers
    while gc.collect():  # finalizers of one round leave garbage for the next
        pass
    taken = {
        "blocks": sys.getallocatedblocks(),
        "libuv handles": live_handles(),
        "descriptors": len(open_descriptors()),
    }
    if total_references is not None:
        taken["references"] = total_references()
    return taken


def growth(scenario: Scenario, new_loop: Callable[[], object]) -> dict[str, list[int]]:
    """By how much each count grew in each of the runs that count."""
    grown: dict[str, list[int]] = {}
    for _ in range(WARM_UPS):
        scenario(new_loop)
    before = counts()
    for _ in range(RUNS):
        scenario(new_loop)
        counts()  # what the interpreter itself still holds of the run goes with the first look
        after = counts()
        for name in after:
            grown.setdefault(name, []).append(after[name] - before[name])
        before = counts()
    return grown


def leaks(grown: dict[str, list[int]]) -> dict[str, list[int]]:
    """The counts that grew in most of the runs."""
    return {name: deltas for name, deltas in grown.items() if statistics.median(deltas) > 0}


def examine(scenario: Scenario, new_loop: Callable[[], object]) -> tuple[str, str]:
    """Whether the scenario is "flat", "LEAKS" or "FAILED", and what grew or was raised."""
    try:
        found = leaks(growth(scenario, new_loop))
    except Exception:
        return "FAILED", traceback.format_exc()
    details = ", ".join(f"{what} grew by {deltas}" for what, deltas in found.items())
    return ("LEAKS" if found else "flat"), details


def main(argv: Sequence[str] | None = None) -> int:
    """Run the scenarios named, print a line for each; 1 if one leaks."""
    parser = argparse.ArgumentParser(prog="python -m tests.refleaks")
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help="default: all")
    parser.add_argument("--loop", choices=list(LOOPS), default="pyasync")
    options = parser.parse_args(argv)
    unknown = set(options.scenarios) - set(SCENARIOS)
    if unknown:
        parser.error(f"no scenario {', '.join(sorted(unknown))}; there are {', '.join(SCENARIOS)}")
    if total_references is None:
        print("not a debug build of CPython: references are not counted, blocks only")
    # Some scenarios leave things unclosed on purpose; a module remembers each text it warned of.
    warnings.simplefilter("ignore", ResourceWarning)
    new_loop = LOOPS[options.loop]
    names = options.scenarios or list(SCENARIOS)
    failed = 0
    for name in names:
        start = time.perf_counter()
        verdict, details = examine(SCENARIOS[name], new_loop)
        failed += verdict != "flat"
        seconds = time.perf_counter() - start
        print(f"{verdict:6} {name:32} {seconds:5.1f} s  {details}".rstrip(), flush=True)
    print(f"{len(names) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
