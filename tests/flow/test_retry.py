"""Retry: attempts, delays, predicates, deadline and time-out."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyasync import flow


class Flaky:
    """Fails with the given errors, then returns; counts its calls."""

    def __init__(self, *errors, result="done"):
        self.errors = list(errors)
        self.result = result
        self.calls = 0

    async def __call__(self, *args):
        self.calls += 1
        await asyncio.sleep(0)
        if self.errors:
            raise self.errors.pop(0)
        return (self.result, *args) if args else self.result


async def test_it_tries_again_until_success(loop):
    flaky = Flaky(OSError(), ValueError())
    assert await flow.retry(flaky, 1, 2, base=0) == ("done", 1, 2)
    assert flaky.calls == 3


async def test_the_last_failure_is_raised_itself_with_a_note(loop):
    errors = [OSError(1), OSError(2), OSError(3)]
    flaky = Flaky(*errors)
    with pytest.raises(OSError) as caught:
        await flow.retry(flaky, attempts=2, base=0)
    assert caught.value is errors[1]
    assert caught.value.__notes__ == ["retry gave up after attempt 2"]
    assert flaky.calls == 2


async def test_only_what_is_asked_for_is_retried(loop):
    for on in (OSError, (KeyError, OSError), lambda error: isinstance(error, OSError)):
        flaky = Flaky(OSError(), ValueError("other"))
        with pytest.raises(ValueError, match="other"):
            await flow.retry(flaky, base=0, on=on)
        assert flaky.calls == 2


async def test_results_can_ask_for_another_attempt(loop):
    results = iter([None, None, 3])
    assert await flow.retry(lambda: next(results), base=0, on_result=lambda r: r is None) == 3
    with pytest.raises(flow.RetriesExhausted) as caught:
        await flow.retry(lambda: 7, attempts=2, base=0, on_result=lambda r: r == 7)
    assert (caught.value.attempts, caught.value.result) == (2, 7)


async def test_cancellation_is_never_retried(loop):
    flaky = Flaky(asyncio.CancelledError())
    with pytest.raises(asyncio.CancelledError):
        await flow.retry(flaky, base=0)
    assert flaky.calls == 1


async def test_each_attempt_has_its_time(loop):
    calls = []

    async def slow_once():
        calls.append(0)
        if len(calls) == 1:
            await asyncio.sleep(60)
        return "quick"

    assert await flow.retry(slow_once, base=0, timeout=0.005) == "quick"
    with pytest.raises(TimeoutError):
        await flow.retry(asyncio.sleep, 60, attempts=2, base=0, timeout=0.001)


async def test_the_deadline_bounds_the_whole(loop):
    start = loop.time()
    with pytest.raises(TimeoutError):
        await flow.retry(asyncio.sleep, 60, attempts=None, base=0, deadline=0.01)
    flaky = Flaky(*[OSError()] * 100)
    with pytest.raises(OSError):  # the next wait would pass the deadline: give up at once
        await flow.retry(flaky, base=60, jitter=None, max_delay=60, deadline=1)
    assert flaky.calls == 1
    assert loop.time() - start < 1


async def test_as_a_decorator(loop):
    numbers = iter([0, 5])

    @flow.retry(base=0)
    async def divide(number):
        """Divide."""
        return number // next(numbers)

    assert await divide(10) == 2
    assert (divide.__name__, divide.__doc__) == ("divide", "Divide.")


async def test_as_a_context(loop):
    seen = []
    async for attempt in flow.retry(attempts=3, base=0, on_result=lambda r: r == "no"):
        async with attempt:
            seen.append(attempt.number)
            attempt.result = "no"
            if attempt.number == 2:
                raise OSError
            if attempt.number == 3:
                attempt.result = "yes"
    assert seen == [1, 2, 3]
    with pytest.raises(OSError):
        async for attempt in flow.retry(attempts=2, base=0):
            async with attempt:
                raise OSError
    with pytest.raises(RuntimeError, match="async with attempt"):
        async for _ in flow.retry():
            pass


@given(
    base=st.floats(0, 10),
    factor=st.floats(1, 5),
    most=st.floats(0, 20),
    jitter=st.sampled_from(["full", "equal", "decorrelated", None]),
)
def test_delays_stay_within_their_bounds(base, factor, most, jitter):
    cap = previous = min(base, most)
    for delay in itertools.islice(flow.backoff(base, factor, most, jitter), 2000):
        if jitter == "decorrelated":
            assert min(base, most) <= delay <= min(most, max(base, 3 * previous))
            previous = delay
        else:
            least = {"full": 0, "equal": cap / 2, None: cap}[jitter]
            assert least <= delay <= cap
            cap = min(most, cap * factor)


def test_options_that_cannot_work_are_refused_at_once():
    for options, message in [
        ({"attempts": 0}, "attempts must be at least 1"),
        ({"attempts": None}, "needs a deadline"),
        ({"base": -1}, "base must be at least 0"),
        ({"factor": 0.5}, "factor must be at least 1"),
        ({"jitter": "some"}, "jitter='some'"),
        ({"deadline": 0}, "deadline must be above 0"),
        ({"timeout": -1}, "timeout must be above 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            flow.retry(**options)
    with pytest.raises(TypeError, match="attempts must be an int"):
        flow.retry(attempts="3")
