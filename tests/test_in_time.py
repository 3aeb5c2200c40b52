"""Whoever waits for an answer can be stopped at any moment."""

from __future__ import annotations

import asyncio
import gc

import pytest

from wfrecovery.bridge.in_time import within


@pytest.mark.parametrize("later", range(8))
def test_a_cancellation_that_comes_with_the_answer_is_not_lost(later: int) -> None:
    async def story() -> None:
        answer = asyncio.get_running_loop().create_future()

        async def asked() -> int:
            return int(await answer)

        waiting = asyncio.create_task(within(60, asked()))
        for _ in range(3):
            await asyncio.sleep(0)
        answer.set_result(7)
        for _ in range(later):
            await asyncio.sleep(0)
        stopped = waiting.cancel()
        await asyncio.wait({waiting})
        assert waiting.cancelled() == stopped
        assert stopped or waiting.result() == 7

    asyncio.run(story())


def test_who_does_not_answer_is_stopped() -> None:
    async def story() -> None:
        silent = asyncio.ensure_future(asyncio.Event().wait())
        with pytest.raises(asyncio.TimeoutError):
            await within(0.01, silent)
        await asyncio.wait({silent})
        assert silent.cancelled()

    asyncio.run(story())


def test_an_error_is_the_answer() -> None:
    async def refuses() -> None:
        raise LookupError("no such task")

    with pytest.raises(LookupError, match="no such task"):
        asyncio.run(within(60, refuses()))


def test_who_asks_in_a_loop_that_was_left_hears_no_error_of_that() -> None:
    """It would be taken for the engine's, and who asked would go on without a loop."""
    heard: list[Exception] = []

    async def asks() -> None:
        try:
            await within(60, asyncio.Event().wait())
        except Exception as error:
            heard.append(error)

    left = asyncio.new_event_loop()
    asking: asyncio.Task[None] | None = left.create_task(asks())
    left.run_until_complete(asyncio.sleep(0.01))
    left.close()
    asking = None
    gc.collect()
    assert (asking, heard) == (None, [])
