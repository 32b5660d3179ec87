"""Failure, cancellation and time-out at every await point of every function leave nothing.

SCENARIOS has one scenario or more for every public name that runs anything; a test checks that
none is missing. What striking means is in striking.py.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from pyasync import flow
from tests.flow.striking import strike_everywhere

SCENARIOS = {}


def scenario(*names, tolerant=False, completes=False):
    """Register a scenario for the public names that it exercises."""

    def register(function):
        SCENARIOS[function.__name__] = (names, function, tolerant, completes)
        return function

    return register


async def numbers(point, count=4):
    """An async input with await points, also when it is closed."""
    try:
        for number in range(count):
            yield await point(number)
    finally:
        await asyncio.sleep(0)


def over_collections(name, call, wants, tolerant):
    """Scenarios of a collection function: awaited and iterated, sync and async input, limits."""

    for limit in (1, 2, None):

        async def whole(point, watch, limit=limit):
            assert await call(point, range(4), limit) == wants

        whole.__name__ = f"{name}_limit_{limit}"
        scenario(name, tolerant=tolerant)(whole)

    async def async_input(point, watch):
        assert await call(point, numbers(point), 2) == wants

    async_input.__name__ = f"{name}_async_input"
    scenario(name, tolerant=tolerant)(async_input)

    for as_completed in (False, True):

        async def pieces(point, watch, as_completed=as_completed):
            async with call(point, numbers(point), 2, as_completed=as_completed) as found:
                async for _ in found:
                    await point()

        pieces.__name__ = f"{name}_pieces_{'as_completed' if as_completed else 'in_order'}"
        scenario(name, "Run", tolerant=tolerant)(pieces)


def odd(point):
    async def worker(number):
        return await point(number) % 2

    return worker


def collection(function, wants, make_worker=odd, tolerant=False):
    def call(point, items, limit, **options):
        return function(make_worker(point), items, limit=limit, **options)

    over_collections(function.__name__, call, wants, tolerant)


collection(flow.each, None)
collection(flow.map, [0, 1, 0, 1])
collection(flow.filter, [1, 3])
collection(flow.reject, [0, 2])
collection(flow.partition, ([1, 3], [0, 2]))
# Once these know the answer, the failure of a later item does not count.
collection(flow.detect, 1, tolerant=True)
collection(flow.some, True, tolerant=True)
collection(flow.every, False, tolerant=True)
collection(flow.group_by, {0: [0, 2], 1: [1, 3]})


def lists(point):
    async def worker(number):
        await point()
        return [number, number]

    return worker


collection(flow.concat, [0, 0, 1, 1, 2, 2, 3, 3], lists)


@scenario("concat")
async def concat_generators(point, watch):
    assert await flow.concat(lambda n: numbers(point, n), [1, 2], limit=2) == [0, 0, 1]


@scenario("detect")
async def detect_nothing(point, watch):
    async def never(_):
        await point()

    assert await flow.detect(never, range(3)) is None


@scenario("map_values")
async def map_values(point, watch):
    async def worker(key, value):
        return await point(key + value)

    assert await flow.map_values(worker, {1: 1, 2: 2}, limit=1) == {1: 2, 2: 4}


@scenario("reduce")
async def reduce(point, watch):
    async def add(total, number):
        return await point(total + number)

    assert await flow.reduce(add, numbers(point), 0) == 6


@scenario("reduce")
async def reduce_pieces(point, watch):
    async def add(total, number):
        return await point(total + number)

    async with flow.reduce(add, numbers(point)) as values:
        assert [value async for value in values] == [0, 1, 3, 6]


@scenario("transform")
async def transform(point, watch):
    async def put(into, number):
        into.append(await point(number))

    assert sorted(await flow.transform(put, range(3), [], limit=2)) == [0, 1, 2]


@scenario("sort_by")
async def sort_by(point, watch):
    async def key(number):
        return await point(-number)

    assert await flow.sort_by(key, numbers(point), limit=2) == [3, 2, 1, 0]


@scenario("times")
async def times(point, watch):
    assert await flow.times(point, 3, limit=2) == [0, 1, 2]


@scenario("map")
async def nested_maps(point, watch):
    async def row(number):
        return await flow.map(point, range(number), limit=2)

    assert await flow.map(row, [1, 3], limit=2) == [[0], [0, 1, 2]]


@scenario("map")
async def workers_that_clean_up(point, watch):
    async def worker(number):
        try:
            return await point(number)
        finally:
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    assert await flow.map(worker, numbers(point), limit=2) == [0, 1, 2, 3]


@scenario("map", tolerant=True)  # an item behind the last wanted one may fail
async def left_early(point, watch):
    async with flow.map(point, numbers(point, 9), limit=3) as found:
        async for number in found:
            if number == 2:
                break


def tasks(point, *values):
    return [partial(point, value) for value in values]


@scenario("parallel")
async def parallel(point, watch):
    assert await flow.parallel(tasks(point, 1, 2, 3), limit=2) == [1, 2, 3]


@scenario("parallel")
async def parallel_mapping(point, watch):
    assert await flow.parallel({"a": partial(point, 1)}) == {"a": 1}


@scenario("series")
async def series(point, watch):
    assert await flow.series(tasks(point, 1, 2)) == [1, 2]


@scenario("waterfall")
async def waterfall(point, watch):
    assert await flow.waterfall([point, point], 7) == 7


@scenario("auto")
async def auto(point, watch):
    plan = {
        "both": (["left", "right"], lambda left, right: point(left + right)),
        "left": partial(point, 1),
        "right": (["left"], point),
        "alone": partial(point, 5),
    }
    for limit in (1, None):
        wanted = {"both": 2, "left": 1, "right": 1, "alone": 5}
        assert await flow.auto(plan, limit=limit) == wanted


@scenario("race", tolerant=True)
async def race(point, watch):
    async def slow():
        await point()
        await point()

    await flow.race([slow, partial(point, 1), slow])


@scenario("any", tolerant=True)
async def any_(point, watch):
    async def fails():
        await point()
        raise OSError

    await flow.any([fails, partial(point, 1), fails], limit=2)


@scenario("all_settled", tolerant=True)
async def all_settled(point, watch):
    await flow.all_settled(tasks(point, 1, 2, 3), limit=2)


@scenario("try_each", tolerant=True)
async def try_each(point, watch):
    async def fails():
        await point()
        raise OSError

    await flow.try_each([fails, partial(point, 1)])


@scenario("whilst", "until")
async def loops(point, watch):
    left = [1, 2]

    async def pop():
        await point()
        left.pop()

    async def any_left():
        return await point(bool(left))

    await flow.whilst(any_left, pop)
    await flow.until(lambda: len(left) == 2, lambda: left.append(0))


class Enough(Exception):
    pass


@scenario("forever")
async def forever(point, watch):
    left = [1, 2]

    async def pop():
        await point()
        if not left:
            raise Enough
        left.pop()

    with pytest.raises(Enough):
        await flow.forever(pop)


@scenario("compose", "seq")
async def chains(point, watch):
    assert await flow.compose(point, point)(1) == 1
    assert await flow.seq(point, point)(1) == 1


@scenario("apply_each")
async def apply_each(point, watch):
    assert await flow.apply_each([point, point], 3, limit=1) == [3, 3]


def queue_scenario(make, name):
    async def body(point, watch):
        queue = make(point)
        watch(queue)
        async with queue:
            futures = [await queue.push(number) for number in range(4)]
            await point()
            await queue.unsaturated()
            queue.pause()
            await point()
            queue.resume()
            await queue.drain()
        await asyncio.gather(*futures)

    body.__name__ = name.lower()
    scenario(name)(body)


queue_scenario(lambda point: flow.WorkQueue(point, 2, maxsize=1), "WorkQueue")
queue_scenario(lambda point: flow.PriorityWorkQueue(point, 2, maxsize=1), "PriorityWorkQueue")
queue_scenario(lambda point: flow.Cargo(point, 2, maxsize=3), "Cargo")


@scenario("WorkQueue", tolerant=True)
async def queue_shut_down_at_once(point, watch):
    queue = flow.WorkQueue(point, 2)
    watch(queue)
    futures = [queue.push_nowait(number) for number in range(4)]
    try:
        await point()
    finally:
        await queue.shutdown(immediate=True)
        assert all(future.done() for future in futures)
        await asyncio.gather(*futures, return_exceptions=True)


@scenario("retry", "Retry", "Attempt", tolerant=True)
async def retry(point, watch):
    left = [1, 2]

    async def flaky():
        await point()
        if left:
            left.pop()
            raise OSError
        return await point("done")

    assert await flow.retry(flaky, base=0, timeout=10, deadline=10) == "done"


@scenario("timeout")
async def timeout(point, watch):
    async with flow.timeout(10):
        await point()
    assert await flow.timeout(10).call(point, 1) == 1


@scenario("hedge", tolerant=True)
async def hedge(point, watch):
    calls = []

    async def worker():
        calls.append(0)
        for _ in range(6 if len(calls) == 1 else 1):
            await point()

    await flow.hedge(worker, delay=0)


@scenario("CircuitBreaker")
async def breaker(point, watch):
    breaker = flow.CircuitBreaker(failures=1, reset_after=0)
    watch(breaker)
    assert await breaker.call(point, 1) == 1
    with pytest.raises(Enough):
        async with breaker:
            await point()
            raise Enough
    assert await breaker.call(point, 2) == 2
    assert breaker.state == "closed"


@scenario("RateLimiter")
async def rate_limiter(point, watch):
    for algorithm in ("token_bucket", "sliding_window"):
        limiter = flow.RateLimiter(2, per=0.001, algorithm=algorithm)
        watch(limiter)
        await flow.map(limiter(point), range(5))


@scenario("Bulkhead")
async def bulkhead(point, watch):
    bulkhead = flow.Bulkhead(2)
    watch(bulkhead)
    await flow.map(bulkhead(point), range(5))


@scenario("SingleFlight")
async def single_flight(point, watch):
    flights = flow.SingleFlight()
    watch(flights)

    async def ask(_):
        return await flights.call("key", point, 1)

    assert await flow.map(ask, range(3)) == [1, 1, 1]


@scenario("memoize", "Memoized")
async def memoize(point, watch):
    cached = flow.memoize(point)
    watch(cached._flights)
    assert await flow.map(cached, [1, 1, 2]) == [1, 1, 2]
    assert await cached(2) == 2


@scenario("debounce", "Collapsed")
async def debounce(point, watch):
    debounced = flow.debounce(0)(point)
    watch(debounced)
    assert await flow.map(debounced, [1, 2]) == [2, 2]


@scenario("throttle", "Collapsed")
async def throttle(point, watch):
    throttled = flow.throttle(0.0001)(point)
    watch(throttled)
    assert await throttled(1) == 1
    assert await flow.map(throttled, [1, 2]) == [2, 2]


@scenario("Latest")
async def latest(point, watch):
    latest = flow.Latest()
    watch(latest)

    async def superseded(number):
        try:
            return await latest.call(point, number)
        except flow.Superseded:
            return None

    assert await flow.map(superseded, [1, 2, 3]) == [None, None, 3]


@scenario("AbortController", "AbortSignal")
async def abort(point, watch):
    controller = flow.AbortController()
    watch(controller.signal)

    async def guarded():
        async with controller.signal:
            for _ in range(9):
                await point()

    async def abort():
        await point()
        controller.abort(Enough())

    with pytest.raises(Enough):
        await flow.parallel([guarded, abort])
    assert isinstance(await controller.signal.wait(), Enough)


@scenario("AbortSignal")
async def abort_unused(point, watch):
    controller = flow.AbortController()
    watch(controller.signal)
    async with controller.signal, controller.signal:
        await point()


@scenario("Saga")
async def saga(point, watch):
    done = []
    saga = flow.Saga()
    watch(saga)

    async def do(number):
        await point()
        done.append(number)
        return number

    async def undo(number):
        await asyncio.sleep(0)
        done.remove(number)

    try:
        async with saga:
            for number in range(2):
                await saga.step(partial(do, number), undo)
            await point()
    except BaseException:
        assert done == [], "every completed step is undone"
        raise
    assert done == [0, 1]


@scenario("Gate")
async def gate(point, watch):
    gate = flow.Gate(paused=True)
    watch(gate)

    async def opens():
        await point()
        gate.resume()

    async def work():
        await point()
        await point()

    await flow.parallel([gate.wait, lambda: gate.wrap(work()), opens])


@scenario("Latch")
async def latch(point, watch):
    latch = flow.Latch(2)
    watch(latch)

    async def arrive():
        await point()
        await latch.arrive_and_wait()

    await flow.parallel([arrive, arrive, latch.wait])


@scenario("ReadWriteLock")
async def read_write_lock(point, watch):
    lock = flow.ReadWriteLock()
    watch(lock)

    async def use(writer):
        async with lock.write() if writer else lock.read():
            assert not (lock.writing and lock.readers)
            await point()

    await flow.map(use, [False, True, False, False, True])


@scenario("Channel")
async def channel(point, watch):
    channel = flow.Channel(1)
    watch(channel)

    async def produce():
        for number in range(3):
            await point()
            await channel.put(number)

    async def close():
        await flow.parallel([produce, produce])
        channel.close()

    async def consume():
        return [await point(number) async for number in channel]

    _, first, second = await flow.parallel([close, consume, consume])
    assert sorted(first + second) == [0, 0, 1, 1, 2, 2]


@scenario("select")
async def select(point, watch):
    left, right = flow.Channel(), flow.Channel()
    watch(left)
    watch(right)

    async def produce(channel, number):
        await point()
        await channel.put(number)
        channel.close()

    async def consume():
        return sorted([(await flow.select(left, right))[1] for _ in range(2)])

    consumed, *_ = await flow.parallel(
        [consume, partial(produce, left, 1), partial(produce, right, 2)]
    )
    assert consumed == [1, 2]


def stream_scenario(name, make, wants):
    async def body(point, watch):
        found = []
        stream = make(point)
        try:
            async for item in stream:
                found.append(item)
                await point()
        finally:
            await stream.aclose()
        assert sorted(found) == wants

    body.__name__ = f"stream_{name}_{len(SCENARIOS)}"
    scenario(name)(body)


stream_scenario("buffered", lambda point: flow.buffered(numbers(point, 3), 2), [0, 1, 2])
stream_scenario(
    "merge", lambda point: flow.merge(numbers(point, 2), [5], numbers(point, 1)), [0, 0, 1, 5]
)
stream_scenario("batched", lambda point: flow.batched(numbers(point, 3), 2), [(0, 1), (2,)])
stream_scenario(
    "batched", lambda point: flow.batched(numbers(point, 3), 2, within=10), [(0, 1), (2,)]
)
stream_scenario(
    "zip", lambda point: flow.zip(numbers(point, 2), numbers(point, 3)), [(0, 0), (1, 1)]
)


@scenario("from_callback", "Emitter")
async def from_callback(point, watch):
    open_ = []

    async def register(emit):
        await point()
        loop = asyncio.get_running_loop()
        for number in range(2):
            loop.call_soon(emit, number)
        loop.call_soon(emit.close)
        open_.append(emit)
        return open_.clear

    stream = flow.from_callback(register)
    try:
        async for number in stream:
            await point(number)
    finally:
        await stream.aclose()
        assert not open_


@scenario("to_thread_iter")
async def to_thread_iter(point, watch):
    stream = flow.to_thread_iter(range(2), executor=THREADS)
    try:
        async for number in stream:
            await point(number)
    finally:
        await stream.aclose()


@scenario("chunked_lines")
async def chunked_lines(point, watch):
    stream = flow.chunked_lines(__file__, chunk=100000, executor=THREADS)
    lines = 0
    try:
        async for _ in stream:
            lines += 1
            if lines < 3:
                await point()
    finally:
        await stream.aclose()


@scenario("map")
async def map_in_threads(point, watch):
    assert await flow.map(abs, [-1, -2, -3], limit=2, executor=THREADS) == [1, 2, 3]
    await point()


THREADS = None  # one pool for all scenarios, see `threads`: to open one costs more than a strike

# What runs nothing by itself: exceptions, data, types; backoff only computes.
PASSIVE = {
    "Aborted",
    "BulkheadFull",
    "CacheInfo",
    "ChannelClosed",
    "CircuitOpen",
    "Fulfilled",
    "Pool",
    "QueueClosed",
    "Rejected",
    "RetriesExhausted",
    "Superseded",
    "backoff",
}


@pytest.fixture(scope="module", autouse=True)
def threads():
    global THREADS
    with ThreadPoolExecutor(2) as THREADS:
        yield


def test_every_name_has_a_scenario():
    struck = {name for names, *_ in SCENARIOS.values() for name in names}
    assert struck | PASSIVE == set(flow.__all__)
    assert not struck & PASSIVE


@pytest.mark.parametrize("name", SCENARIOS)
def test_strikes_leave_nothing(loop, name):
    _, function, tolerant, completes = SCENARIOS[name]
    strike_everywhere(loop, function, tolerant, completes)
