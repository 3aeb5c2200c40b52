"""An answer in time, or none."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

_One = TypeVar("_One")


async def within(seconds: float, asked: Awaitable[_One]) -> _One:
    """The answer, if it comes in time; else TimeoutError. Before Python 3.12 `asyncio.wait_for` loses a cancellation
    that comes at the same time as the answer, and who was stopped went on for ever."""
    asking = asyncio.ensure_future(asked)
    asking.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # also one that nobody hears
    try:
        done, _ = await asyncio.wait({asking}, timeout=seconds)
    except asyncio.CancelledError:  # where its loop was left nothing of it can be stopped any more
        asking.cancel()
        raise
    asking.cancel()
    if not done:
        raise asyncio.TimeoutError
    return asking.result()
