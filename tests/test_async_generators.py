"""Asynchronous generators: hooks of the running loop, finalisation, shutdown."""

import asyncio
import gc
import sys

import pytest


async def numbers(seen):
    try:
        for number in range(10):
            yield number
    finally:
        await asyncio.sleep(0)
        seen.append("closed")


def test_hooks_are_set_while_running_and_restored(loop):
    before = sys.get_asyncgen_hooks()

    async def body():
        return sys.get_asyncgen_hooks()

    hooks = loop.run_until_complete(body())
    assert hooks.firstiter is not None and hooks.finalizer is not None
    assert sys.get_asyncgen_hooks() == before


def test_foreign_hooks_are_restored(loop):
    old = sys.get_asyncgen_hooks()

    def first(generator):
        pass

    sys.set_asyncgen_hooks(firstiter=first)
    try:
        loop.run_until_complete(asyncio.sleep(0))
        assert sys.get_asyncgen_hooks().firstiter is first
    finally:
        sys.set_asyncgen_hooks(*old)


def test_a_dropped_generator_is_closed_by_the_loop(loop):
    seen = []

    async def body():
        generator = numbers(seen)
        assert await anext(generator) == 0
        del generator
        gc.collect()
        await asyncio.sleep(0.001)

    loop.run_until_complete(body())
    assert seen == ["closed"]


def test_shutdown_closes_the_generators_left(loop):
    seen, kept = [], []

    async def body():
        for _ in range(3):
            generator = numbers(seen)
            await anext(generator)
            kept.append(generator)

    loop.run_until_complete(body())
    assert len(loop._asyncgens) == 3
    loop.run_until_complete(loop.shutdown_asyncgens())
    assert seen == ["closed"] * 3
    assert len(loop._asyncgens) == 0


def test_a_generator_that_fails_to_close_is_reported(loop):
    found = []
    loop.set_exception_handler(lambda loop, context: found.append(context))

    async def failing():
        try:
            yield 1
        finally:
            raise LookupError("at close")

    async def body():
        generator = failing()
        await anext(generator)
        return generator

    generator = loop.run_until_complete(body())
    loop.run_until_complete(loop.shutdown_asyncgens())
    (context,) = found
    assert context["asyncgen"] is generator
    assert str(context["exception"]) == "at close"


def test_iteration_after_shutdown_warns(new_loop):
    loop = new_loop()
    loop.run_until_complete(loop.shutdown_asyncgens())

    async def body():
        generator = numbers([])
        with pytest.warns(ResourceWarning, match="asynchronous generator"):
            await anext(generator)
        await generator.aclose()

    loop.run_until_complete(body())
    loop.close()


def test_a_generator_finalised_after_close_is_not_resurrected(new_loop):
    seen, kept = [], []
    loop = new_loop()

    async def body():
        generator = numbers(seen)
        await anext(generator)
        kept.append(generator)

    loop.run_until_complete(body())
    loop.close()
    kept.clear()
    gc.collect()
    assert seen == []
