"""The command line: chooses groups, runs them, prints a line per group and the totals."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase

from . import backends, skips
from .forking import FAILED, PASSED, SKIPPED, Outcome, run
from .groups import GROUPS, Test, collect

TAIL_LINES = 40  # of a failed test's output, without --verbose


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv`; the exit status, 1 when something failed."""
    options = _parse(argv)
    backend = backends.load(options.loop)
    print(backend.describe(), flush=True)
    backends.install(backend)
    names = options.groups or list(GROUPS)
    tests = _collect(names, backend)
    if options.check_skips or options.loop != "asyncio":
        stale = skips.stale([t for ts in tests.values() for t in ts], names, skips.SKIPS)
        for entry in stale:
            print(f"skips.py: {entry.group}: {entry.pattern!r} matches no test on this Python")
        if options.check_skips or stale:
            return 1 if stale else 0
    if options.pattern:
        tests = {n: [t for t in ts if _chosen(t, options.pattern)] for n, ts in tests.items()}
        tests = {name: group for name, group in tests.items() if group}
        if not tests:
            print(f"no test of these groups fits {options.pattern!r}")
            return 2
    return _run(tests, options)


def _collect(names: Sequence[str], backend: backends.Backend) -> dict[str, list[Test]]:
    try:
        return {name: collect(name, backend) for name in names}
    except ModuleNotFoundError as error:
        if error.name is None or not error.name.startswith("test"):
            raise
        sys.exit(
            f"{error}: {sys.executable} comes without CPython's own tests. Install them "
            "(Debian: libpython3-testsuite; Fedora: python3-test; pyenv builds have them)."
        )


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.cpython",
        description="Run CPython's own asyncio tests on pyasync, one process per test.",
        epilog=f"Groups: {', '.join(GROUPS)}.",
    )
    parser.add_argument("groups", nargs="*", metavar="GROUP", help="default: all groups")
    parser.add_argument("--loop", choices=backends.NAMES, default="pyasync")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="processes (default 2)")
    parser.add_argument(
        "--timeout",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="a test that takes longer hangs, which is a failure (default 60)",
    )
    parser.add_argument(
        "-k",
        dest="pattern",
        help="only tests whose module.Class.method has this in it (or fits it)",
    )
    parser.add_argument(
        "-v",
        "--verbose",
        action="store_true",
        help="print a line per test, and all that a failed test printed",
    )
    parser.add_argument("--no-skips", action="store_true", help="run the tests of skips.py as well")
    parser.add_argument(
        "--check-skips", action="store_true", help="only look for stale entries of skips.py"
    )
    options = parser.parse_args(argv)
    unknown = [name for name in options.groups if name not in GROUPS]
    if unknown:
        parser.error(f"no group {', '.join(unknown)}; groups are {', '.join(GROUPS)}")
    if options.jobs < 1:
        parser.error(f"--jobs {options.jobs}: at least 1")
    return options


def _chosen(test: Test, pattern: str) -> bool:
    return pattern in test.name or fnmatchcase(test.name, pattern)


def _run(tests: dict[str, list[Test]], options: argparse.Namespace) -> int:
    report = Report(tests, verbose=options.verbose)
    todo = []
    for test in (test for group in tests.values() for test in group):
        skip = None
        if options.loop != "asyncio" and not options.no_skips:
            skip = skips.find(test, skips.SKIPS)
        if skip is None:
            todo.append(test)
        else:
            report.add(Outcome(test, SKIPPED, f"skips.py: {skip.reason}", "", 0.0))
    for outcome in run(todo, jobs=options.jobs, timeout=options.timeout):
        report.add(outcome)
    return report.finish()


class Report:
    """Prints failures as they come, a group's line when its last test has ended, and totals."""

    def __init__(self, tests: dict[str, list[Test]], *, verbose: bool) -> None:
        self._verbose = verbose
        self._left = {name: len(group) for name, group in tests.items()}
        self._width = max(map(len, tests))
        self._counts = {name: Counter[str]() for name in tests}
        self._ours: Counter[str] = Counter()
        self._start = time.monotonic()
        self._pending = list(tests)
        self._print_complete_groups()

    def add(self, outcome: Outcome) -> None:
        """Take in the outcome of one test."""
        group = outcome.test.group
        self._counts[group][outcome.status] += 1
        self._left[group] -= 1
        if outcome.status == SKIPPED and outcome.reason.startswith("skips.py:"):
            self._ours[group] += 1
        if outcome.status == FAILED:
            self._print_failure(outcome)
        elif self._verbose:
            reason = f" ({outcome.reason})" if outcome.reason else ""
            print(f"  {outcome.status}  {outcome.test.name}  {outcome.seconds:.2f} s{reason}")
        self._print_complete_groups()

    def finish(self) -> int:
        """Print the totals; the exit status."""
        total: Counter[str] = Counter()
        for counts in self._counts.values():
            total.update(counts)
        print(f"{time.monotonic() - self._start:.1f} s")
        print(f"{total[PASSED]} passed, {total[FAILED]} failed, {total[SKIPPED]} skipped")
        return 1 if total[FAILED] else 0

    def _print_failure(self, outcome: Outcome) -> None:
        test = outcome.test
        print(f"\nFAILED {test.group}: {test.name}: {outcome.reason} ({outcome.seconds:.1f} s)")
        for line in _tail(outcome.output, None if self._verbose else TAIL_LINES):
            print(f"    {line}")
        print(flush=True)

    def _print_complete_groups(self) -> None:
        while self._pending and not self._left[self._pending[0]]:
            name = self._pending.pop(0)
            counts, ours = self._counts[name], self._ours[name]
            if not counts:
                print(f"{name:{self._width}}  no tests on this Python", flush=True)
                continue
            by_us = f" ({ours} by skips.py)" if ours else ""
            print(
                f"{name:{self._width}}  {counts[PASSED]:4} passed, {counts[FAILED]} failed, "
                f"{counts[SKIPPED]} skipped{by_us}",
                flush=True,
            )


def _tail(output: str, limit: int | None) -> Iterator[str]:
    lines = output.rstrip().splitlines()
    if limit is not None and len(lines) > limit:
        yield f"... ({len(lines) - limit} lines above, see them with -v)"
        lines = lines[-limit:]
    yield from lines


if __name__ == "__main__":
    sys.exit(main())
