"""The runner of CPython's tests (tests/cpython) tells every ending of a test from every other.

The runner is run as a process, because it forks, on the groups of tests/cpython/samples.py.
"""

import re
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.cpython import groups, samples, skips

PROGRAM = """
import sys
from tests.cpython import __main__, groups, samples, skips
groups.GROUPS.clear()
groups.GROUPS.update(good=samples.good, bad=samples.bad)
if "pyasync" in sys.argv[1:]:  # the real loop is of no matter here
    __main__.backends._load_pyasync = __main__.backends._load_asyncio
skips.SKIPS = (
    skips.Skip("good", "*.test_pass", "to see it skipped"),
    skips.Skip("bad", "*.test_nowhere", "to see it found", since=(3, 12)),
)
sys.exit(__main__.main())
"""
ROOT = Path(__file__).parent.parent


def run_samples(*arguments, sleep="61"):
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "SAMPLE_SLEEP": sleep},
        capture_output=True,
        text=True,
        timeout=50,
    )


@pytest.fixture(scope="module")
def bad():
    return run_samples("bad", "--loop", "asyncio", "--timeout", "2", sleep="61.0625")


def reasons(run):
    return dict(
        re.findall(r"^FAILED bad: samples\.\w+\.(\w+): (.*) \(\d+\.\d s\)$", run.stdout, re.M)
    )


def test_a_group_without_failures_ends_well():
    run = run_samples("good", "--loop", "asyncio")
    assert run.stdout.splitlines()[-1] == "4 passed, 0 failed, 1 skipped"
    assert re.search(r"^good +4 passed, 0 failed, 1 skipped$", run.stdout, re.M)
    assert run.returncode == 0
    assert "asyncio" in run.stdout.splitlines()[0]


def test_every_way_to_fail_is_a_failure(bad):
    assert bad.returncode == 1
    assert bad.stdout.splitlines()[-1] == "0 passed, 11 failed, 1 skipped"
    found = reasons(bad)
    assert set(found) >= {name for name in vars(samples.Sample) if name.startswith("test_fail")}
    assert found["test_fail"] == "failure"
    assert found["test_fail_error"] == "error"
    assert found["test_fail_unexpected_success"] == "expected to fail, and passed"


def test_a_crash_names_its_signal_and_an_exit_its_status(bad):
    found = reasons(bad)
    assert found["test_fail_crash"] == "crash: signal SIGABRT"
    assert found["test_fail_exit"] == "crash: exit status 3"


def test_a_hang_ends_at_the_time_out_with_its_stack(bad):
    assert reasons(bad)["test_fail_hang"] == "hang: no result after 2 s"
    assert "in test_fail_hang" in bad.stdout


def test_a_hanging_tests_subprocesses_are_killed(bad):
    processes = [process.info["cmdline"] for process in psutil.process_iter(["cmdline"])]
    assert ["sleep", "61.0625"] not in processes


def test_a_failure_shows_the_tail_of_its_output(bad):
    assert "    a line the test printed" in bad.stdout
    assert "'what came' != 'what should come'" in bad.stdout
    assert "    line 999" in bad.stdout
    assert "    line 500" not in bad.stdout


def test_verbose_shows_all_of_the_output():
    run = run_samples("bad", "--loop", "asyncio", "-k", "test_fail_long_output", "-v")
    assert "    line 0\n" in run.stdout
    assert "    line 999\n" in run.stdout


def test_skip_entries_count_as_skipped_but_not_on_asyncio():
    run = run_samples("good", "--loop", "pyasync")
    assert re.search(r"^good +3 passed, 0 failed, 2 skipped \(1 by skips\.py\)$", run.stdout, re.M)
    assert run.returncode == 0


def test_no_skips_runs_the_skipped():
    run = run_samples("good", "--loop", "pyasync", "--no-skips")
    assert run.stdout.splitlines()[-1] == "4 passed, 0 failed, 1 skipped"


@pytest.mark.skipif(sys.version_info < (3, 12), reason="the sample entry is for 3.12 and newer")
def test_a_stale_skip_entry_is_an_error():
    run = run_samples("--check-skips", "--loop", "asyncio")
    assert "'*.test_nowhere' matches no test" in run.stdout
    assert run.returncode == 1


def test_a_skip_entry_of_other_versions_is_not_stale():
    entry = skips.Skip("good", "*.test_nowhere", "x", until=(3, 10))
    test = groups.Test("good", samples.Sample, "test_pass")
    assert skips.stale([test], ["good"], [entry]) == []
    assert skips.find(test, [entry]) is None


def test_pattern_chooses_tests():
    run = run_samples("good", "--loop", "asyncio", "-k", "alone", "-v")
    assert run.stdout.splitlines()[-1] == "2 passed, 0 failed, 0 skipped"
    assert "test_pass_alone_in_its_folder_again" in run.stdout


def test_an_unknown_group_is_refused():
    run = run_samples("nonsense", "--loop", "asyncio")
    assert run.returncode == 2
    assert "no group nonsense" in run.stderr


def test_every_skip_entry_has_a_group_and_a_reason():
    for entry in skips.SKIPS:
        assert entry.group in groups.GROUPS
        assert len(entry.reason.split()) > 3, entry
