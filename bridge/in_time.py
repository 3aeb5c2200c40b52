"""An answer in time, or none; and what goes on beside a block, no longer than the block."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Coroutine
from typing import Any, TypeVar

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


@contextlib.asynccontextmanager
async def beside(work: Coroutine[Any, Any, _One]) -> AsyncIterator[asyncio.Task[_One]]:
    """It goes on beside the block and is stopped with it; what it raises is for who asks it. Where the block's loop was
    left (GeneratorExit) there is no loop any more in which it could be stopped."""
    task = asyncio.create_task(work)
    try:
        yield task
    except GeneratorExit:
        raise
    except BaseException:
        await _stopped(task)
        raise
    await _stopped(task)


async def _stopped(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.wait({task})  # not itself: who is stopped meanwhile must hear of that
    task.cancelled() or task.exception()
