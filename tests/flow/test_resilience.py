"""Time-outs, hedging, breakers, rate limits and bulkheads."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pyasync import flow
from pyasync.flow.rate import _SlidingWindow, _TokenBucket
from tests.flow.clock import Clock
from tests.support import turns


class Boom(Exception):
    pass


async def boom():
    await asyncio.sleep(0)
    raise Boom


async def fine():
    await asyncio.sleep(0)
    return "fine"


async def test_timeout_limits_blocks_calls_and_functions(loop):
    with pytest.raises(TimeoutError):
        async with flow.timeout(0.001) as scope:
            await asyncio.sleep(60)
    assert scope.expired()
    with pytest.raises(TimeoutError):
        await flow.timeout(0.001).call(asyncio.sleep, 60)
    limit = flow.timeout(60)
    assert await flow.map(limit.call, [fine, fine]) == [
        "fine",
        "fine",
    ]
    async with limit:
        await fine()
    with pytest.raises(RuntimeError, match="entered already"):
        async with limit:
            pass
    assert await flow.timeout(None).call(fine) == "fine"


async def test_hedge_begins_a_second_attempt_after_the_delay(loop):
    begun, ended = [], []

    async def worker(name):
        begun.append(loop.time())
        number = len(begun)
        try:
            await asyncio.sleep(60 if number == 1 else 0)
            return name, number
        finally:
            await turns(3)
            ended.append(number)

    assert await flow.hedge(worker, "x", delay=0.01) == ("x", 2)
    assert begun[1] - begun[0] >= 0.009
    assert sorted(ended) == [1, 2], "the loser has been cancelled and waited for"


async def test_hedge_needs_one_attempt_when_it_is_quick(loop):
    begun = []

    async def worker():
        begun.append(True)
        return 1

    assert await flow.hedge(worker, delay=0.05, attempts=5) == 1
    assert begun == [True]


async def test_hedge_goes_on_at_once_after_a_failure_and_raises_all(loop):
    start = loop.time()
    with pytest.raises(ExceptionGroup) as caught:
        await flow.hedge(boom, delay=60, attempts=3)
    assert [type(error) for error in caught.value.exceptions] == [Boom] * 3
    with pytest.raises(Boom):
        await flow.hedge(boom, attempts=1)
    assert loop.time() - start < 5
    with pytest.raises(ValueError):
        await flow.hedge(boom, attempts=0)


def test_hedge_lets_interrupts_through(new_loop):
    loop = new_loop()

    def interrupt():
        raise KeyboardInterrupt

    async def main():
        try:
            await flow.hedge(interrupt, attempts=1)
        except BaseException as error:
            return type(error)

    task = loop.create_task(main())
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(task)
    assert loop.run_until_complete(task) is KeyboardInterrupt
    loop.close()


async def fails(breaker, times):
    for _ in range(times):
        with pytest.raises(Boom):
            await breaker.call(boom)


async def test_a_breaker_opens_after_consecutive_failures_and_recovers(loop):
    changes = []
    clock = Clock(loop)
    breaker = flow.CircuitBreaker(
        failures=2, reset_after=20, on_change=lambda old, new: changes.append((old, new))
    )
    await fails(breaker, 1)
    assert await breaker.call(fine) == "fine"
    await fails(breaker, 1)
    assert breaker.state == "closed", "a success in between starts the count again"
    await fails(breaker, 1)
    assert breaker.state == "open"
    with pytest.raises(flow.CircuitOpen) as caught:
        await breaker.call(fine)
    assert caught.value.retry_in == 20
    await clock.advance(21)
    await fails(breaker, 1)
    assert breaker.state == "open", "one failure of a probe opens it again"
    await clock.advance(21)
    assert await breaker.call(fine) == "fine"
    assert breaker.state == "closed"
    assert changes == [
        ("closed", "open"),
        ("open", "half-open"),
        ("half-open", "open"),
        ("open", "half-open"),
        ("half-open", "closed"),
    ]


async def test_a_breaker_can_look_at_the_failure_rate(loop):
    breaker = flow.CircuitBreaker(failure_rate=0.5, minimum=4)
    for worker in (boom, fine, fine):
        await asyncio.gather(breaker.call(worker), return_exceptions=True)
    assert breaker.state == "closed"
    await fails(breaker, 1)
    assert breaker.state == "open"


async def test_a_breaker_forgets_what_left_its_window(loop):
    clock = Clock(loop)
    breaker = flow.CircuitBreaker(failures=2, window=10)
    await fails(breaker, 1)
    await clock.advance(15)
    await fails(breaker, 1)
    assert breaker.state == "closed"
    by_rate = flow.CircuitBreaker(failure_rate=1, minimum=2, window=10)
    await fails(by_rate, 1)
    await clock.advance(15)
    await fails(by_rate, 1)
    assert by_rate.state == "closed"


async def test_half_open_lets_only_probes_through(loop):
    breaker = flow.CircuitBreaker(failures=1, reset_after=0, probes=2)
    await fails(breaker, 1)
    release = asyncio.Event()
    probes = [loop.create_task(breaker.call(release.wait)) for _ in range(2)]
    await turns(2)
    assert breaker.state == "half-open"
    with pytest.raises(flow.CircuitOpen):
        await breaker.call(fine)
    probes[0].cancel()
    await turns(2)
    assert breaker.state == "half-open", "a cancelled probe tells nothing"
    third = loop.create_task(breaker.call(release.wait))
    await turns(2)
    release.set()
    await asyncio.gather(probes[1], third)
    assert breaker.state == "closed"


async def test_a_breaker_counts_only_its_own_kind_of_failure(loop):
    for on in (OSError, lambda error: isinstance(error, OSError)):
        breaker = flow.CircuitBreaker(failures=1, on=on)
        await fails(breaker, 3)
        assert breaker.state == "closed"


async def test_a_call_from_before_the_breaker_opened_does_not_count(loop):
    breaker = flow.CircuitBreaker(failures=1, reset_after=0)
    release = asyncio.Event()

    async def late():
        await release.wait()
        raise Boom

    old = loop.create_task(breaker.call(late))
    await turns(2)
    await fails(breaker, 1)
    await breaker.call(fine)
    assert breaker.state == "closed"
    release.set()
    with pytest.raises(Boom):
        await old
    assert breaker.state == "closed"


async def test_a_breaker_is_a_block_too_and_may_be_nested(loop):
    breaker = flow.CircuitBreaker(failures=1)
    with pytest.raises(Boom):
        async with breaker, breaker:
            raise Boom
    assert breaker.state == "open"
    with pytest.raises(flow.CircuitOpen):
        async with breaker:
            pass


async def test_a_breaker_may_be_left_by_another_task(loop):
    breaker = flow.CircuitBreaker(failures=1)

    async def guarded():
        async with breaker:
            yield 1

    generator = guarded()
    await anext(generator)
    await loop.create_task(generator.aclose())
    assert breaker.state == "closed" and not breaker._entered


def test_breaker_options_that_cannot_work():
    for options in (
        {"failures": 0},
        {"failure_rate": 0},
        {"failure_rate": 1.5},
        {"minimum": 0},
        {"probes": 0},
        {"window": 0},
        {"reset_after": -1},
    ):
        with pytest.raises(ValueError):
            flow.CircuitBreaker(**options)


@given(
    rate=st.integers(1, 4),
    burst=st.integers(1, 4),
    sliding=st.booleans(),
    asks=st.lists(st.tuples(st.floats(0, 3), st.integers(1, 2)), max_size=30),
)
def test_the_meters_never_grant_more_than_they_may(rate, burst, sliding, asks):
    per, now, granted = 2.0, 0.0, []
    meter = _SlidingWindow(rate, per) if sliding else _TokenBucket(rate / per, burst)
    most = rate if sliding else burst
    for pause, count in asks:
        if count > most:
            continue
        now += pause
        while (delay := meter.wait(count, now)) > 0:
            now += max(delay, 1e-9)
        meter.take(count, now)
        granted += [now] * count
        for first, begin in enumerate(granted):
            within = len(granted) - first
            if not sliding:
                assert within <= burst + (now - begin) * rate / per + 1e-6
            elif now - begin < per - 1e-9:
                assert within <= rate
    assert meter.wait(most, now + 10 * per) == 0, "it fills up again"


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)  # the loop is shared by the examples on purpose
@given(
    rate=st.integers(1, 4),
    sliding=st.booleans(),
    pauses=st.lists(st.sampled_from([0, 0, 0, 0.002]), max_size=8),
)
def test_a_rate_limiter_keeps_its_limit_and_its_line(loop, rate, sliding, pauses):
    per = 0.004
    order = []

    async def user(limiter, number):
        async with limiter:
            order.append(number)

    async def main():
        limiter = flow.RateLimiter(
            rate, per, algorithm="sliding_window" if sliding else "token_bucket"
        )
        start = loop.time()
        async with asyncio.TaskGroup() as group:
            for number, pause in enumerate(pauses):
                group.create_task(user(limiter, number))
                await asyncio.sleep(pause)
        assert limiter.waiting == 0
        return loop.time() - start

    took = loop.run_until_complete(main())
    assert order == list(range(len(pauses))), "first come, first served"
    waits = max(0, len(pauses) - 1) // rate if sliding else max(0, len(pauses) - rate) / rate
    assert took >= waits * per * 0.99


async def test_try_acquire_never_waits_and_respects_the_line(loop):
    limiter = flow.RateLimiter(2, per=60)
    assert limiter.try_acquire(2)
    assert not limiter.try_acquire()
    waiting = loop.create_task(limiter.acquire())
    await turns(2)
    assert limiter.waiting == 1
    waiting.cancel()
    await turns(2)
    assert limiter.waiting == 0
    limiter = flow.RateLimiter(2, per=60)
    assert limiter.try_acquire()
    waiting = loop.create_task(limiter.acquire(2))
    await turns(2)
    assert not limiter.try_acquire(), "one permit is there, but somebody stands in line for two"
    waiting.cancel()
    await turns(2)
    assert limiter.try_acquire()
    window = flow.RateLimiter(2, per=60, algorithm="sliding_window")
    assert window.try_acquire() and window.try_acquire() and not window.try_acquire()


async def test_several_permits_at_once(loop):
    clock = Clock(loop)
    limiter = flow.RateLimiter(10, per=10, burst=2)
    await limiter.acquire(2)
    waiting = loop.create_task(limiter.acquire(2))
    await turns(3)
    await clock.advance(1.5)
    assert not waiting.done()
    await clock.advance(1)
    assert waiting.done()
    for algorithm in ("token_bucket", "sliding_window"):
        limiter = flow.RateLimiter(2, algorithm=algorithm)
        with pytest.raises(ValueError, match="can never be granted"):
            await limiter.acquire(3)
        with pytest.raises(ValueError, match="count must be at least 1"):
            limiter.try_acquire(0)


def test_rate_limiter_options_that_cannot_work():
    for options in ({"rate": 0}, {"rate": 1, "per": 0}, {"rate": 1, "burst": 0}):
        with pytest.raises(ValueError):
            flow.RateLimiter(**options)
    with pytest.raises(ValueError, match="algorithm='leaky'"):
        flow.RateLimiter(1, algorithm="leaky")
    with pytest.raises(ValueError, match="burst is for the token bucket"):
        flow.RateLimiter(1, algorithm="sliding_window", burst=2)


async def test_a_bulkhead_bounds_what_runs_and_what_waits(loop):
    bulkhead = flow.Bulkhead(2, queue=1)
    release = asyncio.Event()
    tasks = [loop.create_task(bulkhead.call(release.wait)) for _ in range(3)]
    await turns(2)
    assert (bulkhead.running, bulkhead.waiting) == (2, 1)
    with pytest.raises(flow.BulkheadFull, match="all 2 places are taken and 1 may wait"):
        await bulkhead.call(fine)
    release.set()
    await asyncio.gather(*tasks)
    assert (bulkhead.running, bulkhead.waiting) == (0, 0)
    with pytest.raises(ValueError):
        flow.Bulkhead(0)
    with pytest.raises(ValueError):
        flow.Bulkhead(1, queue=-1)


async def test_policies_stack_as_decorators(loop):
    breaker = flow.CircuitBreaker(failures=10)
    attempts = []

    @flow.retry(attempts=3, base=0)
    @breaker
    @flow.timeout(0.001)
    async def fetch():
        attempts.append(True)
        await asyncio.sleep(60 if len(attempts) < 3 else 0)
        return "page"

    assert await fetch() == "page"
    assert len(attempts) == 3
