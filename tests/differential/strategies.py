"""How hypothesis makes programs. Small values come first, so that shrinking ends in them."""

from __future__ import annotations

from hypothesis import strategies as st

from .program import Body, Forever, Op, Scheduling, UntilComplete
from .sync_operations import EXCEPTIONS, MISUSES

MAX_DEPTH = 4

index = st.integers(0, 3)
delay = st.sampled_from([0, 1, 2, 3, 5, 8, 13, -1])
late = st.none() | delay
value = st.integers(0, 3)
message = st.sampled_from([None, None, "why", 7])
context = st.sampled_from(["none", "none", "copy", "empty"])
future_exception = st.sampled_from(sorted(EXCEPTIONS))
raised = st.sampled_from(
    ["ValueError", "ValueError", "Custom", "CancelledError", "TimeoutError", "Group"]
    + ["KeyboardInterrupt", "SystemExit", "Fatal", "StopIteration", "GeneratorExit"]
)
flag = st.booleans()


def op(name: str, *arguments: st.SearchStrategy) -> st.SearchStrategy[Op]:
    """Operations of this name with arguments from these strategies."""
    return st.builds(Op, st.just(name), *arguments)


# Operations without a body, by what they are about. A group is chosen first.
FUTURES = [
    op("set_result", index, value),
    op("set_exception", index, future_exception),
    op("cancel_future", index, message),
    op("look_at_future", index),
    op("future_result", index),
    op("future_exception", index),
    op("remove_done", index, index),
    op("add_evil_done", index),
    op("forget_future", index),
    op("new_future", index, st.sampled_from(["loop", "asyncio"])),
]
TASKS = [
    op("cancel_task", index, message),
    op("cancel_task", index, message),
    op("uncancel_task", index),
    op("look_at_task", index),
    op("task_result", index),
    op("task_exception", index),
    op("set_task_name", index),
    op("misuse_task", index),
    op("task_stack", index),
    op("forget_task", index),
    op("all_tasks"),
    op("current_task"),
]
HANDLES = [
    op("cancel_handle", index),
    op("cancel_handle", index),
    op("look_at_handle", index),
    op("forget_handle", index),
]
PRIMITIVES = [
    op("set_event", index),
    op("clear_event", index),
    op("put_nowait", index, value),
    op("get_nowait", index),
    op("task_done", index),
    op("shutdown_queue", index, flag),
    op("release", index),
    op("notify", st.integers(1, 2)),
]
LOOP = [
    op("now"),
    op("set_variable", value),
    op("get_variable"),
    op("stop"),
    op("run_nested", st.sampled_from(["forever", "until", "other", "close", "look"])),
    op("set_debug", flag),
    op("set_handler", st.sampled_from(["record", "default", "raise"])),
    op("call_handler"),
    op("set_factory", st.sampled_from(["none", "eager", "custom"])),
    op("misuse", st.integers(0, len(MISUSES) - 1)),
    op("collect"),
    op("raise_", raised),
    op("raise_", raised),
]
WAITING = [
    op("sleep", delay),
    op("sleep", delay),
    op("bare_yield"),
    op("bad_yield", st.sampled_from(["number", "future", "self", "generator"])),
    op("await_future", index),
    op("await_future", index),
    op("await_task", index),
    op("shield_future", index),
    op("wait_for_future", delay, index),
    op("gather_kept", index, index),
    op("acquire", index),
    op("wait_condition"),
    op("wait_event", index),
    op("wait_barrier"),
    op("reset_barrier"),
    op("abort_barrier"),
    op("put", index, value),
    op("get", index),
    op("join", index),
    op("raise_later", raised),
    op("cancel_self"),
]

SIMPLE = st.one_of(*map(st.one_of, [FUTURES, TASKS, HANDLES, PRIMITIVES, LOOP]))
AWAITS = st.one_of(*WAITING)


def tuples(element: st.SearchStrategy, most: int) -> st.SearchStrategy[tuple]:
    """Tuples of at most `most` elements."""
    return st.lists(element, max_size=most).map(tuple)


def scheduling(
    sync_body: st.SearchStrategy[Body], async_body: st.SearchStrategy[Body]
) -> st.SearchStrategy[Op]:
    """Operations that schedule a body."""
    return st.one_of(
        op("call_soon", sync_body, context),
        op("call_soon", sync_body),
        op("call_later", delay, sync_body),
        op("call_later", delay, sync_body, context),
        op("call_at", delay, sync_body),
        op("call_soon_args", sync_body, st.integers(0, 7)),
        op("call_soon_threadsafe", sync_body),
        op("add_done", index, sync_body, context),
        op("task_done_callback", index, sync_body),
        op("spawn", async_body),
        op("spawn", async_body),
        op("spawn", async_body, st.sampled_from(["named", "eager", "lazy"]), context),
        op("spawn_asyncio", async_body),
        op("ensure_future", async_body),
    )


def compound(
    async_body: st.SearchStrategy[Body], children: st.SearchStrategy[tuple[Body, ...]]
) -> st.SearchStrategy[Op]:
    """Operations that await bodies."""
    when = st.sampled_from(["ALL_COMPLETED", "FIRST_COMPLETED", "FIRST_EXCEPTION"])
    catch = st.sampled_from(["Exception", "CancelledError", "BaseException", "nothing"])
    return st.one_of(
        op("try_", async_body, catch, async_body, async_body),
        op("try_", async_body, catch, async_body, async_body),
        op("shield", async_body),
        op("wait_for", late, async_body),
        op("timeout", late, async_body, late),
        op("gather", children, flag),
        op("wait", children, when, late),
        op("as_completed", children, late),
        op("task_group", children, async_body),
        op("with_lock", index, async_body),
        op("repeat", st.integers(0, 3), async_body),
        op("iterate", st.integers(0, 3), st.integers(1, 3), async_body, flag),
        op("keep_generator", async_body),
        op("eager_child", async_body),
    )


@st.composite
def body(draw: st.DrawFn, kind: str, depth: int) -> Body:
    """Bodies for callbacks ("sync") or coroutines ("async"), nested at most so deep.

    Opaque, because hypothesis writes out the repr of a strategy with every strategy in it.
    """
    return draw(_BODIES[kind, depth])


def _bodies() -> dict[tuple[str, int], st.SearchStrategy[Body]]:
    found = {("sync", 0): tuples(SIMPLE, 3), ("async", 0): tuples(SIMPLE | AWAITS, 3)}
    for depth in range(1, MAX_DEPTH + 1):
        sync_inner, async_inner = body("sync", depth - 1), body("async", depth - 1)
        schedule = scheduling(sync_inner, async_inner)
        awaits = compound(async_inner, tuples(async_inner, 3))
        async_op = SIMPLE | AWAITS | schedule | schedule | awaits | awaits
        found["sync", depth] = tuples(SIMPLE | schedule, 4)
        found["async", depth] = tuples(async_op, 5)
    return found


_BODIES = _bodies()
SYNC_BODY, ASYNC_BODY = body("sync", MAX_DEPTH), body("async", MAX_DEPTH)

scheduling_programs = st.builds(
    Scheduling,
    runs=st.lists(
        st.builds(UntilComplete, ASYNC_BODY)
        | st.builds(UntilComplete, ASYNC_BODY)
        | st.builds(Forever, SYNC_BODY),
        min_size=1,
        max_size=3,
    ).map(tuple),
    clock=st.sampled_from(["ticks", "ticks", "real", "real", "polls"]),
    debug=st.sampled_from([False, False, False, True]),
    handler=st.sampled_from(["record", "record", "default", "raise"]),
    factory=st.sampled_from(["none", "none", "none", "eager", "custom"]),
)
