"""Control flow: order, outcomes, failures, dependencies."""

from __future__ import annotations

import asyncio
import graphlib
import itertools
from functools import partial

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyasync import flow
from tests.support import turns


async def give(value, delay=0):
    await turns(delay)
    return value


async def fail(error, delay=0):
    await turns(delay)
    raise error


def tasks(*makers):
    return [partial(*maker) for maker in makers]


async def test_parallel_keeps_the_order_and_the_form(loop):
    assert await flow.parallel(tasks((give, 1, 5), (give, 2))) == [1, 2]
    assert await flow.parallel({"b": partial(give, 1, 5), "a": lambda: 2}) == {"b": 1, "a": 2}
    assert await flow.parallel([]) == []
    assert [item async for item in flow.parallel(tasks((give, 1, 5), (give, 2)))] == [1, 2]
    assert await flow.parallel(iter(tasks((give, 1))), limit=3) == [1]
    with pytest.raises(ValueError, match="needs a limit"):
        flow.parallel(iter([]))


async def test_a_coroutine_is_not_a_task(loop):
    with pytest.raises(TypeError, match="a task must be a function, not <coroutine"):
        await flow.parallel([give(1)])
    with pytest.raises(TypeError, match="a task must be a function, not 3"):
        await flow.all_settled([3])


async def test_series_runs_one_after_the_other_and_stops_at_a_failure(loop):
    trace = []

    async def step(number):
        trace.append(("begin", number))
        await turns(3 - number)
        if number == 2:
            raise ValueError
        trace.append(("end", number))

    with pytest.raises(ValueError):
        await flow.series([partial(step, number) for number in range(4)])
    assert trace == [("begin", 0), ("end", 0), ("begin", 1), ("end", 1), ("begin", 2)]


async def test_waterfall_hands_results_on(loop):
    async def add(number):
        return number + 1

    assert await flow.waterfall([add, lambda n: n * 10, add], 1) == 21
    assert await flow.waterfall([pow, str], 2, 3) == "8"
    assert await flow.waterfall([]) is None
    with pytest.raises(ValueError):
        await flow.waterfall([add, partial(fail, ValueError()), add], 1)


async def test_race_takes_the_first_to_end_well_or_badly(loop):
    assert await flow.race(tasks((give, 1, 9), (give, 2, 3), (fail, OSError(), 9))) == 2
    with pytest.raises(OSError):
        await flow.race(tasks((give, 1, 9), (fail, OSError(), 3)))
    assert await flow.race({"a": partial(give, 7)}) == 7
    with pytest.raises(ValueError, match="at least one task"):
        await flow.race([])
    with pytest.raises(asyncio.CancelledError):
        await flow.race(tasks((give, 1, 9), (fail, asyncio.CancelledError(), 3)))


async def test_any_takes_the_first_success_or_all_failures(loop):
    assert await flow.any(tasks((fail, OSError()), (give, 1, 5), (give, 2, 3))) == 2
    first, second = OSError(), ValueError()
    with pytest.raises(ExceptionGroup, match="every task failed") as caught:
        await flow.any(tasks((fail, first, 4), (fail, second, 1)))
    assert caught.value.exceptions == (second, first), "in the order in which they came"
    with pytest.raises(ExceptionGroup) as caught:
        await flow.any(tasks((fail, first)))
    assert caught.value.exceptions == (first,)
    with pytest.raises(ValueError, match="at least one task"):
        await flow.any([])


async def test_losers_are_cancelled_and_waited_for(loop):
    for function in (flow.race, flow.any):
        ended = []

        async def slow(ended=ended):
            try:
                await asyncio.sleep(60)
            finally:
                await turns(5)
                ended.append(True)

        await function([slow, partial(give, 1, 2), slow])
        assert ended == [True, True]


async def test_all_settled_tells_how_each_ended(loop):
    error = ValueError()
    outcomes = await flow.all_settled({"a": partial(give, 1), "b": partial(fail, error)})
    assert outcomes == {"a": flow.Fulfilled(1), "b": flow.Rejected(error)}
    assert [outcome.ok for outcome in outcomes.values()] == [True, False]
    (own,) = await flow.all_settled([partial(fail, asyncio.CancelledError())])
    assert isinstance(own.error, asyncio.CancelledError)
    task = loop.create_task(flow.all_settled([partial(asyncio.sleep, 60)]))
    await turns(3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_try_each_stops_at_the_first_success(loop):
    begun = []

    async def task(number):
        begun.append(number)
        await asyncio.sleep(0)
        if number < 1:
            raise OSError
        return number

    assert await flow.try_each([partial(task, number) for number in range(4)]) == 1
    assert begun == [0, 1]
    with pytest.raises(ExceptionGroup):
        await flow.try_each([partial(task, 0), partial(task, -1)])


async def test_loops_end_when_the_test_says_so(loop):
    left = [1, 2, 3]

    async def pop():
        return left.pop()

    assert await flow.whilst(lambda: left, pop) == 1
    assert await flow.whilst(lambda: left, pop) is None
    assert await flow.until(lambda: len(left) == 2, lambda: left.append(0)) is None
    assert len(left) == 2
    with pytest.raises(ZeroDivisionError):
        await flow.forever(lambda: 1 // 0)


async def test_loops_whose_worker_never_waits_can_be_timed_out(loop):
    for endless in (
        lambda: flow.forever(lambda: None),
        lambda: flow.whilst(lambda: True, lambda: None),
        lambda: flow.until(lambda: False, lambda: None),
    ):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await endless()


async def test_compose_and_seq_are_mirror_images(loop):
    async def double(number):
        return number * 2

    def add(number, other=1):
        return number + other

    assert await flow.seq(add, double)(1, other=4) == 10
    assert await flow.compose(double, add)(1, other=4) == 10
    with pytest.raises(ValueError, match="at least one function"):
        flow.seq()


async def test_apply_each_gives_all_the_same_arguments(loop):
    assert await flow.apply_each([min, max, give], 1, 2) == [1, 2, 1]
    assert await flow.apply_each({"least": min, "most": max}, 1, 2) == {"least": 1, "most": 2}


async def test_auto_runs_tasks_as_early_as_their_dependencies_allow(loop):
    trace = []

    async def step(name, delay, *inputs):
        trace.append(f"{name} begins")
        await turns(delay)
        trace.append(f"{name} ends")
        return (name, *inputs)

    results = await flow.auto(
        {
            "c": (["a", "b"], partial(step, "c", 0)),
            "a": partial(step, "a", 1),
            "b": partial(step, "b", 9),
            "d": (["a"], partial(step, "d", 1)),
        }
    )
    assert results == {
        "c": ("c", ("a",), ("b",)),
        "a": ("a",),
        "b": ("b",),
        "d": ("d", ("a",)),
    }
    assert list(results) == ["c", "a", "b", "d"]
    assert trace.index("d begins") < trace.index("b ends") < trace.index("c begins")


async def test_auto_refuses_a_bad_graph_before_anything_starts(loop):
    def never():
        raise AssertionError("started")

    with pytest.raises(graphlib.CycleError):
        await flow.auto({"x": never, "a": (["b"], never), "b": (["a"], never)})
    with pytest.raises(ValueError, match="'a' depends on 'z', which is not there"):
        await flow.auto({"x": never, "a": (["z"], never)})
    for task in (3, ("b", never), (["x"], 3)):
        with pytest.raises(TypeError, match="must be a function or"):
            await flow.auto({"x": never, "a": task})
    assert await flow.auto({}) == {}


async def test_auto_starts_nothing_after_a_failure(loop):
    begun = []

    async def begin(*_):
        begun.append(True)

    with pytest.raises(OSError):
        await flow.auto(
            {"a": partial(fail, OSError()), "b": partial(give, 1, 1), "c": (["b"], begin)}
        )
    assert begun == []

    async def stubborn():
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return 1

    with pytest.raises(OSError):
        await flow.auto({"a": partial(fail, OSError(), 2), "b": stubborn, "c": (["b"], begin)})
    assert begun == []


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)  # the loop is shared by the examples on purpose
@given(
    edges=st.sets(st.tuples(st.integers(0, 6), st.integers(0, 6))),
    delays=st.lists(st.integers(0, 3), min_size=7, max_size=7),
    limit=st.sampled_from([None, 1, 2, 3]),
)
def test_auto_computes_what_a_sequential_order_computes(loop, edges, delays, limit):
    needs = {n: sorted(a for a, b in edges if b == n and a < n) for n in range(7)}
    running = most = 0

    def task(number):
        async def run(*inputs):
            nonlocal running, most
            running += 1
            most = max(most, running)
            await turns(delays[number])
            running -= 1
            return number + sum(inputs)

        return needs[number], run

    wants = {}
    for number in range(7):
        wants[number] = number + sum(wants[need] for need in needs[number])
    graph = {number: task(number) for number in reversed(range(7))}
    assert loop.run_until_complete(flow.auto(graph, limit=limit)) == wants
    assert limit is None or most <= limit


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)  # the loop is shared by the examples on purpose
@given(
    outcomes=st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=1, max_size=6),
    limit=st.sampled_from([1, 2, 6]),
)
def test_any_and_all_settled_agree_with_their_meaning(loop, outcomes, limit):
    makers = [
        partial(give, number, delay) if ok else partial(fail, OSError(number), delay)
        for number, (ok, delay) in enumerate(outcomes)
    ]
    settled = loop.run_until_complete(flow.all_settled(makers, limit=limit))
    assert [outcome.ok for outcome in settled] == [ok for ok, _ in outcomes]
    good = [number for number, (ok, _) in enumerate(outcomes) if ok]
    try:
        winner = loop.run_until_complete(flow.any(makers, limit=limit))
    except ExceptionGroup as group:
        assert not good and len(group.exceptions) == len(outcomes)
    else:
        assert winner in good
    if good:
        assert loop.run_until_complete(flow.try_each(makers)) == good[0]


async def test_tasks_can_come_from_an_endless_input(loop):
    endless = (partial(give, number) for number in itertools.count())
    async with flow.parallel(endless, limit=2) as results:
        assert [await anext(results) for _ in range(3)] == [0, 1, 2]
