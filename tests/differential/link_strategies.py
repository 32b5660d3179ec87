"""How hypothesis makes programs over connections.

Small writes never fill a socket, a large one always does, so that when pause_writing() is called
does not hang on the size of the kernel's buffers. Over TCP only small ones are made, for the same
reason. What cuts the stream of data off at the first piece is not combined with large writes.
"""

from __future__ import annotations

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
    op("is_closing"),
    op("is_reading"),
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
LARGE_WRITES = [op(name, st.just(LARGE)) for name in ("write", "write_mutable", "write_view")] + [
    op("writelines", st.sampled_from([(LARGE, 1), (100, LARGE), (LARGE // 2, LARGE // 2)]))
]

COMMON = st.one_of(st.one_of(WRITING), st.one_of(LOOKING), st.one_of(ENDING), st.one_of(READING))
REACTING = COMMON | st.just(Op("raise_"))


def step_body(large: bool) -> st.SearchStrategy[Body]:
    """What an end does in a step."""
    simple = COMMON | st.one_of(LARGE_WRITES) if large else COMMON
    deferred = op("call_soon", tuples(simple, 2))
    return st.lists(simple | deferred, min_size=1, max_size=4).map(tuple)


def reactions(large: bool) -> st.SearchStrategy[Reactions]:
    """What an end does by itself. With large writes around, nothing that depends on the pieces in
    which data comes, and nothing in answer to flow control but writing."""
    small_body = tuples(REACTING, 2)
    write_body = tuples(st.one_of(WRITING), 2)
    none = st.just(())
    return st.builds(
        Reactions,
        made=none if large else small_body,
        data=none if large else small_body,
        eof=small_body,
        pause=write_body,
        resume=write_body,
        lost=small_body,
        keep_open=st.booleans(),
        limit=st.integers(1, 2),
    )


@st.composite
def connection_programs(draw: st.DrawFn) -> Connection:
    """Programs of two protocols."""
    kind = draw(st.sampled_from(["pair", "pair", "unix", "tcp"]))
    large = kind != "tcp" and draw(st.booleans())
    steps = st.lists(st.builds(Step, side, step_body(large)), min_size=1, max_size=5)
    return Connection(
        steps=tuple(draw(steps)),
        kind=kind,
        protocols=(draw(protocol), draw(protocol)),
        a=draw(reactions(large)),
        b=draw(reactions(large)),
        debug=draw(st.sampled_from([False, False, False, True])),
    )


count = st.sampled_from([0, 1, 7, 100])
STREAM_OPERATIONS = [
    op("write", small),
    op("write", small),
    op("writelines", sizes),
    op("drain"),
    op("write_eof"),
    op("close"),
    op("abort"),
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
        choices.append(op("write", st.just(LARGE)))
    body = st.lists(st.one_of(choices), min_size=1, max_size=4).map(tuple)
    steps = st.lists(st.builds(Step, side, body), min_size=1, max_size=6)
    return Streams(
        steps=tuple(draw(steps)),
        kind=kind,
        limit=draw(st.sampled_from([16, 100, 2**16])),
        debug=draw(st.sampled_from([False, False, False, True])),
    )
