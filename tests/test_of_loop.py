"""Who has a turn in a loop that is closed in the middle ends as he would without a turn."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from typing import Any

import pytest

from wfrecovery.bridge.of_loop import Lock, Semaphore
from wfrecovery.bridge.recovery.turns import Turns


def locks() -> list[Any]:
    return [Lock()] * 2


def semaphores() -> list[Any]:
    return [Semaphore(1)] * 2


def turns_to_send() -> list[Any]:
    turns = Turns()
    return [turns.sending(task_id, 0.0, set()) for task_id in ("img_20261129_001", "img_20261129_002")]


@pytest.mark.parametrize("make", [locks, semaphores, turns_to_send])
def test_the_end_of_a_left_loop_is_no_error(make: Callable[[], list[Any]]) -> None:
    """Of who has the turn, and of who waits for it."""
    left, seen = asyncio.new_event_loop(), list[type[BaseException]]()

    async def takes(turn: Any) -> None:
        try:
            async with turn:
                await asyncio.Event().wait()
        except BaseException as error:
            seen.append(type(error))
            raise

    async def both() -> list[asyncio.Task[None]]:
        tasks = [asyncio.create_task(takes(turn)) for turn in make()]
        await asyncio.sleep(0.05)
        return tasks

    following: Any = left.run_until_complete(both())
    left.close()
    following = None
    gc.collect()
    assert (following, seen) == (None, [GeneratorExit] * 2)
