"""Collection functions against their sequential meaning, and their failure semantics."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
import itertools
import tracemalloc
import warnings

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyasync import flow
from tests.support import turns

# The loop is shared by the examples on purpose: each must leave it as it found it.
EXAMPLES = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

NUMBERS = st.lists(st.integers(-5, 5), max_size=8)
DELAYS = st.lists(st.integers(0, 3), min_size=8, max_size=8)
LIMITS = st.sampled_from([1, 2, 3, 8, 100])
FORMS = st.sampled_from(["list", "generator", "async", "mapping"])
KINDS = st.sampled_from(["sync", "async"])


def is_odd(number):
    return number % 2 == 1


def sequentially(numbers, form):
    """What each function must give, in terms of builtins, for a list and for a mapping."""
    pairs = list(enumerate(numbers)) if form == "mapping" else [(number,) for number in numbers]
    collect = dict if form == "mapping" else (lambda found: [item for (item,) in found])
    value = [pair[-1] for pair in pairs]
    groups = {}
    for pair in pairs:
        groups.setdefault(abs(pair[-1]), []).append(pair)
    running = list(itertools.accumulate(value, initial=0))
    return {
        "each": None,
        "map": collect([(*pair[:-1], pair[-1] * 2) for pair in pairs]),
        "filter": collect([pair for pair in pairs if is_odd(pair[-1])]),
        "reject": collect([pair for pair in pairs if not is_odd(pair[-1])]),
        "partition": (
            collect([pair for pair in pairs if is_odd(pair[-1])]),
            collect([pair for pair in pairs if not is_odd(pair[-1])]),
        ),
        "detect": next((number for number in value if is_odd(number)), None),
        "some": any(map(is_odd, value)),
        "every": all(map(is_odd, value)),
        "reduce": running[-1],
        "transform": sorted(value),
        "sort_by": collect(sorted(pairs, key=lambda pair: abs(pair[-1]))),
        "group_by": {group: collect(of) for group, of in groups.items()},
        "concat": [number for number in value for _ in range(abs(number))],
    }


def calls(worker_of, items, limit):
    """The calls whose whole results `sequentially` predicts."""
    into = []
    return {
        "each": lambda: flow.each(worker_of(abs), items(), limit=limit),
        "map": lambda: flow.map(worker_of(lambda n: n * 2), items(), limit=limit),
        "filter": lambda: flow.filter(worker_of(is_odd), items(), limit=limit),
        "reject": lambda: flow.reject(worker_of(is_odd), items(), limit=limit),
        "partition": lambda: flow.partition(worker_of(is_odd), items(), limit=limit),
        "detect": lambda: flow.detect(worker_of(is_odd), items(), limit=limit),
        "some": lambda: flow.some(worker_of(is_odd), items(), limit=limit),
        "every": lambda: flow.every(worker_of(is_odd), items(), limit=limit),
        "reduce": lambda: flow.reduce(worker_of(lambda total, n: total + n), items(), 0),
        "transform": lambda: flow.transform(worker_of(list.append), items(), into, limit=limit),
        "sort_by": lambda: flow.sort_by(worker_of(abs), items(), limit=limit),
        "group_by": lambda: flow.group_by(worker_of(abs), items(), limit=limit),
        "concat": lambda: flow.concat(worker_of(lambda n: [n] * abs(n)), items(), limit=limit),
    }


class Busy:
    """Makes workers of functions: sync ones, or async ones with given delays; counts them."""

    def __init__(self, kind, delays):
        self.kind = kind
        self.delays = itertools.cycle(delays)
        self.now = self.most = 0

    def __call__(self, function):
        if self.kind == "sync":
            return function

        async def worker(*args):
            self.now += 1
            self.most = max(self.most, self.now)
            try:
                await turns(next(self.delays))
                return function(*args)
            finally:
                self.now -= 1

        return worker


def shape(numbers, form):
    """The numbers as an input of that form."""

    async def generate():
        for number in numbers:
            await asyncio.sleep(0)
            yield number

    forms = {
        "list": lambda: list(numbers),
        "generator": lambda: iter(numbers),
        "async": generate,
        "mapping": lambda: dict(enumerate(numbers)),
    }
    return forms[form]


@pytest.mark.parametrize("name", calls(None, None, None))
@EXAMPLES
@given(numbers=NUMBERS, delays=DELAYS, limit=LIMITS, form=FORMS, kind=KINDS)
def test_sequential_meaning(loop, name, numbers, delays, limit, form, kind):
    busy = Busy(kind, delays)

    async def main():
        got = await calls(busy, shape(numbers, form), limit)[name]()
        return sorted(got) if name == "transform" else got

    got = loop.run_until_complete(main())
    wants = sequentially(numbers, form)[name]
    assert got == wants
    if isinstance(wants, dict):
        assert list(got) == list(wants), "a mapping keeps its order"
    assert busy.most <= limit and busy.now == 0


@EXAMPLES
@given(numbers=NUMBERS, delays=DELAYS, limit=LIMITS, form=FORMS)
def test_pieces_in_order_are_those_of_the_whole(loop, numbers, delays, limit, form):
    async def pieces(name):
        made = calls(Busy("async", delays), shape(numbers, form), limit)[name]()
        async with made as found:
            return [piece async for piece in found]

    async def main():
        return {name: await pieces(name) for name in calls(None, None, None)}

    got = loop.run_until_complete(main())
    wants = sequentially(numbers, form)
    pairs = list(enumerate(numbers)) if form == "mapping" else numbers
    assert got["each"] == list(pairs)
    for name in ("map", "filter", "reject", "sort_by"):
        assert got[name] == list(wants[name].items() if form == "mapping" else wants[name])
    assert got["partition"] == [
        (is_odd(number), pair) for number, pair in zip(numbers, pairs, strict=True)
    ]
    assert got["detect"] == [n for n in [wants["detect"]] if n is not None]
    verdicts = [is_odd(number) for number in numbers]
    assert got["some"] == (verdicts[: verdicts.index(True) + 1] if any(verdicts) else verdicts)
    assert got["every"] == (verdicts if all(verdicts) else verdicts[: verdicts.index(False) + 1])
    assert got["reduce"] == list(itertools.accumulate(numbers, initial=0))
    assert got["group_by"] == [
        (abs(number), pair) for number, pair in zip(numbers, pairs, strict=True)
    ]
    assert got["concat"] == wants["concat"]
    assert len(got["transform"]) == len(numbers)


@EXAMPLES
@given(numbers=NUMBERS, delays=DELAYS, limit=LIMITS, form=FORMS)
def test_as_completed_gives_the_same_in_another_order(loop, numbers, delays, limit, form):
    async def main():
        busy = Busy("async", delays)
        made = flow.map(busy(abs), shape(numbers, form)(), limit=limit, as_completed=True)
        async with made as found:
            pieces = [piece async for piece in found]
        whole = await flow.map(busy(abs), shape(numbers, form)(), limit=limit, as_completed=True)
        return pieces, list(whole.items()) if form == "mapping" else whole

    wants = sorted(enumerate(map(abs, numbers)) if form == "mapping" else map(abs, numbers))
    assert [sorted(got) for got in loop.run_until_complete(main())] == [wants, wants]


@EXAMPLES
@given(failing=st.sets(st.integers(0, 7), min_size=1), delays=DELAYS, limit=LIMITS, form=FORMS)
def test_a_failure_comes_out_and_nothing_is_pulled_after_it(loop, failing, delays, limit, form):
    failed = False
    begun = []

    async def worker(number):
        nonlocal failed
        assert not failed, "begun after a failure"
        begun.append(number)
        await turns(delays[number])
        if number in failing:
            failed = True
            raise ValueError(number)
        return number

    async def main():
        with pytest.raises((ValueError, ExceptionGroup)) as caught:
            await flow.map(worker, shape(range(8), form)(), limit=limit)
        return caught.value

    error = loop.run_until_complete(main())
    errors = error.exceptions if isinstance(error, ExceptionGroup) else [error]
    assert len(errors) != 1 or not isinstance(error, ExceptionGroup)
    assert {e.args[0] for e in errors} <= failing & set(begun)
    assert begun == sorted(begun), "calls begin in the order of the input"


async def test_as_completed_comes_as_completed(loop):
    async def worker(delay):
        await turns(delay)
        return delay

    assert await flow.map(worker, [9, 5, 1], as_completed=True) == [1, 5, 9]
    found = [delay async for delay in flow.map(worker, [9, 5, 1], limit=3, as_completed=True)]
    assert found == [1, 5, 9]


async def test_a_verdict_does_not_wait_for_earlier_items(loop):
    async def worker(number):
        await asyncio.sleep(0 if number else 60)
        return number == 1

    async with asyncio.timeout(10):
        assert await flow.some(worker, [0, 1]) is True
        assert await flow.every(worker, [0, 2]) is False
        assert await flow.detect(worker, [0, 1], as_completed=True) == 1


async def test_one_failure_is_raised_itself_and_several_at_once_as_a_group(loop):
    first, second = ValueError("first"), KeyError("second")

    async def one(error):
        await asyncio.sleep(0)
        if error:
            raise error

    with pytest.raises(ValueError) as caught:
        await flow.map(one, [None, first])
    assert caught.value is first
    with pytest.raises(ExceptionGroup) as group:
        await flow.map(one, [first, None, second])
    assert group.value.exceptions == (first, second)
    with pytest.raises(ValueError) as caught:  # the same failure twice is one failure
        await flow.map(one, [first, first])
    assert caught.value is first


async def test_the_rest_is_cancelled_and_waited_for(loop):
    ended = []

    async def worker(number):
        try:
            if number == 2:
                raise ValueError
            await asyncio.sleep(60)
        finally:
            await turns(5)
            ended.append(number)

    with pytest.raises(ValueError):
        await flow.each(worker, [0, 1, 2])
    assert sorted(ended) == [0, 1, 2]


async def test_what_fails_while_it_is_cancelled_joins_the_group(loop):
    async def worker(number):
        if number == 0:
            await asyncio.sleep(0)
            raise ValueError
        try:
            await asyncio.sleep(60)
        finally:
            raise KeyError

    with pytest.raises(ExceptionGroup) as caught:
        await flow.each(worker, [0, 1])
    assert [type(error) for error in caught.value.exceptions] == [ValueError, KeyError]


async def test_a_cancellation_stays_one_and_carries_the_failures_that_came_with_it(loop):
    async def worker(_):
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            raise ValueError("cleaning up failed") from None

    async def main():
        await flow.each(worker, [1])

    task = loop.create_task(main())
    await turns(3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        await task
    assert isinstance(caught.value.__cause__, ValueError)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.001):
            await flow.each(worker, [1])
    assert asyncio.current_task().cancelling() == 0


async def test_a_worker_that_cancels_itself_is_a_failure_like_in_gather(loop):
    async def worker(number):
        if number:
            raise asyncio.CancelledError
        await asyncio.sleep(60)

    with pytest.raises(asyncio.CancelledError):
        await flow.map(worker, [0, 1])
    assert asyncio.current_task().cancelling() == 0


def test_an_interrupt_goes_before_everything(new_loop):
    loop = new_loop()

    async def worker(number):
        await asyncio.sleep(0)
        raise KeyboardInterrupt if number == 1 else ValueError

    async def main():
        try:
            await flow.map(worker, range(3))
        except BaseException as error:
            return error

    task = loop.create_task(main())
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(task)
    assert isinstance(loop.run_until_complete(task), KeyboardInterrupt)
    loop.close()


async def test_input_is_pulled_only_when_there_is_room(loop):
    pulled = []

    def source():
        for number in itertools.count():
            pulled.append(number)
            yield number

    async def worker(number):
        await asyncio.sleep(0)
        return number

    async with flow.map(worker, source(), limit=3) as found:
        async for number in found:
            await turns(9)
            # The item in hand has given its place to the next one.
            assert len(pulled) <= number + 1 + 3
            if number == 20:
                break
    assert await flow.detect(lambda number: number == 50, source(), limit=4) == 50


async def test_a_slow_head_holds_the_window_in_order(loop):
    begun = []
    release = asyncio.Event()

    async def worker(number):
        begun.append(number)
        if number == 0:
            await release.wait()
        return number

    async with flow.map(worker, itertools.count(), limit=3) as found:
        first = loop.create_task(anext(found))
        await turns(20)
        assert begun == [0, 1, 2]
        release.set()
        assert await first == 0


async def test_an_endless_input_keeps_memory_flat(loop):
    async def worker(number):
        await asyncio.sleep(0)
        return number

    async def run(count):
        async with flow.map(worker, itertools.count(), limit=10) as found:
            async for number in found:
                if number == count:
                    return
        gc.collect()

    await run(100)
    tracemalloc.start()
    try:
        await run(300)
        small = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        await run(6000)
        large = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert large < small * 1.5 + 20_000, (small, large)


async def test_an_async_input_is_closed_however_the_call_ends(loop):
    closed = []

    async def source():
        try:
            for number in range(5):
                yield number
        finally:
            await asyncio.sleep(0)
            closed.append(True)

    def fail(number):
        raise ValueError

    assert await flow.detect(lambda number: number == 1, source(), limit=1) == 1
    with pytest.raises(ValueError):
        await flow.each(fail, source(), limit=2)
    async with flow.map(abs, source(), limit=2) as found:
        await anext(found)
    assert closed == [True] * 3


async def test_an_input_that_fails_fails_the_call(loop):
    done = []

    def source():
        yield 1
        yield 2
        raise OSError("disk")

    async def worker(number):
        await asyncio.sleep(0)
        done.append(number)

    for limit in (1, 2, 5):
        with pytest.raises(OSError, match="disk"):
            await flow.each(worker, source(), limit=limit)
    async with flow.map(abs, source(), limit=1) as found:
        assert [await anext(found), await anext(found)] == [1, 2]
        with pytest.raises(OSError):
            await anext(found)


async def test_results_before_a_failure_are_yielded_before_it_is_raised(loop):
    async def worker(number):
        if number == 2:
            raise ValueError
        return number

    found = []
    with pytest.raises(ValueError):
        async for number in flow.map(worker, range(9), limit=1):
            found.append(number)
    assert found == [0, 1]


async def test_leaving_a_loop_early_ends_the_workers(loop):
    running = set()

    async def worker(number):
        running.add(number)
        try:
            await asyncio.sleep(0 if number < 3 else 60)
        finally:
            running.discard(number)

    async for _ in flow.map(worker, itertools.count(), limit=3):
        break
    await turns(5)  # without `async with` the event loop closes the dropped generator
    assert not running and asyncio.all_tasks() == {asyncio.current_task()}
    async with flow.map(worker, itertools.count(), limit=3) as found:
        async for _ in found:
            break
    assert not running and asyncio.all_tasks() == {asyncio.current_task()}


async def test_what_fails_after_the_loop_was_left_goes_to_the_exception_handler(loop):
    reported = []
    loop.set_exception_handler(lambda loop, context: reported.append(context))
    error = ValueError("late")

    async def worker(number):
        try:
            await asyncio.sleep(60 if number else 0)
            return True
        except asyncio.CancelledError:
            raise error from None

    assert await flow.detect(worker, [0, 1]) == 0
    assert [context["exception"] for context in reported] == [error]
    assert "after its call had been left" in reported[0]["message"]


COLOUR = contextvars.ContextVar("colour", default="none")


async def test_context_variables_reach_the_items_and_do_not_leak_between_them(loop):
    seen = []

    async def worker(number):
        seen.append(COLOUR.get())
        COLOUR.set(f"item {number}")
        await asyncio.sleep(0)
        assert COLOUR.get() == f"item {number}"

    COLOUR.set("caller's")
    await flow.each(worker, range(20), limit=2)
    await flow.each(lambda number: COLOUR.set(number), range(20), limit=2)
    assert seen == ["caller's"] * 20
    assert COLOUR.get() == "caller's"


class Incomparable:
    def __eq__(self, other):
        raise RuntimeError("cannot be compared")

    __hash__ = None


async def test_values_that_cannot_be_compared_do_not_leak_either(loop):
    seen = []

    def worker(number):
        seen.append(type(COLOUR.get()))
        COLOUR.set(Incomparable())

    COLOUR.set(Incomparable())
    await flow.each(worker, range(4), limit=1)
    COLOUR.set("x")
    await flow.each(worker, range(4), limit=1)
    assert seen == [Incomparable] * 4 + [str] * 4


async def test_a_left_over_cancellation_request_does_not_reach_the_next_item(loop):
    counts = []

    async def worker(number):
        counts.append(asyncio.current_task().cancelling())
        asyncio.current_task().cancel()
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            return number

    assert await flow.map(worker, range(5), limit=1) == [0, 1, 2, 3, 4]
    assert counts == [0] * 5


async def test_few_items_start_few_tasks(loop):
    most = 0

    async def worker(_):
        nonlocal most
        await turns(3)
        most = max(most, len(asyncio.all_tasks()))

    await flow.each(worker, iter(range(3)), limit=1_000_000)
    assert most <= 1 + 3 + 1


async def test_workers_that_never_wait_let_the_loop_run(loop):
    ticks = 0

    async def ticker():
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0)

    def busy(number):
        total = 0
        for value in range(2000):
            total += value

    task = loop.create_task(ticker())
    await flow.each(busy, range(1000), limit=2)
    during = ticks
    task.cancel()
    assert during > 2
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await flow.each(busy, itertools.count(), limit=2)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await flow.reduce(lambda total, number: 0, itertools.count())


async def test_a_list_that_grows_is_worked_on_to_its_end(loop):
    pages = [3]

    async def visit(depth):
        await asyncio.sleep(0)
        if depth:
            pages.extend([depth - 1] * 2)

    await flow.each(visit, pages, limit=1)  # as in a for loop
    assert len(pages) == 1 + 2 + 4 + 8


@pytest.mark.parametrize("limit", [1, 5, None])
async def test_eager_tasks_work_and_do_not_nest(loop, limit):
    factory = getattr(asyncio, "eager_task_factory", None)
    if factory is None:
        pytest.skip("eager tasks came with Python 3.12")
    loop.set_task_factory(factory)
    try:
        assert await flow.map(abs, range(3000), limit=limit) == list(range(3000))
        assert await flow.map(lambda n: COLOUR.set(n) and n, range(3000), limit=5)
        plan = {0: lambda: 0}
        plan |= {n: ([n - 1], lambda before: before + 1) for n in range(1, 600)}
        assert (await flow.auto(plan))[599] == 599
        with pytest.raises(ZeroDivisionError):
            await flow.map(lambda n: 1 // n, [1, 0, 1])
    finally:
        loop.set_task_factory(None)


def test_arguments_that_cannot_work_are_refused_at_once():
    with pytest.raises(ValueError, match="without a length needs a limit"):
        flow.map(abs, itertools.count())
    with pytest.raises(ValueError, match="limit must be at least 1, not 0"):
        flow.map(abs, [], limit=0)
    with pytest.raises(TypeError, match="limit must be an int or None, not '2'"):
        flow.map(abs, [], limit="2")
    with pytest.raises(TypeError, match="worker must be a function"):
        flow.map(3, [])
    with pytest.raises(TypeError, match="items must be an iterable"):
        flow.map(abs, 3)
    with pytest.raises(TypeError, match="needs a mapping"):
        flow.map_values(abs, [1])
    with pytest.raises(ValueError, match="must not be negative: -1"):
        flow.times(abs, -1)
    with pytest.raises(TypeError, match="worker must be a function"):
        flow.reduce(None, [])


async def test_reduce_without_initial(loop):
    assert await flow.reduce(max, [1, 5, 3]) == 5
    assert await flow.reduce(max, {"a": 1, "b": 2}) == 2
    with pytest.raises(TypeError, match="needs an initial value"):
        await flow.reduce(max, [])


async def test_map_values_gives_keys_and_values(loop):
    async def worker(key, value):
        return key * value

    assert await flow.map_values(worker, {"a": 2, "b": 3}, limit=1) == {"a": "aa", "b": "bbb"}
    assert [pair async for pair in flow.map_values(worker, {"a": 2})] == [("a", "aa")]


async def test_concat_takes_async_generators(loop):
    async def pages(count):
        for number in range(count):
            await asyncio.sleep(0)
            yield number

    assert await flow.concat(pages, [1, 3], limit=2) == [0, 0, 1, 2]


async def test_sort_by_is_stable_and_can_be_reversed(loop):
    words = ["bb", "a", "cc", "d"]
    assert await flow.sort_by(len, words) == ["a", "d", "bb", "cc"]
    assert await flow.sort_by(len, words, reverse=True) == ["bb", "cc", "a", "d"]


async def test_old_style_sequences_are_iterables(loop):
    class Old:
        def __getitem__(self, index):
            if index == 3:
                raise IndexError
            return index

    assert await flow.map(abs, Old(), limit=2) == [0, 1, 2]


async def test_a_run_is_a_coroutine_for_tasks(loop):
    async with asyncio.TaskGroup() as group:
        task = group.create_task(flow.map(abs, [-1]))
    assert task.result() == [1]
    task = loop.create_task(flow.map(asyncio.sleep, [60]))
    assert "flow.map" in repr(task)
    await turns(3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_run_is_used_once(loop):
    run = flow.map(abs, [-1])
    assert repr(run) == "<Run of map>"
    assert await run == [1]
    with pytest.raises(RuntimeError, match="used already"):
        await run
    with pytest.raises(RuntimeError, match="used already"):
        aiter(run)
    closed = flow.map(abs, [-1])
    closed.close()
    with pytest.raises(RuntimeError, match="used already"):
        await closed
    unused = flow.map(abs, [-1])
    await unused.aclose()
    begun = flow.map(asyncio.sleep, [60])
    begun.send(None)
    begun.close()
    await turns(3)
    left = asyncio.all_tasks() - {asyncio.current_task()}
    assert not left, "closing it by hand ends its tasks too"


def test_a_run_that_is_never_used_says_so():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        flow.map(abs, [])
        gc.collect()
    assert [str(warning.message) for warning in caught] == ["pyasync.flow.map was never awaited"]


async def test_partial_and_callable_objects_are_workers(loop):
    class Worker:
        async def __call__(self, number):
            return number + 1

    assert await flow.map(functools.partial(pow, 2), [3]) == [8]
    assert await flow.map(Worker(), [1]) == [2]
