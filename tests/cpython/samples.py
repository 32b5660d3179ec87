"""Tests that end in every way a test can end, for the tests of the runner."""

import asyncio
import os
import subprocess
import sys
import time
import unittest
from pathlib import Path

from .backends import Backend


class Sample(unittest.TestCase):
    """One method per ending; the name says how the runner must report it."""

    def test_pass(self) -> None:
        self.assertIsInstance(asyncio.new_event_loop(), asyncio.AbstractEventLoop)

    def test_pass_expected_failure(self) -> None:
        self.assertEqual(1, 2)

    test_pass_expected_failure = unittest.expectedFailure(test_pass_expected_failure)

    def test_pass_alone_in_its_folder(self) -> None:
        self.assertEqual(os.listdir(), [])
        Path("left_behind").touch()

    def test_pass_alone_in_its_folder_again(self) -> None:
        self.test_pass_alone_in_its_folder()

    def test_skip(self) -> None:
        self.skipTest("the sample is skipped")

    def test_fail(self) -> None:
        print("a line the test printed")
        self.assertEqual("what came", "what should come")

    def test_fail_error(self) -> None:
        raise KeyError("the sample's key")

    def test_fail_subtest(self) -> None:
        for number in range(3):
            with self.subTest(number=number):
                self.assertNotEqual(number, 1)

    def test_fail_after_skip(self) -> None:
        self.addCleanup(self.fail, "the cleanup failed")
        self.skipTest("too early")

    @unittest.expectedFailure
    def test_fail_unexpected_success(self) -> None:
        pass

    def test_fail_long_output(self) -> None:
        for number in range(1000):
            print("line", number)
        self.fail("at the end")

    def test_fail_exit(self) -> None:
        os._exit(3)

    def test_fail_system_exit(self) -> None:
        sys.exit(0)

    def test_fail_crash(self) -> None:
        os.abort()

    def test_fail_hang(self) -> None:
        subprocess.Popen(["sleep", os.environ["SAMPLE_SLEEP"]])
        time.sleep(60)


class BrokenFixture(unittest.TestCase):
    """A class whose fixture fails: its test must not count as passed."""

    @classmethod
    def setUpClass(cls) -> None:
        raise OSError("no fixture today")

    def test_fail_fixture(self) -> None:
        pass


class SkippedFixture(unittest.TestCase):
    """A class whose fixture skips it."""

    @classmethod
    def setUpClass(cls) -> None:
        raise unittest.SkipTest("not on this machine")

    def test_skip_fixture(self) -> None:
        pass


def good(backend: Backend) -> list[type[unittest.TestCase]]:
    """A group with no failure in it."""
    return [type("Good", (Sample,), dict.fromkeys(_names("test_fail")))]


def bad(backend: Backend) -> list[type[unittest.TestCase]]:
    """A group of failures, and of a class that is skipped as a whole."""
    sample = type("Bad", (Sample,), dict.fromkeys([*_names("test_pass"), "test_skip"]))
    return [sample, BrokenFixture, SkippedFixture]


def _names(prefix: str) -> list[str]:
    return [name for name in vars(Sample) if name.startswith(prefix)]
