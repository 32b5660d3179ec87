"""Programs as data: what hypothesis builds, the interpreters run and a report prints.

An Op names a method of the interpreter that runs it and holds that method's arguments; a body is a
tuple of Ops. The repr of a program is Python that makes it again, so a report is a script. Indices
in arguments are taken modulo what exists when the Op runs: every Op is valid in every state.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


class Op:
    """One operation: the name of an interpreter's method and its arguments."""

    __slots__ = ("args", "name")

    def __init__(self, name: str, *args: Any) -> None:
        self.name = name
        self.args = args

    def __repr__(self) -> str:
        return f"Op({', '.join(map(repr, (self.name, *self.args)))})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Op) and (self.name, self.args) == (other.name, other.args)

    def __hash__(self) -> int:
        return hash((self.name, self.args))


Body = tuple[Op, ...]


@dataclass(frozen=True)
class UntilComplete:
    """loop.run_until_complete() of a coroutine with this body."""

    body: Body


@dataclass(frozen=True)
class Forever:
    """The body, synchronously, while the loop does not run; then run_forever() for `turns`."""

    body: Body
    turns: int = 20


@dataclass(frozen=True)
class Scheduling:
    """A program of callbacks, timers, tasks and what they wait for.

    clock: "ticks" moves the time by a unit per turn; "polls" by a unit whenever the loop itself
    asks for it, so that the loop really sleeps; "real" leaves the loop its own time(), and every
    delay is 0. handler: what the exception handler does, "record", "default" or "raise". factory:
    the task factory, "none", "eager" (3.12+) or "custom".
    """

    runs: tuple[UntilComplete | Forever, ...]
    clock: str = "ticks"
    debug: bool = False
    handler: str = "record"
    factory: str = "none"


@dataclass(frozen=True)
class Reactions:
    """What a protocol does by itself: a body per event, run the first `limit` times it comes."""

    made: Body = ()
    data: Body = ()
    eof: Body = ()
    pause: Body = ()
    resume: Body = ()
    lost: Body = ()
    keep_open: bool = False
    limit: int = 1


@dataclass(frozen=True)
class Step:
    """A body run by one side, "a" or "b", in one callback or task; then the connection settles."""

    side: str
    body: Body


@dataclass(frozen=True)
class Connection:
    """A program of two protocols connected with each other.

    kind: "pair" (create_connection() over a socketpair), "unix" or "tcp" (b is a server's side).
    protocols: of a and b, "plain" or "buffered".
    """

    steps: tuple[Step, ...]
    kind: str = "pair"
    protocols: tuple[str, str] = ("plain", "plain")
    a: Reactions = Reactions()
    b: Reactions = Reactions()
    debug: bool = False


@dataclass(frozen=True)
class Streams:
    """A program of two pairs of StreamReader and StreamWriter; a step is a task.

    kind is that of Connection, limit that of the readers in bytes.
    """

    steps: tuple[Step, ...]
    kind: str = "pair"
    limit: int = 2**16
    debug: bool = False


Program = Scheduling | Connection | Streams

WIDTH = 96


def _pretty(value: Any, indent: int) -> str:
    """The repr of a program, over several lines where it is long."""
    flat = repr(value)
    if len(flat) + indent <= WIDTH:
        return flat
    inner = " " * (indent + 4)
    if isinstance(value, Op):
        head, parts, tail = "Op(", [(None, arg) for arg in (value.name, *value.args)], ")"
    elif isinstance(value, tuple):
        head, parts, tail = "(", [(None, item) for item in value], ")"
    elif hasattr(value, "__dataclass_fields__"):
        names = value.__dataclass_fields__
        parts = [(name, getattr(value, name)) for name in names]
        head, tail = f"{type(value).__name__}(", ")"
    else:
        return flat
    lines = []
    for name, part in parts:
        prefix = "" if name is None else f"{name}="
        lines.append(f"{inner}{prefix}{_pretty(part, indent + 4)},\n")
    return f"{head}\n{''.join(lines)}{' ' * indent}{tail}"


def script(program: Program) -> str:
    """Python source that runs the program on asyncio and on pyasync and prints the difference."""
    return (
        "from tests.differential.differ import check\n"
        "from tests.differential.program import *\n\n"
        f"check({_pretty(program, 0)})\n"
    )
