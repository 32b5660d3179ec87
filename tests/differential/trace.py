"""The trace: one line per event of a program, without what may differ between two runs.

Takes in what the program tells it, and while watching also asyncio's log records, warnings and
exceptions that Python could not raise, each at its place among the events. Addresses, descriptors,
ports, absolute times, class names of loops and the numbers of tasks are replaced.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import sys
import warnings
from collections.abc import Iterator
from typing import Any

CHAIN_DEPTH = 3  # causes and contexts of an exception that are looked at

_ADDRESS = re.compile(r"0x[0-9a-f]+")
_DESCRIPTOR = re.compile(r"\bfd=\d+")
_PORT = re.compile(r"\('127\.0\.0\.1', \d+\)")
_LOOP = re.compile(r"<(?:\w+\.)*\w*(?:EventLoop|Loop) (running=\w+ closed=\w+ debug=\w+)>")
_TASK = re.compile(r"\bTask-(\d+)\b")
_CREATED = re.compile(r"(created at) \(most recent call last\):\n(?: +.*\n?)*")
_TRANSPORT = re.compile(r"(?:\w+\.)*\w*SocketTransport\b")
_CUT_TRANSPORT = re.compile(r"<\w*Soc\w*\.\.\.[^>]*>>")  # as reprlib shortens it
_WHEN = re.compile(r"\bwhen=[\d.]+")
_PLACE = re.compile(r"(created at) \S+:\d+")  # a loop in C has no frame of its own to show
_FRAMES = re.compile(r"\[<FrameSummary [^\]]*\]")  # the same
_SLOW = re.compile(r"took \d+\.\d+ seconds")


class Trace(logging.Handler):
    """Lines of what happened; `prefix()` is put before each."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []
        self.same: list[tuple[re.Pattern[str], str]] = []  # what else is to look the same, and how
        self.prefix = lambda: ""

    def freeze_prefix(self) -> None:
        """From now on the prefix is what it is now; what computed it is let go."""
        prefix = self.prefix()
        self.prefix = lambda: prefix

    def add(self, text: str) -> None:
        """Write down an event."""
        self.lines.append(f"{self.prefix()}{self.plain(text)}")

    def plain(self, text: str) -> str:
        """The text without what differs between two runs of the same program."""
        text = _CREATED.sub(r"\1 ...\n", text)
        if "FrameSummary" in text:
            text = _FRAMES.sub("[...]", text)
        if "0x" in text:
            text = _ADDRESS.sub("0x", text)
        if "created at " in text:
            text = _PLACE.sub(r"\1 ...", text)
        if "when=" in text:
            text = _WHEN.sub("when=N", text)
        if "fd=" in text:
            text = _DESCRIPTOR.sub("fd=N", text)
        if "Task-" in text:
            text = _TASK.sub("Task-N", text)
        if "Transport" in text:
            text = _TRANSPORT.sub("Transport", text)
        if "Soc" in text:
            text = _CUT_TRANSPORT.sub("<Transport ...>", text)
        for pattern, replacement in self.same:
            text = pattern.sub(replacement, text)
        text = _PORT.sub("('127.0.0.1', N)", text)
        return _LOOP.sub(r"<Loop \1>", text)

    def emit(self, record: logging.LogRecord) -> None:
        """Write down a log record of asyncio."""
        message = _SLOW.sub("took N seconds", record.getMessage())
        if record.levelno <= logging.DEBUG:  # "Using selector: ..." and the like
            return
        raised = "" if not record.exc_info else f" with {self.describe(record.exc_info[1])}"
        self.add(f"log {record.levelname}: {self.plain(message)}{raised}")

    def handled(self, context: dict[str, Any]) -> None:
        """Write down the context that an exception handler got."""
        shown = []
        for key in sorted(context):
            value = context[key]
            if key == "source_traceback":
                value = "..."
            shown.append(f"{key}={self.describe(value)}")
        self.add(f"handler: {', '.join(shown)}")

    def describe(self, value: Any) -> str:
        """A text that is the same for equal values of two runs."""
        if isinstance(value, BaseException):
            return self.plain(_describe_exception(value, CHAIN_DEPTH))
        if isinstance(value, set):
            return "{" + ", ".join(sorted(map(self.describe, value))) + "}"
        if isinstance(value, (list, tuple)):
            return "[" + ", ".join(map(self.describe, value)) + "]"
        if isinstance(value, bytes) and len(value) > 16:
            return f"{len(value)} bytes"
        if isinstance(value, str):
            return value
        return self.plain(repr(value))

    @contextlib.contextmanager
    def sorted_section(self) -> Iterator[None]:
        """Lines written inside are sorted: their order depends on addresses."""
        start = len(self.lines)
        yield
        self.lines[start:] = sorted(self.lines[start:])

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Take in log records, warnings and unraisable exceptions until the end of the block."""
        logger = logging.getLogger("asyncio")
        handlers, propagate, level = logger.handlers, logger.propagate, logger.level
        logger.handlers, logger.propagate = [self], False
        logger.setLevel(logging.INFO)
        unraisable = sys.unraisablehook
        sys.unraisablehook = self._unraisable
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("always")
                warnings.showwarning = self._warning
                yield
        finally:
            sys.unraisablehook = unraisable
            logger.handlers, logger.propagate = handlers, propagate
            logger.setLevel(level)

    def _warning(self, message: Any, category: type[Warning], *args: Any, **kwargs: Any) -> None:
        text = str(message).split("\nCoroutine created at")[0]
        self.add(f"warning {category.__name__}: {text}")

    def _unraisable(self, args: Any) -> None:
        self.add(f"unraisable: {self.describe(args.exc_value)}")


def _describe_exception(exc: BaseException, depth: int) -> str:
    text = f"{type(exc).__qualname__}({str(exc)!r})"
    if isinstance(exc, asyncio.CancelledError):
        text = f"CancelledError{exc.args!r}"
    if isinstance(exc, BaseExceptionGroup):
        members = ", ".join(_describe_exception(member, depth) for member in exc.exceptions)
        text += f" [{members}]"
    if depth > 1 and exc.__cause__ is not None:
        text += f" from {_describe_exception(exc.__cause__, depth - 1)}"
    elif depth > 1 and exc.__context__ is not None and not exc.__suppress_context__:
        text += f" after {_describe_exception(exc.__context__, depth - 1)}"
    return text
