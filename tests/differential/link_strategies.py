"""How hypothesis makes programs over connections.

The order of what happens on the two ends within a step is not promised, so programs are made in
which it cannot be seen. Small writes never fill a socket and a large one always does, so that when
pause_writing() is called does not hang on the size of the kernel's buffers.
"""

from __future__ import annotations

import dataclasses
import sys

from hypothesis import strategies as st

from .link import LARGE
from .program import Body, Connection, Op, Reactions, Step, Streams
from .strategies import op, tuples

small = st.sampled_from([0, 1, 100, 3000])
# Without empty items: asyncio's writelines() of 3.12 and newer never gets rid of them.
sizes = st.lists(st.sampled_from([1, 100, 3000]), max_size=4).map(tuple)
side = st.sampled_from("ab")
protocol = st.sampled_from(["plain", "plain", "buffered"])
limits = st.sampled_from([None, 0, 1000, 100_000])

WRITING = [
    op("write", small),
    op("write", small),
    op("write_mutable", small),
    op("write_view", small),
    op("writelines", sizes),
]
LOOKING = [
    op("can_write_eof"),
    op("info", st.integers(0, 4)),
    op("write_wrong"),
    op("set_limits", limits, limits),
]
ENDING = [op("write_eof"), op("close"), op("abort")]
READING = [
    op("pause_reading"),
    op("resume_reading"),
    op("set_protocol", protocol),
]
LARGE_WRITES = [op(name, st.just(LARGE)) for name in ("write", "write_mutable", "write_view")]
if sys.version_info < (3, 12):  # from 3.12 on asyncio's writelines() does not call pause_writing()
    LARGE_WRITES.append(op("writelines", st.sampled_from([(LARGE, 1), (100, LARGE)])))

LOOK = st.one_of(LOOKING) | st.one_of(READING)
WRITE = st.one_of(WRITING)
END = st.one_of(ENDING)
HALF_CLOSE = op("write_eof") | op("close")
RAISE = st.just(Op("raise_"))


def bodies(element: st.SearchStrategy[Op], later: st.SearchStrategy[Op]) -> st.SearchStrategy[Body]:
    """What an end does in a step, and what in its next turn."""
    deferred = op("call_soon", tuples(later, 2))
    return st.lists(element | deferred, min_size=1, max_size=4).map(tuple)


def reactions(**by_event: st.SearchStrategy[Body]) -> st.SearchStrategy[Reactions]:
    """What an end does by itself."""
    return st.builds(Reactions, **by_event, keep_open=st.booleans(), limit=st.integers(1, 2))


# Each manner: the bodies of steps, the reactions, and the operations for connection_made().
#
# Ends that answer what comes in. One that ends the connection does nothing else in that step, so
# that nothing is on its way then.
ANSWERING = (
    bodies(WRITE | LOOK, LOOK) | bodies(WRITE | LOOK, LOOK) | END.map(lambda end: (end,)),
    reactions(
        data=tuples(WRITE | LOOK, 2),
        eof=tuples(WRITE | LOOK, 2),
        lost=tuples(WRITE | LOOK | RAISE, 2),
    ),
    WRITE | LOOK | RAISE,
)
# Ends that do not answer, but end the connection at any point.
ENDING_ANYWHERE = (
    bodies(WRITE | LOOK | END, LOOK | END),
    reactions(
        data=tuples(LOOK | END | RAISE, 2),
        eof=tuples(LOOK | END | RAISE, 2),
        lost=tuples(LOOK | END | WRITE, 2),
    ),
    WRITE | LOOK | END | RAISE,
)
# Writes that fill the socket. What had arrived when somebody aborts is the kernel's secret.
FILLING = (
    bodies(WRITE | LOOK | HALF_CLOSE | st.one_of(LARGE_WRITES), WRITE | LOOK | HALF_CLOSE),
    reactions(
        eof=tuples(WRITE | LOOK, 2),
        pause=tuples(WRITE, 2),
        resume=tuples(WRITE, 2),
        lost=tuples(LOOK, 2),
    ),
    WRITE | LOOK,
)


@st.composite
def connection_programs(draw: st.DrawFn) -> Connection:
    """Programs of two protocols."""
    kind = draw(st.sampled_from(["pair", "pair", "unix", "tcp"]))
    manners = [ANSWERING, ENDING_ANYWHERE] + ([FILLING] if kind != "tcp" else [])
    body, reaction, first = draw(st.sampled_from(manners))
    a, b = draw(reaction), draw(reaction)
    made = draw(tuples(first, 2))
    if draw(st.booleans()):  # one of them: which end is made first is open
        a = dataclasses.replace(a, made=made)
    else:
        b = dataclasses.replace(b, made=made)
    return Connection(
        steps=tuple(draw(st.lists(st.builds(Step, side, body), min_size=1, max_size=5))),
        kind=kind,
        protocols=(draw(protocol), draw(protocol)),
        a=a,
        b=b,
        debug=draw(st.sampled_from([False, False, False, True])),
    )


count = st.sampled_from([0, 1, 7, 100])
STREAM_ABORT = op("abort")
STREAM_OPERATIONS = [
    op("write", small),
    op("write", small),
    op("writelines", sizes),
    op("drain"),
    op("write_eof"),
    op("close"),
    STREAM_ABORT,
    op("wait_closed"),
    op("is_closing"),
    op("read", count),
    op("read_all"),
    op("readexactly", count),
    op("readline"),
    op("readuntil", st.sampled_from([b"\n", b"z", b"no such", b""])),
    op("iterate", st.integers(1, 3)),
    op("at_eof"),
    op("exception"),
    op("cancel", st.integers(0, 3)),
    op("sleep"),
]


@st.composite
def stream_programs(draw: st.DrawFn) -> Streams:
    """Programs of two streams."""
    kind = draw(st.sampled_from(["pair", "pair", "unix", "tcp"]))
    choices = list(STREAM_OPERATIONS)
    if kind != "tcp" and draw(st.booleans()):
        choices.remove(STREAM_ABORT)  # see FILLING
        choices.append(op("write", st.just(LARGE)))
    body = st.lists(st.one_of(choices), min_size=1, max_size=4).map(tuple)
    steps = st.lists(st.builds(Step, side, body), min_size=1, max_size=6)
    return Streams(
        steps=tuple(draw(steps)),
        kind=kind,
        limit=draw(st.sampled_from([16, 100, 2**16])),
        debug=draw(st.sampled_from([False, False, False, True])),
    )
