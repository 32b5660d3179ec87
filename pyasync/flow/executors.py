"""Heavy work: calling a worker in a thread, a process, an interpreter or any executor.

Every function of the toolkit that takes a worker takes `executor=` and means the same by it:
None calls the worker on the loop (plain or async function); "threads", "processes" and
"interpreters" (Python 3.14 and newer) open a pool for the call, or for the life of the object,
and close it afterwards; any `concurrent.futures.Executor` is used and left open.

Invariant: a call that has begun in an executor is waited for, also when its caller is
cancelled, because it cannot be stopped; one that has not begun is withdrawn. So nothing runs
on after the call that asked for it, and cancellation and errors look as they do on the loop.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import contextvars
import inspect
import os
import types
from collections.abc import AsyncIterator, Awaitable, Callable
from multiprocessing import get_all_start_methods, get_context
from typing import Any, Literal, TypeVar

R = TypeVar("R")

Pool = Literal["threads", "processes", "interpreters"] | concurrent.futures.Executor
"""What `executor=` takes, besides None."""


def _open(name: str, size: int | None) -> concurrent.futures.Executor:
    if name == "threads":
        return concurrent.futures.ThreadPoolExecutor(size, thread_name_prefix="pyasync-flow")
    if name == "processes":
        # Not fork: this process has a running loop, and often threads.
        method = "forkserver" if "forkserver" in get_all_start_methods() else "spawn"
        cores = os.cpu_count() or 1
        return concurrent.futures.ProcessPoolExecutor(
            min(size or cores, cores), mp_context=get_context(method)
        )
    if name == "interpreters":
        factory = getattr(concurrent.futures, "InterpreterPoolExecutor", None)
        if factory is None:
            raise ValueError("executor='interpreters' needs Python 3.14 or newer")
        pool: concurrent.futures.Executor = factory(size)
        return pool
    raise ValueError(
        f"executor={name!r}: pass 'threads', 'processes', 'interpreters' or an Executor"
    )


def check_executor(executor: Pool | None, worker: Callable[..., object] | None = None) -> None:
    """Refuse an executor that cannot run, or cannot run `worker`, before anything starts.

    Raises ValueError for an unknown name, TypeError for a wrong type or an async worker.
    """
    if executor is None:
        return
    if isinstance(executor, str):
        if executor not in ("threads", "processes", "interpreters"):
            _open(executor, None)
        elif executor == "interpreters" and not hasattr(
            concurrent.futures, "InterpreterPoolExecutor"
        ):
            _open(executor, None)
    elif not isinstance(executor, concurrent.futures.Executor):
        raise TypeError(
            f"executor={executor!r}: pass 'threads', 'processes', 'interpreters' or an Executor"
        )
    if worker is not None and inspect.iscoroutinefunction(worker):
        raise TypeError(f"an executor runs plain functions, and {worker!r} is async")


def _keeps_context(executor: concurrent.futures.Executor) -> bool:
    """Whether calls see the caller's context variables: threads of this interpreter do."""
    interpreters = getattr(concurrent.futures, "InterpreterPoolExecutor", ())
    return isinstance(executor, concurrent.futures.ThreadPoolExecutor) and not isinstance(
        executor, interpreters
    )


async def submit(
    executor: concurrent.futures.Executor, function: Callable[..., R], *args: Any, **kwargs: Any
) -> R:
    """Call `function(*args, **kwargs)` in `executor` and return its result.

    In threads the function sees a copy of the caller's context variables. On cancellation a
    call that has not begun is withdrawn, and one that has begun is waited for.

    Raises what the function raises; CancelledError when the caller is cancelled or the
    executor drops the call; RuntimeError when the executor has been shut down.
    """
    if _keeps_context(executor):
        run = contextvars.copy_context().run
        future = executor.submit(run, function, *args, **kwargs)
    else:
        future = executor.submit(function, *args, **kwargs)
    cancelled = await _until_done(future, withdraw=True)
    if cancelled is not None:
        raise cancelled
    try:
        return future.result()
    except concurrent.futures.CancelledError:
        raise asyncio.CancelledError("the executor dropped the call") from None
    finally:
        del future


async def _until_done(
    future: concurrent.futures.Future[Any], *, withdraw: bool
) -> asyncio.CancelledError | None:
    """Wait for a thread-safe future; return the cancellation that came meanwhile, if any.

    With `withdraw` a cancellation also cancels the future, if it has not begun.
    """
    loop = asyncio.get_running_loop()
    waiter: asyncio.Future[None] = loop.create_future()

    def done(_: object) -> None:
        # A loop that has been closed has nobody left to wake.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(waiter.set_result, None)

    future.add_done_callback(done)
    cancelled = None
    while not waiter.done():
        try:
            await asyncio.shield(waiter)
        except asyncio.CancelledError as error:
            cancelled = cancelled or error
            if withdraw:
                future.cancel()
    return cancelled


@contextlib.asynccontextmanager
async def opened(
    executor: Pool | None, size: int | None = None
) -> AsyncIterator[concurrent.futures.Executor | None]:
    """The executor to use inside the block; one that was named is opened for the block.

    `size` is the most workers that a named pool gets; None leaves it to the pool.
    """
    if not isinstance(executor, str):
        yield executor
        return
    pool = _open(executor, size)
    try:
        yield pool
    finally:
        await close_pool(pool)


async def submit_to_the_end(
    executor: concurrent.futures.Executor, function: Callable[..., object], *args: Any
) -> None:
    """Like `submit`, and never withdrawn: for cleaning up.

    Raises what the function raises; CancelledError, after the call, when the caller is
    cancelled meanwhile.
    """
    future = executor.submit(function, *args)
    cancelled = await _until_done(future, withdraw=False)
    if cancelled is not None:
        raise cancelled
    future.result()


async def close_pool(pool: concurrent.futures.Executor) -> None:
    """Shut a pool down without blocking the loop, and wait until its workers are gone.

    Raises CancelledError, after the pool is down, when the caller is cancelled meanwhile.
    """
    helper = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="pyasync-flow-close")
    try:
        await submit_to_the_end(helper, pool.shutdown, True)
    finally:
        helper.shutdown(wait=True)


def is_awaitable(value: object) -> bool:
    """Whether `value` can be awaited; quick for coroutines."""
    return type(value) is types.CoroutineType or inspect.isawaitable(value)


def pool_of(executor: Pool, size: int | None) -> concurrent.futures.Executor:
    """The executor itself, or a new pool of that name with at most `size` workers."""
    return _open(executor, size) if isinstance(executor, str) else executor


async def call(
    executor: concurrent.futures.Executor | None,
    worker: Callable[..., Awaitable[R] | R],
    *args: Any,
    **kwargs: Any,
) -> R:
    """Call a plain or async worker, on the loop or in an executor, and return its result.

    Raises what the worker raises.
    """
    found: Any
    if executor is not None:
        found = await submit(executor, worker, *args, **kwargs)
    else:
        found = worker(*args, **kwargs)
    if is_awaitable(found):
        found = await found
    result: R = found
    return result


async def call_once(
    executor: Pool | None, worker: Callable[..., Awaitable[R] | R], *args: Any, **kwargs: Any
) -> R:
    """Like `call`; an executor that is only named is opened for this one call."""
    if executor is None:
        return await call(None, worker, *args, **kwargs)
    async with opened(executor, 1) as pool:
        return await call(pool, worker, *args, **kwargs)
