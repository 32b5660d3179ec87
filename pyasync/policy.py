"""The event loop policy, imported only when somebody asks for it: policies go away in 3.16."""

from __future__ import annotations

import asyncio
import warnings
from typing import Any

from pyasync.loop import Loop

with warnings.catch_warnings():
    # 3.14 and newer warn on the name; who imports this module wants a policy all the same.
    warnings.simplefilter("ignore", DeprecationWarning)
    _Base: Any = asyncio.DefaultEventLoopPolicy


class EventLoopPolicy(_Base):  # type: ignore[misc]  # the base is looked up at run time
    """asyncio's default policy with pyasync loops.

    Stands for asyncio.DefaultEventLoopPolicy: get_event_loop(), set_event_loop() and the child
    watcher (before 3.14) are the base's.
    """

    _loop_factory = Loop


def set_policy() -> None:
    """Set EventLoopPolicy as the policy of this process, without the deprecation warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        asyncio.set_event_loop_policy(EventLoopPolicy())
